model m
sonde plan m -p abc --json > plan.json
"$PYTHON" - <<'P'
import json
plan = json.load(open("plan.json"))
print(*plan)
print(*plan["memory"])
print(plan["rows"], plan["rows_exact"], plan["bytes_raw"], plan["last_layer"], [p["name"] for p in plan["points"]])
P
for options in '--points blocks.0.resid_post' '--points blocks.0.attn.q' '--points logits' '--labels logprob' \
    '--max-new-tokens 5'; do
    sonde plan m -p abc --json $options |
        "$PYTHON" -c 'import json, sys; p = json.load(sys.stdin)
print(p["steps_recipe"], p["steps_planned"], p["last_layer"], p["rows"], p["rows_exact"])'
done
