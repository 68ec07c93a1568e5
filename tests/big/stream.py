#!/usr/bin/env python3
"""Many short prompts through one capture: memory over time, and what a row costs.

    python3 stream.py PROGRAM MODEL FOLDER [--prompts N,N,...] [--meta] [--generate N] [--stdin] [-- OPTIONS ...]

Makes prompts of three to ten English words in FOLDER (kept there; FOLDER needs about 2 kB a prompt), captures each
number of them (default 120,1200,12000,120000: about 1,000 to 1,000,000 rows of the shipped model) and prints, for
each, memory of its own and of mapped files in tenths of the run, and time and processor time a row above those of a
run of one prompt. --meta gives every prompt an id and four keys of metadata, --stdin pipes the prompts in, --generate
samples tokens behind each. Standard library only.
"""
import argparse
import json
import os
import random
import re
import resource
import subprocess
import sys
import time

WORDS = ("the of and to in a is that for it as was with be by on not he his but at are this have from or had an they "
         "which one you were all her she there would their we him been has when who will no more if out so up said "
         "what its about than into them can only other time new some could these two may first then do package "
         "installation maintainer configuration distribution dependencies").split()


def make_prompts(path, n, meta):
    draw = random.Random(n)
    with open(path, "w") as out:
        for i in range(n):
            prompt = {"text": " ".join(draw.choices(WORDS, k=draw.randint(3, 10)))}
            if meta:
                prompt.update(id=f"doc-{draw.getrandbits(48):012x}-{i}", source=draw.choice(["web", "book", "code"]),
                              score=draw.random(), part=i // 1000, note=" ".join(draw.choices(WORDS, k=4)))
            out.write(json.dumps(prompt) + "\n")


def memory_of(pid):
    """Resident megabytes: own and of files."""
    try:
        with open(f"/proc/{pid}/status") as status:
            text = status.read()
    except OSError:
        return None
    found = [re.search(rf"{key}:\s+(\d+)", text) for key in ("RssAnon", "RssFile")]
    return tuple(int(m.group(1)) / 1e3 for m in found) if all(found) else None


def run(command, prompts):
    """Seconds, processor seconds, rows, and memory every 20 ms."""
    before, begin, memory = resource.getrusage(resource.RUSAGE_CHILDREN), time.time(), []
    source = open(prompts, "rb") if prompts else None
    with subprocess.Popen(command, stdin=source, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            now = memory_of(process.pid)
            if now and sum(now) > 0:
                memory.append(now)
            time.sleep(0.02)
        words = process.stderr.read()
    wall, after = time.time() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"sonde: ([\d,]+) rows? of", words)
    if process.returncode != 0 or not found:
        sys.exit(f"exit {process.returncode}\n{words}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(found.group(1).replace(",", "")), memory


def tenths(memory, which):
    """The largest in each tenth of the run."""
    n = len(memory)
    parts = [memory[i * n // 10:(i + 1) * n // 10] for i in range(10)]
    return " ".join(f"{max(m[which] for m in part):.0f}" for part in parts if part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--prompts", default="120,1200,12000,120000")
    parser.add_argument("--meta", action="store_true")
    parser.add_argument("--stdin", action="store_true")
    parser.add_argument("--generate", type=int, default=0)
    args, options = parser.parse_known_args()
    options = [o for o in options if o != "--"]
    os.makedirs(args.folder, exist_ok=True)
    none = None
    for n in [1] + [int(n) for n in args.prompts.split(",")]:
        path = os.path.join(args.folder, f"{n}{'-meta' if args.meta else ''}.jsonl")
        if not os.path.exists(path):
            make_prompts(path, n, args.meta)
        output = os.path.join(args.folder, "stream.h5")
        command = [args.program, "capture", args.model, "-" if args.stdin else path, "-o", output, "--overwrite",
                   "--max-new-tokens", str(args.generate), *options]
        wall, cpu, rows, memory = run(command, path if args.stdin else None)
        size = os.path.getsize(output)
        os.remove(output)
        if none is None:
            none = wall, cpu, size
            continue
        print(f"{n:,} prompts, {rows:,} rows: {wall:.2f} s; a row takes {(wall - none[0]) / rows * 1e6:.2f} us, "
              f"{(cpu - none[1]) / rows * 1e6:.2f} us of processors, {(size - none[2]) / rows:.0f} bytes of the file",
              flush=True)
        print(f"    MB of its own {tenths(memory, 0)}; of mapped files {tenths(memory, 1)}", flush=True)


if __name__ == "__main__":
    main()
