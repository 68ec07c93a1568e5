# conversations: rendered, labelled, selected by segment; a text under --chat; open or not
model m
"$PYTHON" - "$GOLDENS/chat/mistral-v0.1.json" m/tokenizer_config.json <<'PY'
import json, sys
golden = json.load(open(sys.argv[1]))
json.dump({"chat_template": golden["template"], "bos_token": "[S]", "eos_token": "<x>"}, open(sys.argv[2], "w"))
PY
printf '%s\n' '{"messages": [{"role": "user", "content": "<x>"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}' > p.jsonl
t sonde tokens m p.jsonl --rows 'assistant|user&last:1'
t sonde tokens m p.jsonl --json
t sonde tokens m -p hi --chat --json
t sonde tokens m -p hi --chat --add-bos yes --json
sonde info m | grep '^chat'
t sonde capture m p.jsonl -o a.h5 --rows 'user|markup&first:2' --max-new-tokens 2 --quiet
t sonde capture m p.jsonl -o b.h5 --rows 'user|markup&first:2' --max-new-tokens 2 --quiet --workers 2 --batch-tokens 3
t sonde diff a.h5 b.h5
t sonde capture m p.jsonl -o c.h5 --rows reasoning --quiet
sonde plan m p.jsonl --rows user --json | grep -m 1 '"rows"'
