# Ctrl-C: what is complete is sealed, it says how to go on, and ends with 6
model m
i=0
while [ $i -lt 60000 ]; do echo "{\"text\": \"prompt number $i\"}"; i=$((i + 1)); done > p.jsonl
sonde capture m p.jsonl -o x.h5 --max-new-tokens 20 --codec raw &
while [ "$(stat -c %s x.h5.part 2> /dev/null || echo 0)" -lt 2000000 ]; do sleep 0.05; done
kill -INT $!
wait $!
echo "exit $?"
"$PYTHON" - <<'P'
import json, subprocess
i = json.loads(subprocess.run(["sonde", "info", "x.h5", "--json"], capture_output=True).stdout)
print(i["sealed"], i["complete"], 0 < i["sequences"] < 60000, i["rows"] > 0)
P
ls
