# invalid UTF-8 is refused, naming line and byte
model m
printf 'fine\nbad \303( here\n' > a.txt
t sonde tokens m a.txt --json
printf '{"text": "ok"}\n{"text": 3}\n' > a.jsonl
t sonde tokens m a.jsonl --json
printf 'nothing\n' > b.jsonl
t sonde tokens m b.jsonl
printf '{"messages": []}\n' > c.jsonl
t sonde tokens m c.jsonl
t sonde tokens m -p hi --rows 'frist:2'
t sonde tokens m -p hi --rows 'first:2)'
