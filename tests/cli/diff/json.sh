model m
sonde capture m -p 'hello' -o a.h5 --quiet --as f32
sonde capture m -p 'hello' -o b.h5 --quiet --backend oracle --as f32
sonde diff a.h5 b.h5 --json > out.json
echo "exit $?"
"$PYTHON" - <<'P'
import json
d = json.load(open("out.json"))
print(d["format"], d["version"], d["verdict"], [p["name"] for p in d["points"]])
P
