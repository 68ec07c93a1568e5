"""peers_table.py - the rounds that peers.py has kept, as a table and as peers.json."""
import json
import os
import statistics

from peers_work import PREFILL, ROWS, WORDS

BUSY = 0.08  # of a core: more than this by others, and figures are not to be quoted


def state_path(a, row):
    return os.path.join(a.out, row.id + ".json")


def per_token(a, row):
    """FLOP of a token of the prefill and bytes of weights of a decoded one, of a llama-like
    config.json: (None, None) without one."""
    path = os.path.join(a.models["f32"], "config.json")
    if not os.path.exists(path):
        return None, None
    with open(path) as file:
        c = json.load(file)
    hidden, ffn, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    head = c.get("head_dim") or hidden // heads
    kv = c.get("num_key_value_heads", heads)
    block = hidden * head * (2 * heads + 2 * kv) + 3 * hidden * ffn
    weights = c["num_hidden_layers"] * block
    attention = c["num_hidden_layers"] * 4 * heads * head * (PREFILL + 1) / 2
    size = {"f32": 4, "bf16": 2}.get(row.model)
    if row.model == "q4" and os.path.exists(a.gguf["q4"]):
        return 2 * weights + attention, os.path.getsize(a.gguf["q4"])
    return 2 * weights + attention, size and size * (weights + hidden * c["vocab_size"])


def share_of_limit(a, row, rounds):
    """sonde's share of the arithmetic peak (prefill) or of the stream over the weights (decode)."""
    flops, size = per_token(a, row)
    if row.what == "prefill" and flops:
        return [r["sonde"] * flops * 1e-9 / r["limit"]["gflops"] for r in rounds], "of peak"
    if row.what == "decode" and size:
        return [r["sonde"] * size * 1e-9 / r["limit"]["read_gbs"] for r in rounds], "of stream"
    return [], ""


def summary(a, row):
    """A row of the table: medians of what was measured, and of the ratios of each round."""
    with open(state_path(a, row)) as file:
        state = json.load(file)
    rounds = [r for r in state["rounds"] if "sonde" in r]
    result = {**row._asdict(), "rounds": len(rounds), "left_out": state["left_out"],
              "machine": state["machine"], "versions": state.get("versions", "")}
    names = sorted({k for r in rounds for k in r} - {"limit", "others", "at", "every"})
    result["tokens_per_second"] = {
        n: statistics.median(r[n] for r in rounds if n in r) for n in names}
    peer = row.peer
    result["ratios"] = {
        n: statistics.median(r[n] / r[peer] for r in rounds if n in r and peer in r)
        for n in names if n != peer and any(n in r and peer in r for r in rounds)}
    shares, of = share_of_limit(a, row, rounds)
    if shares:
        result["share"], result["share_of"] = statistics.median(shares), of
    if rounds:
        result["others"] = max(r["others"] for r in rounds)
        result["every"] = max(r["every"] for r in rounds)
    return result


def print_table(results):
    head = ("row", "sonde", "peer", "ratio", "floor", "limit", "rounds", "others")
    lines = [head]
    for r in results:
        peer = r["tokens_per_second"].get(r["peer"])
        share = f"{100 * r['share']:.0f} % {r['share_of']}" if "share" in r else ""
        for name, rate in r["tokens_per_second"].items():
            if name == r["peer"]:
                continue
            ratio = r["ratios"].get(name)
            lines.append((r["id"] + name.removeprefix("sonde"), f"{rate:.1f}",
                          f"{peer:.1f}" if peer else "left out",
                          f"{ratio:.2f}" if ratio else "", str(r["target"] or ""),
                          share if name == "sonde" else "", str(r["rounds"]),
                          f"{100 * r['others']:.0f} %"))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                        for i, (c, w) in enumerate(zip(line, widths))).rstrip())
    if any(r.get("others", 0) > BUSY for r in results):
        print(f"\nothers used more than {100 * BUSY:.0f} % of a core in rows that say so: "
              "not to be quoted")


def tell(a, m):
    results = [summary(a, row) for row in ROWS if os.path.exists(state_path(a, row))]
    with open(os.path.join(a.out, "peers.json"), "w") as file:
        json.dump({"format": "sonde-peers", "version": 1, "machine": m, "rows": results},
                  file, indent=1)
    print(f"{m['cpu']}, {m['cores']} cores, {m['memory_bytes'] / 2**30:.0f} GiB, {m['system']}; "
          "tokens/s, medians\n")
    print_table(results)
    for r in results:
        for peer, why in r["left_out"].items():
            print(f"{r['id']}: without {WORDS[peer]}: {why}")
