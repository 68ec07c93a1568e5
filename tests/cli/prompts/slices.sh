# --skip --limit --part --max-tokens keep the index of what they leave
model m
printf 'a\n\nb\nc\nd\ne\n' > p.txt
index() { sonde generate m p.txt --max-new-tokens 1 "$@" 2> err | sed 's/.*"index": \([0-9]*\),.*/\1/' | tr '\n' ' '; echo; }
index
grep blank err
index --skip 1 --limit 2
index --part 1/2
index --max-tokens 7
t sonde generate m p.txt --part 2/2
