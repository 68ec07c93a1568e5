# PROMPTS or several -p: a line each, in input order, whatever the workers and batches
model m
for i in 1 2 3 4 5 6 7 8 9; do printf '{"id": "p%s", "text": "line %s"}\n' $i $i; done > p.jsonl
sonde generate m p.jsonl --max-new-tokens 6 --quiet > one
sonde generate m p.jsonl --max-new-tokens 6 --quiet --workers 2 --batch 1 > two
sonde generate m - --max-new-tokens 6 --quiet --batch-tokens 7 --chunk 3 < p.jsonl > three
cmp one two && cmp one three && echo same
sed 's/.*"index": \([0-9]*\), "id": "\([^"]*\)".*/\1 \2/' one
sonde generate m -p a -p b --max-new-tokens 2 --quiet | wc -l
