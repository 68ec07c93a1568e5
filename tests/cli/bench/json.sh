# a stable schema; numbers that are numbers
model m
TMPDIR=. sonde bench m --rounds 1 --tokens 32 --thread-counts 1 --json --quiet > bench.json
echo "exit $?"
"$PYTHON" - <<'P'
import json
b = json.load(open("bench.json"))
print(*b)
print(*b["by_threads"][0])
print(*b["capture"])
print(*b["machine"])
print(b["format"], b["version"], b["rounds"], b["prefill_tokens"])
print(all(b["by_threads"][0][k] > 0 for k in ("machine_gflops", "machine_read_gb_per_second",
                                               "prefill_tokens_per_second")), b["capture"]["seconds_with"] > 0)
print(b["machine"]["cores"] > 0, b["machine"]["memory_bytes"] > 0, b["capture"]["overhead_low"])
P
ls
