# what info says of a capture; with --json the manifest too
model m
sonde capture m -p 'hello' -o x.h5 --quiet --points 'blocks.0.attn.{q,pattern},blocks.*.resid_post' \
    --probe capture --probe moments=m2:points=embed --max-new-tokens 2
t sonde info x.h5
sonde info x.h5 --json > info.json
"$PYTHON" - <<'P'
import json
i = json.load(open("info.json"))
print(*i)
print(i["rows"], i["sequences"], i["sealed"], i["complete"], i["minimal"], i["backend"], i["mode"])
print([(p["name"], p["stored"], p["shape"], p["rows"], p["codec"]) for p in i["points"]])
print([t["path"] for t in i["tables"]])
P
sonde info x.h5 -v | grep -c '^manifest\|^run'
