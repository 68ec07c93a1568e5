# files that are missing, empty, folders, of another kind
model m
: > empty.jsonl
mkdir folder.txt
printf '\n\n' > blank.txt
t sonde generate m missing.jsonl
t sonde generate m empty.jsonl
t sonde generate m blank.txt
t sonde generate m folder.txt
t sonde generate m prompts.csv
t sonde generate m -p ''
t sonde generate m empty.jsonl --skip 3
echo '{"text": "a"}' > one.jsonl
t sonde generate m one.jsonl --skip 3
