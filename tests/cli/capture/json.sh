model m
sonde capture m -p 'hello' -o x.h5 --json --quiet > out.json
"$PYTHON" - <<'P'
import json
s = json.load(open("out.json"))
print(*s)
print(s["rows"], s["sequences"], s["prompt_tokens"], s["generated_tokens"], s["bytes_raw"], s["stored_dtypes"],
      s["sealed"], s["complete"])
P
