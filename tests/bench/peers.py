#!/usr/bin/env python3
"""Times sonde beside what people use today, with the machine's own limits, interleaved in one run.

    peers.py --models FOLDER [--llama BIN_FOLDER] [--python PYTHON] [ROW...]

README.md in this folder says how to make the models and the peers, and what the rows are. A round
of a row runs the limit (bench_machine), each peer and sonde once, in turn; medians over the rounds
and ratios are told. Rounds are kept in the folder --out, a file a row, and more can be added later
(a row at a time on a machine that has other things to do); --table prints what is there. A peer
that is not installed is left out with a word. Standard library only.
"""
import argparse
import fnmatch
import glob
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import namedtuple

BUSY = 0.08  # of a core: more than this by others, and figures are not to be quoted
TEXTS = "/usr/share/common-licenses"

# ---- rows ---------------------------------------------------------------------------------------

# what: prefill, decode, together, dump, one-layer, generate. target: sonde / peer, at least.
Row = namedtuple("Row", "id what model threads peer target")
ROWS = [
    Row("prefill-f32-1", "prefill", "f32", 1, "llama.cpp", 1.4),
    Row("prefill-f32-2", "prefill", "f32", 2, "llama.cpp", 1.6),
    Row("decode-f32-1", "decode", "f32", 1, "llama.cpp", 1.1),
    Row("decode-f32-2", "decode", "f32", 2, "llama.cpp", 1.1),
    Row("together-f32-2", "together", "f32", 2, "llama.cpp", 1.7),
    Row("prefill-bf16-1", "prefill", "bf16", 1, "llama.cpp", 0.9),
    Row("prefill-bf16-2", "prefill", "bf16", 2, "llama.cpp", 0.9),
    Row("decode-bf16-1", "decode", "bf16", 1, "llama.cpp", 1.1),
    Row("decode-bf16-2", "decode", "bf16", 2, "llama.cpp", 1.1),
    Row("together-bf16-2", "together", "bf16", 2, "llama.cpp", 1.15),
    Row("prefill-q4-1", "prefill", "q4", 1, "llama.cpp", 2.7),
    Row("prefill-q4-2", "prefill", "q4", 2, "llama.cpp", 2.7),
    Row("decode-q4-1", "decode", "q4", 1, "llama.cpp", 1.2),
    Row("decode-q4-2", "decode", "q4", 2, "llama.cpp", 1.2),
    Row("together-q4-2", "together", "q4", 2, "llama.cpp", None),
    Row("dump-hf", "dump", "f32", 2, "hf", None),
    Row("dump-hf-pt", "dump", "f32", 2, "hf-pt", 1.9),
    Row("dump-hf-h5", "dump", "f32", 2, "hf-h5", 2.4),
    Row("dump-tl", "dump", "f32", 2, "tl", 2.6),
    Row("dump-nnsight", "dump", "f32", 2, "nnsight", 2.6),
    Row("one-layer-tl", "one-layer", "f32", 2, "tl-stop", 2.6),
    Row("generate-hf", "generate", "f32", 2, "gen", None),
    Row("generate-hf-pt", "generate", "f32", 2, "gen-pt", 3.5),
]
WORDS = {"llama.cpp": "llama.cpp", "hf": "Hugging Face forward alone",
         "hf-pt": "Hugging Face + torch.save", "hf-h5": "Hugging Face + h5py gzip",
         "tl": "TransformerLens run_with_cache + torch.save",
         "tl-stop": "TransformerLens stop_at_layer + torch.save",
         "nnsight": "nnsight + torch.save", "gen": "Hugging Face generate",
         "gen-pt": "Hugging Face generate + all hidden states saved"}
PREFILL, DECODE, PROMPT, TOGETHER, TOGETHER_NEW, NEW_TOKENS = 512, 64, 64, 32, 32, 64


class Missing(Exception):
    """A subject that cannot run here; the message is the word that is said."""


# ---- workloads ----------------------------------------------------------------------------------

def dump_lengths():
    """64 ragged lengths, 17..512: 11,303 tokens."""
    draw = random.Random(1)
    return [min(512, max(16, int(draw.lognormvariate(5.0, 0.8)))) for _ in range(64)]


def pieces(ids, lengths, seed):
    draw = random.Random(seed)
    starts = [draw.randrange(len(ids) - 600) for _ in lengths]
    return [ids[s:s + n] for s, n in zip(starts, lengths)]


def license_ids(a):
    """Token ids of the licences of a Debian machine, by the model's own tokenizer."""
    paths = [p for p in sorted(glob.glob(TEXTS + "/*")) if not os.path.islink(p)]
    text = "".join(open(p, errors="ignore").read() for p in paths)
    if not text:
        raise Missing(f"no texts in {TEXTS}")
    path = os.path.join(a.out, "text.jsonl")
    with open(path, "w") as file:
        file.write(json.dumps({"text": text}) + "\n")
    out = call([a.sonde, "tokens", a.models["f32"], path, "--add-bos", "no", "--json"])
    return json.loads(out.stdout)["tokens"]


def write_prompts(path, prompts, new_tokens=None):
    with open(path, "w") as file:
        for ids in prompts:
            line = {"tokens": ids}
            if new_tokens is not None:
                line["max_new_tokens"] = new_tokens
            file.write(json.dumps(line) + "\n")


def prepare(a):
    """The files of prompts, made once: the same ids for every subject."""
    ids = license_ids(a)
    dump = pieces(ids, dump_lengths(), 2)[::a.every]
    gen = pieces(ids, [32 + 2 * i for i in range(32)], 3)
    layers = 30
    config = os.path.join(a.models["f32"], "config.json")
    if os.path.exists(config):
        with open(config) as file:
            layers = json.load(file)["num_hidden_layers"]
    with open(os.path.join(a.out, "work.json"), "w") as file:
        json.dump({"dump": dump, "gen": gen, "layer": layers // 2}, file)
    write_prompts(a.out + "/dump.jsonl", dump)
    write_prompts(a.out + "/generate.jsonl", gen, NEW_TOKENS)
    write_prompts(a.out + "/prefill.jsonl", pieces(ids, [PREFILL], 4), 1)
    write_prompts(a.out + "/decode.jsonl", pieces(ids, [16], 5), DECODE + 1)
    write_prompts(a.out + "/together.jsonl", pieces(ids, [PROMPT] * TOGETHER, 6), TOGETHER_NEW + 1)
    return layers // 2


# ---- subjects: each run gives tokens a second ---------------------------------------------------

def call(command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Missing(f"{os.path.basename(command[0])}: exit {done.returncode}: {''.join(last)}")
    return done


class Sonde:
    """One configuration of sonde on one row."""

    def __init__(self, a, row, name, more):
        self.a, self.row, self.name, self.more = a, row, name, more

    def split(self):
        """Workers and threads that the row asks for; dumps and generation choose on their own."""
        if self.row.what in ("prefill", "decode"):
            return ["--workers", 1, "--threads", self.row.threads]
        return []

    def run(self):
        a, what = self.a, self.row.what
        model, base = a.models[self.row.model], f"{a.out}/{what}"
        if what in ("dump", "one-layer", "generate"):
            return self.capture(model, what)
        line = [a.sonde, "generate", model, base + ".jsonl", "-v", "--quiet", "--json"]
        if what == "together":
            line += ["--batch-tokens", PROMPT * TOGETHER, "--batch", TOGETHER]
        done = call(line + self.split() + self.more)
        line = re.search(r"seconds: load.*", done.stderr).group()
        phases = dict(re.findall(r"(prefill|decode) ([0-9.e+-]+)", line))
        made = [len(json.loads(text)["tokens"]) for text in done.stdout.splitlines()]
        if what == "prefill":
            return PREFILL / float(phases["prefill"])
        # a sequence's first token comes of the prefill; phases are sums over the workers
        workers = int(self.more[self.more.index("--workers") + 1]) if what == "together" else 1
        return (sum(made) - len(made)) / (float(phases["decode"]) / workers)

    def capture(self, model, what):
        a = self.a
        prompts = "generate" if what == "generate" else "dump"
        points = f"blocks.{a.layer}.resid_post" if what == "one-layer" else "blocks.*.resid_post"
        done = call([a.sonde, "capture", model, f"{a.out}/{prompts}.jsonl", "-o", a.out + "/out.h5",
                     "--points", points, "--as", "bf16", "--overwrite", "--quiet", "--json"] +
                    self.split() + self.more)
        summary = json.loads(done.stdout)
        tokens = summary["generated_tokens" if what == "generate" else "prompt_tokens"]
        return tokens / summary["seconds"]

    def stop(self):
        if os.path.exists(self.a.out + "/out.h5"):
            os.remove(self.a.out + "/out.h5")


class Llama:
    """llama-bench, or llama-batched-bench for sequences together."""
    name = "llama.cpp"

    def __init__(self, a, row):
        self.row, self.model = row, a.gguf[row.model]
        tool = "llama-batched-bench" if row.what == "together" else "llama-bench"
        self.tool = os.path.join(a.llama, tool) if a.llama else ""
        if not os.path.exists(self.tool):
            raise Missing(f"no {tool} (--llama; peers_build.sh makes it)")
        if not os.path.exists(self.model):
            raise Missing(f"no {os.path.basename(self.model)} in the folder of models")

    def run(self):
        row, line = self.row, [self.tool, "-m", self.model, "-t", self.row.threads]
        if row.what == "together":
            done = call(line + ["-c", 2 * TOGETHER * (PROMPT + TOGETHER_NEW), "-b", 2048, "-ub", 512,
                                "-npp", PROMPT, "-ntg", TOGETHER_NEW, "-npl", TOGETHER,
                                "--output-format", "jsonl"])
            lines = [text for text in done.stdout.splitlines() if text.startswith("{")]
            return json.loads(lines[-1])["speed_tg"]
        counts = ["-p", PREFILL, "-n", 0] if row.what == "prefill" else ["-p", 0, "-n", DECODE]
        return json.loads(call(line + counts + ["-r", 1, "-o", "json"]).stdout)[0]["avg_ts"]

    def stop(self):
        pass


class Torch:
    """A process of peers_torch.py that keeps its model loaded; idle between its turns."""

    def __init__(self, a, row):
        self.name = row.peer
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers_torch.py")
        line = [a.python, script, a.models["f32"], a.out + "/work.json", a.out + "/peer",
                str(row.threads), row.peer]
        self.log = open(f"{a.out}/{row.id}.log", "w")
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        self.versions = self.answer()["ready"]

    def answer(self):
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue  # a library that prints
            value = json.loads(line)
            if "missing" in value:
                raise Missing(value["missing"])
            return value
        raise Missing(f"{WORDS[self.name]} ended: see {self.log.name}")

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        value = self.answer()
        return value["tokens"] / value["seconds"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def sondes(a, row):
    """What of sonde runs in a row: exact, and the integer mode where this build has it."""
    ways = [("sonde", [])]
    if row.what == "together":
        ways = [("sonde", ["--workers", str(row.threads), "--threads", "1"]),
                (f"sonde 1x{row.threads}", ["--workers", "1", "--threads", str(row.threads)])]
    if row.model == "q4" and a.has_int:
        ways += [(name + " int", more + ["--mode", "int"]) for name, more in ways]
    return [Sonde(a, row, name, more + a.more) for name, more in ways]


def peer_of(a, row):
    return Llama(a, row) if row.peer == "llama.cpp" else Torch(a, row)


# ---- the machine --------------------------------------------------------------------------------

def machine():
    cpu = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "system": f"{platform.system()} {platform.release()}"}


def busy_seconds():
    with open("/proc/stat") as file:
        ticks = [int(x) for x in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def own_seconds(subjects):
    """Processor time of this process, of its ended children, and of those that live."""
    t = os.times()
    total = t.user + t.system + t.children_user + t.children_system
    for subject in subjects:
        if isinstance(subject, Torch):
            with open(f"/proc/{subject.process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def limits(a, row):
    done = json.loads(call([a.machine, "--threads", row.threads]).stdout)
    return next(loop for loop in done["loops"] if loop["threads"] == row.threads)


# ---- rounds -------------------------------------------------------------------------------------

def state_path(a, row):
    return os.path.join(a.out, row.id + ".json")


def load_state(a, row):
    if a.again or not os.path.exists(state_path(a, row)):
        return {"row": row._asdict(), "machine": machine(), "left_out": {}, "rounds": []}
    with open(state_path(a, row)) as file:
        return json.load(file)


def save_state(a, row, state):
    with open(state_path(a, row) + ".part", "w") as file:
        json.dump(state, file, indent=1)
    os.replace(state_path(a, row) + ".part", state_path(a, row))


def one_round(a, row, subjects):
    begin, busy, own = time.time(), busy_seconds(), own_seconds(subjects)
    measured = {"limit": limits(a, row)}
    for subject in subjects:
        measured[subject.name] = round(subject.run(), 3)
    seconds = time.time() - begin
    others = (busy_seconds() - busy) - (own_seconds(subjects) - own)
    measured["others"] = round(max(0.0, others / seconds), 3)
    measured["at"] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begin))
    measured["every"] = a.every
    return measured


def measure(a, row):
    state, subjects = load_state(a, row), []
    try:
        for make in (lambda: [peer_of(a, row)], lambda: sondes(a, row)):
            try:
                subjects += make()
            except Missing as missing:
                state["left_out"][row.peer] = str(missing)
                print(f"{row.id}: without {WORDS[row.peer]}: {missing}", file=sys.stderr)
        state["versions"] = " ".join(getattr(s, "versions", "") for s in subjects).strip()
        for _ in range(a.rounds):
            state["rounds"].append(one_round(a, row, subjects))
            save_state(a, row, state)
            print(f"{row.id}: {json.dumps(state['rounds'][-1])}", file=sys.stderr)
    finally:
        for subject in subjects:
            subject.stop()


# ---- the table ----------------------------------------------------------------------------------

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


def tell(a):
    results = [summary(a, row) for row in ROWS if os.path.exists(state_path(a, row))]
    with open(os.path.join(a.out, "peers.json"), "w") as file:
        json.dump({"format": "sonde-peers", "version": 1, "machine": machine(), "rows": results},
                  file, indent=1)
    m = machine()
    print(f"{m['cpu']}, {m['cores']} cores, {m['memory_bytes'] / 2**30:.0f} GiB, {m['system']}; "
          "tokens/s, medians\n")
    print_table(results)
    for r in results:
        for peer, why in r["left_out"].items():
            print(f"{r['id']}: without {WORDS[peer]}: {why}")


# ---- the line -----------------------------------------------------------------------------------

def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("rows", nargs="*", metavar="ROW", help="names or patterns; default: all")
    p.add_argument("--models", help="folder with the models (README.md)")
    p.add_argument("--llama", help="folder with llama-bench and llama-batched-bench")
    p.add_argument("--python", default=sys.executable, help="an interpreter with torch and peers")
    p.add_argument("--build", default="build/release", help="where sonde was built")
    p.add_argument("--out", default="build/peers", help="folder for prompts, rounds, peers.json")
    p.add_argument("--rounds", type=int, default=3, help="rounds to add")
    p.add_argument("--every", type=int, default=1, metavar="N",
                   help="of the 64 prompts of the dump every N-th")
    p.add_argument("--more", default="", help="further options for sonde, as one text")
    p.add_argument("--again", action="store_true", help="forget earlier rounds of these rows")
    p.add_argument("--table", action="store_true", help="measure nothing, print what is there")
    a = p.parse_args()
    if not a.models:
        p.error("--models is needed")
    return a


def resolve(a):
    folder = a.models
    a.sonde = os.path.join(a.build, "sonde")
    a.machine = os.path.join(a.build, "tests/bench/bench_machine")
    a.models = {"f32": folder + "/smollm2-f32", "bf16": folder + "/smollm2-bf16",
                "q4": folder + "/SmolLM2-135M-Instruct.Q4_1.gguf"}
    a.gguf = {"f32": folder + "/smollm2-f32.gguf", "bf16": folder + "/smollm2-bf16.gguf",
              "q4": a.models["q4"]}
    a.more = a.more.split()
    os.makedirs(a.out, exist_ok=True)
    for tool in (a.sonde, a.machine):
        if not shutil.which(tool):
            sys.exit(f"peers.py: {tool}: not built (make all bench-programs)")
    modes = re.search(r"--mode NAME(.*?)--kv-dtype", call([a.sonde, "capture", "--help"]).stdout,
                      re.S)
    a.has_int = bool(modes and re.search(r"\bint\b", modes.group(1)))


def main():
    a = arguments()
    resolve(a)
    if not a.table:
        try:
            a.layer = prepare(a)
        except Missing as missing:
            sys.exit(f"peers.py: {missing}")
        for row in ROWS:
            if a.rows and not any(fnmatch.fnmatch(row.id, pattern) for pattern in a.rows):
                continue
            if not os.path.exists(a.models[row.model]):
                print(f"{row.id}: left out: no {a.models[row.model]}", file=sys.stderr)
                continue
            try:
                measure(a, row)
            except Missing as missing:
                print(f"{row.id}: not finished: {missing}", file=sys.stderr)
    tell(a)


if __name__ == "__main__":
    main()
