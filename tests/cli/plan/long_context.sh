# The memory of a context of ten million positions is taken as far as prompts ask for it.
model m max_position_embeddings=10000000
plan() {
    sonde plan m p.jsonl --json --workers 1 --threads 1 --points 'blocks.*.attn.pattern' "$@" |
        "$PYTHON" -c 'import json, sys; p = json.load(sys.stdin)
print(p["batch_rows"], "rows a step,", "under" if p["memory"]["peak"] < 1e8 else "over", "100 MB")'
}
printf '{"tokens": [1, 2, 3], "max_new_tokens": 5}\n{"max_new_tokens" :40, "text": "a"}\n' > p.jsonl
plan
printf '{"tokens": [1, 2, 3], "max_new_tokens": 30000}\n' > p.jsonl
plan
printf '{"tokens": [1, 2, 3], "max_new_tokens": 3, "note": "max_new_tokens are 3"}\n' > p.jsonl
t sonde capture m p.jsonl -o c.h5 --quiet --points blocks.1.resid_post
