# a prompt that is too long: refuse, cut, split, skip
model m
printf '{"text": "short"}\n{"text": "%080d"}\n{"text": "end"}\n' 0 > p.jsonl
line() { sed 's/.*"index": \([0-9]*\), "id": "\([^"]*\)", "prompt_tokens": \([0-9]*\),.*"stop": "\([a-z]*\)".*/\1 \2 \3 \4/'; }
for what in refuse cut split skip; do
    echo "---- $what"
    sonde generate m p.jsonl --max-new-tokens 1 --too-long $what > out 2> err
    echo "exit $?"
    line < out
    grep -v generated err
done
echo "---- --max-seq"
sonde generate m p.jsonl --max-new-tokens 1 --max-seq 6 --quiet 2>&1 | line
