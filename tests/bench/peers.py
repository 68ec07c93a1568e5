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
import json
import os
import platform
import re
import shutil
import sys
import time

from peers_subjects import Torch, peer_of, sondes
from peers_table import state_path, tell
from peers_work import ROWS, WORDS, Missing, call, prepare

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
    tell(a, machine())


if __name__ == "__main__":
    main()
