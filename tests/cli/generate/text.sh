# one -p: the text and a newline on stdout, as it comes; the same tokens as --json says
model m
sonde generate m -p 'hi' --max-new-tokens 8 --quiet > text
sonde generate m -p 'hi' --max-new-tokens 8 --quiet --json > line
"$PYTHON" - <<'P'
import json
line = json.loads(open("line").read())
text = open("text", newline="").read()
print(list(line), line["index"], line["id"], line["prompt_tokens"], line["stop"])
print(len(line["tokens"]), len(line["logprobs"]), all(x < 0 for x in line["logprobs"]))
print(text == line["text"] + ("" if line["text"].endswith("\n") else "\n"))
P
