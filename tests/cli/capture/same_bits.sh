# the same content whatever the workers, batches and chunks; diff says so
model m
for i in 1 2 3 4 5 6 7 8 9; do printf '{"id": "p%s", "text": "line number %s"}\n' $i $i; done > p.jsonl
c() { sonde capture m p.jsonl --points 'blocks.*.resid_post,blocks.1.attn.pattern' --max-new-tokens 5 --quiet "$@"; }
c -o a.h5
c -o b.h5 --workers 2 --batch 1
c -o c.h5 --batch-tokens 7 --chunk 3 --workers 1 --threads 2
c -o d.h5 --cpumask scalar --off all
c -o e.h5 --codec raw
for other in b c d e; do sonde diff a.h5 $other.h5 | tail -n 1; done
