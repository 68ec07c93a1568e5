# a limit on the size of files stands for a full disk: the run ends, says how much it needs, and what
# was complete is sealed
model m
i=0
while [ $i -lt 1500 ]; do echo "{\"text\": \"prompt number $i with some more words in it\"}"; i=$((i + 1)); done > p.jsonl
(ulimit -f 8000; sonde capture m p.jsonl -o x.h5 --as f32 --codec raw --quiet 2> err; echo "exit $?")
cat err >&2
"$PYTHON" - <<'P'
import json, subprocess
i = json.loads(subprocess.run(["sonde", "info", "x.h5", "--json"], capture_output=True).stdout)
print(i["sealed"], i["complete"], 0 < i["sequences"] < 1500, i["rows"] > 0)
P
ls
