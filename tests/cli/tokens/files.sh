# .txt: a text a line, blank ones left out; .jsonl and -: objects
model m
printf 'ab\n\ncd\r\nlast' > a.txt
printf '{"text": "ab", "id": "x"}\n{"text": "c"}\n' > a.jsonl
t sonde tokens m a.txt --json --add-bos no
t sonde tokens m a.jsonl --json --add-bos no
t sonde tokens m - --json --add-bos no < a.jsonl
t sonde tokens m a.csv
t sonde tokens m missing.txt
