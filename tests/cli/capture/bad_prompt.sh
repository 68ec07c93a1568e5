# rows of the sequences before a bad prompt are sealed
model m
printf '{"text": "good"}\nnothing\n' > p.jsonl
t sonde capture m p.jsonl -o x.h5
sonde info x.h5 --json | grep '"sealed"\|"complete"\|"sequences"'
sonde capture m p.jsonl -o y.h5 --bad-prompt skip --quiet && sonde info y.h5 --json | grep '"sealed"\|"complete"\|"sequences"'
