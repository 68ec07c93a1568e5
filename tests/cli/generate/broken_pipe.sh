# a reader that went away ends the run without a word
model m
for i in $(seq 200); do echo "{\"text\": \"line $i\"}"; done > p.jsonl
(sonde generate m p.jsonl --max-new-tokens 40 --quiet; echo "exit $?" >&2) | head -n 1 | cut -c 1-10
