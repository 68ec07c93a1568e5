# ids in, ids out; a text cannot be read
model m --no-tokenizer
echo '{"tokens": [5, 6, 7]}' > p.jsonl
sonde generate m p.jsonl --max-new-tokens 3 --quiet 2>&1 | cut -c 1-60
t sonde generate m -p hi
echo '{"text": "hi"}' > q.jsonl
t sonde generate m q.jsonl --quiet
