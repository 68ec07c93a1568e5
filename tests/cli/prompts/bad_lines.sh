# lines that are no prompts: refused naming line and reason; skipped with --bad-prompt skip
model m
bad() {
    printf '{"text": "good"}\n%s\n{"text": "end"}\n' "$1" > p.jsonl
    echo "$1"
    sonde generate m p.jsonl --max-new-tokens 1 --quiet > out
    echo "exit $?, $(wc -l < out) before it"
} 2>&1
bad 'nothing'
bad '[1, 2]'
bad '{"text": 3}'
bad '{"text": "a", "tokens": [1]}'
bad '{"id": "x"}'
bad '{"tokens": []}'
bad '{"tokens": [1, "a"]}'
bad '{"tokens": [280]}'
bad '{"tokens": [-1]}'
bad '{"text": ""}'
bad '{"messages": []}'
bad '{"text": "a", "edits": []}'
bad '{"text": "a", "text": "b"}'
bad '{"text": "a", "seed": -1}'
bad '{"text": "a", "rows": "frist:1"}'
bad '{"text": "a", "id": "x"}
{"text": "b", "id": "x"}'
