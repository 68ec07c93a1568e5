# what is no conversation, a template that refuses, one that is not known, none at all
model m
"$PYTHON" - "$GOLDENS/chat/mistral-v0.1.json" m/tokenizer_config.json <<'PY'
import json, sys
golden = json.load(open(sys.argv[1]))
json.dump({"chat_template": golden["template"], "bos_token": "[S]", "eos_token": "<x>"}, open(sys.argv[2], "w"))
PY
bad() {
    printf '{"text": "good"}\n%s\n' "$1" > p.jsonl
    echo "$1"
    t sonde generate m p.jsonl --max-new-tokens 1 --quiet --json | grep -v '^{'
}
bad '{"messages": []}'
bad '{"messages": "hi"}'
bad '{"messages": ["hi"]}'
bad '{"messages": [{"content": "hi"}]}'
bad '{"messages": [{"role": "user"}]}'
bad '{"messages": [{"role": "user", "content": null}]}'
bad '{"messages": [{"role": "system", "content": "x"}]}'
bad '{"messages": [{"role": "wizard", "content": "x"}, {"role": "user", "content": "y"}]}'
bad '{"messages": [{"role": "user", "content": "x"}], "text": "y"}'
bad '{"text": "x", "tools": []}'
bad '{"tokens": [1], "chat": {}}'
bad '{"messages": [{"role": "user", "content": "x"}], "tools": {}}'
bad '{"messages": [{"role": "user", "content": "x"}], "chat": {"date": "today"}}'
bad '{"messages": [{"role": "user", "content": "x"}], "chat": {"messages": [{"role": "user", "content": "y"}]}}'
bad '{"messages": [{"role": "user", "content": "x"}], "chat": {"tools": 5}}'
t sonde generate m -p hi --chat --chat-args '[1]'
t sonde generate m -p hi --chat --chat-args '{"date": "26 Jul"}'
t sonde generate m -p hi --chat --chat-args '{"date": "2024-02-31"}'
t sonde generate m -p hi --chat --chat-args '{"add_generation_prompt": false}'
t sonde generate m -p hi --chat --chat-open maybe
printf '{"chat_template": "{{ messages }}"}' > m/tokenizer_config.json
printf '{"messages": [{"role": "user", "content": "x"}]}\n' > p.jsonl
t sonde generate m p.jsonl --quiet
t sonde tokens m -p hi --chat
sonde info m | grep '^chat'
printf '{}' > m/tokenizer_config.json
t sonde generate m p.jsonl --quiet
t sonde capture m -p hi --chat -o x.h5
