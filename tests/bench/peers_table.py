"""peers_table.py - the rounds that peers.py has kept, as a table and as peers.json."""
import json
import os
import statistics

from peers_work import NEW_TOKENS, PREFILL, PROMPT, ROWS, TOGETHER_NEW, WORDS

BUSY = 0.08  # of a core: more than this by others, and figures are not to be quoted


def state_path(a, row):
    return os.path.join(a.out, row.id + ".json")


class Shape:
    """A llama-like config.json as counts of operations."""

    def __init__(self, path):
        with open(path) as file:
            c = json.load(file)
        self.layers, self.hidden = c["num_hidden_layers"], c["hidden_size"]
        ffn = c["intermediate_size"]
        heads = c["num_attention_heads"]
        head = c.get("head_dim") or self.hidden // heads
        kv = c.get("num_key_value_heads", heads)
        self.block = self.hidden * head * (2 * heads + 2 * kv) + 3 * self.hidden * ffn
        self.logits = self.hidden * c["vocab_size"]
        self.per_key = 4 * heads * head  # of attention, a layer

    def flops(self, first, n, layers=None):
        """Of rows [first, first + n) of a sequence, without logits."""
        keys = n * first + n * (n + 1) / 2
        return (layers or self.layers) * (2 * self.block * n + self.per_key * keys)


def flops_per_token(a, row, shape):
    """Of what the row counts; None: it is not arithmetic that bounds it."""
    if row.what == "prefill":
        return shape.flops(0, PREFILL) / PREFILL
    if row.what == "together":
        return shape.flops(PROMPT, TOGETHER_NEW) / TOGETHER_NEW + 2 * shape.logits
    path = os.path.join(a.out, "work.json")
    if row.what not in ("dump", "one-layer", "generate") or not os.path.exists(path):
        return None
    with open(path) as file:
        work = json.load(file)
    if row.what == "generate":
        rows = [len(ids) + NEW_TOKENS - 1 for ids in work["gen"]]
        made = len(rows) * NEW_TOKENS
        return (sum(shape.flops(0, n) for n in rows) + 2 * shape.logits * made) / made
    layers = work["layer"] + 1 if row.what == "one-layer" else None
    rows = [len(ids) for ids in work["dump"]]
    return sum(shape.flops(0, n, layers) for n in rows) / sum(rows)


def bytes_per_token(a, row, shape):
    """Weights that a decoded token of one sequence reads; None: other rows."""
    size = {"f32": 4, "bf16": 2}.get(row.model)
    if row.what != "decode":
        return None
    if row.model == "q4" and os.path.exists(a.gguf["q4"]):
        return os.path.getsize(a.gguf["q4"])
    return size and size * (shape.layers * shape.block + shape.logits)


def limit_of(a, row, rounds):
    """What bounds the row, in tokens/s of each round, and its name; None without a config.json."""
    path = os.path.join(a.models["f32"], "config.json")
    if not os.path.exists(path):
        return None, ""
    shape = Shape(path)
    flops, size = flops_per_token(a, row, shape), bytes_per_token(a, row, shape)
    if flops:
        return [r["limit"]["gflops"] * 1e9 / flops for r in rounds], "of peak"
    if size:
        return [r["limit"]["read_gbs"] * 1e9 / size for r in rounds], "of stream"
    return None, ""


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
    limits, of = limit_of(a, row, rounds)
    if limits and rounds:
        result["share"] = statistics.median(r["sonde"] / m for r, m in zip(rounds, limits))
        result["share_of"] = of
        most = [m / r[peer] for r, m in zip(rounds, limits) if peer in r]
        if most:
            result["ratio_at_limit"] = statistics.median(most)
    if rounds:
        result["others"] = max(r["others"] for r in rounds)
        result["every"] = max(r["every"] for r in rounds)
    return result


def print_table(results):
    head = ("row", "sonde", "peer", "ratio", "floor", "limit", "at limit", "rounds", "others")
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
                          share if name == "sonde" else "",
                          f"{r['ratio_at_limit']:.2f}" if "ratio_at_limit" in r else "",
                          str(r["rounds"]),
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
