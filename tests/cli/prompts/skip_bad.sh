# --bad-prompt skip: the others keep their index, the number is told
model m
printf '{"text": "good"}\nnothing\n{"tokens": [280]}\n{"text": "end"}\n' > p.jsonl
sonde generate m p.jsonl --max-new-tokens 1 --bad-prompt skip > out 2> err
echo "exit $?"
sed 's/.*"index": \([0-9]*\),.*"stop": "\([a-z]*\)".*/\1 \2/' out
grep -v generated err
