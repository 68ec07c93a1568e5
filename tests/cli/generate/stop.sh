# why a sequence ends: length, a text, the context
model m
stops() { sed 's/.*"tokens": \(\[[^]]*\]\).*"stop": "\([a-z]*\)".*/\1 \2/'; }
sonde generate m -p 'abc' --max-new-tokens 5 --json --quiet > line
stops < line | sed 's/.* //'
first=$("$PYTHON" -c 'import json; print(json.load(open("line"))["text"][0])')
sonde generate m -p 'abc' --max-new-tokens 5 --json --quiet --stop "$first" | stops | sed 's/.* //'
sonde generate m -p 'abc' --max-new-tokens 500 --json --quiet --too-long cut | stops | sed 's/.* //'
