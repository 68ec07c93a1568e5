# a pipe gets whole lines, no line that is refreshed
model m
i=0
while [ $i -lt 2000 ]; do printf '{"text": "prompt number %05d"}\n' $i; i=$((i + 1)); done > p.jsonl
sonde capture m p.jsonl -o x.h5 --max-new-tokens 20 2> err
grep -c "$(printf '\r')" err
tail -n 1 err
