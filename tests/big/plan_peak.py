#!/usr/bin/env python3
"""What `sonde plan` says of memory beside what the same capture takes.

    python3 plan_peak.py PROGRAM FOLDER [MODEL ...]

For every MODEL (default: data/model and the small shapes of make_model.py, made in FOLDER) some
captures: short prompts, one long, generated tokens, attention patterns. Prints peak of the plan, peak measured
(VmHWM: memory of its own and pages of files that stood in memory), their ratio, and the plan's parts; ends with 1 if
a ratio is outside 0.9 to 1.1. Standard library only.
"""
import json
import os
import random
import subprocess
import sys

WORDS = "the of and to in is that for it as was with be by on not he his but at are this have from or had".split()
CASES = [
    # name, number of prompts, words of a prompt, options
    ("short", 64, (8, 200), []),
    ("long", 1, (900, 900), []),
    ("all points", 8, (50, 100), ["--points", "*"]),
    ("generated", 16, (8, 40), ["--max-new-tokens", "16"]),
    ("raw", 64, (100, 300), ["--codec", "raw", "--points", "blocks.*.resid_post,blocks.*.mlp.post"]),
    ("one worker", 32, (100, 300), ["--workers", "1", "--threads", "2"]),
    ("batches of 64", 32, (100, 300), ["--batch-tokens", "64", "--batch", "4"]),
    ("one row each", 64, (8, 200), ["--rows", "last:1"]),
    ("one layer", 32, (100, 300), ["--points", "blocks.1.resid_post"]),
    ("patterns", 4, (200, 400), ["--points", "blocks.*.attn.pattern"]),
]

LONG_CASES = [
    # of models of 32,768 positions
    ("32k", 1, (32000, 32000), []),
    ("32k twice", 2, (30000, 32000), ["--points", "blocks.1.resid_post"]),
    ("32k, last pattern", 1, (32000, 32000), ["--points", "blocks.*.attn.pattern", "--rows", "last:1"]),
    ("32k, generated", 1, (32000, 32000), ["--rows", "last:1", "--max-new-tokens", "8"]),
]


def write_prompts(path, n, words, vocab):
    """As text, or as ids where the model has no tokenizer."""
    draw = random.Random(7)
    with open(path, "w") as out:
        for _ in range(n):
            length = draw.randint(*words)
            if vocab:
                out.write(json.dumps({"tokens": [draw.randrange(3, vocab) for _ in range(length)]}) + "\n")
            else:
                out.write(json.dumps({"text": " ".join(draw.choices(WORDS, k=length))}) + "\n")


def facts(model):
    """Its vocabulary, 0 where it has a tokenizer, and whether sequences of 32k fit."""
    if os.path.isfile(model):
        return 0, False
    with open(os.path.join(model, "config.json")) as source:
        config = json.load(source)
    has_tokenizer = os.path.exists(os.path.join(model, "tokenizer.json"))
    return 0 if has_tokenizer else config["vocab_size"], config.get("max_position_embeddings", 0) >= 32768


def measured(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    words = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024 if process.returncode == 0 else words.decode().strip().splitlines()[-1]


def run_case(program, model, folder, case):
    name, n, words, options = case
    prompts, output = os.path.join(folder, "plan.jsonl"), os.path.join(folder, "plan.h5")
    write_prompts(prompts, n, words, facts(model)[0])
    planned = subprocess.run([program, "plan", model, prompts, "--json", *options], capture_output=True, text=True)
    if planned.returncode != 0:
        print(f"    {name}: {planned.stderr.strip().splitlines()[-1]}")
        return True
    memory = json.loads(planned.stdout)["memory"]
    peak = measured([program, "capture", model, prompts, "-o", output, "--overwrite", "--quiet", *options])
    if isinstance(peak, str):
        print(f"    {name}: {peak}")
        return True
    ratio = memory["peak"] / peak
    base = memory["peak"] - sum(memory[k] for k in ("weights", "run", "kv", "store"))
    parts = ", ".join(f"{k} {memory[k] / 1e6:.1f}" for k in ("weights", "run", "kv", "store"))
    print(f"    {name}: plan {memory['peak'] / 1e6:.1f} MB, measured {peak / 1e6:.1f}: {ratio:.2f} "
          f"({parts}, rest {base / 1e6:.1f})", flush=True)
    os.remove(output)
    return 0.9 <= ratio <= 1.1


def made_shapes(folder):
    for shape in ("small-untied", "small-tied", "small-sliding", "small-moe", "small-mla", "small-long"):
        path = os.path.join(folder, shape)
        if not os.path.exists(os.path.join(path, "model.safetensors.index.json")):
            here = os.path.dirname(os.path.abspath(__file__))
            subprocess.run([sys.executable, os.path.join(here, "make_model.py"), shape, path], check=True)
        yield path


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, folder, models = sys.argv[1], sys.argv[2], sys.argv[3:]
    os.makedirs(folder, exist_ok=True)
    good = True
    for model in models or ["data/model", *made_shapes(folder)]:
        print(model, flush=True)
        for case in LONG_CASES if facts(model)[1] else CASES:
            good = run_case(program, model, folder, case) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
