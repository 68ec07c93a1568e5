#!/usr/bin/env python3
"""Tokenising English beside Hugging Face's tokenizers: same text, same machine, turns taken, ids compared.

    python3 text_peers.py BENCH_TEXT FOLDER [FOLDER ...]

BENCH_TEXT is build/release/tests/bench/bench_text; a FOLDER holds tokenizer.json. The text is what Debian's perl and
its licences hold of English prose (2 MB, 29,000 distinct words; no paragraph twice). One thread each: the whole text
in one call, and paragraph by paragraph. Without the package `tokenizers` only ours is timed, and that is said.
"""
import array
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
SOURCES = ["/usr/share/common-licenses/*", "/usr/share/perl/*/**/*.p[mo]*"]


def prose():
    """Paragraphs of documentation: letters and spaces mostly, ending as a sentence does."""
    seen = {}
    for path in sorted(p for pattern in SOURCES for p in glob.glob(pattern, recursive=True)):
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8", errors="ignore") as source:
            for part in re.split(r"\n\s*\n", source.read()):
                text = re.sub(r"\s+", " ", part).strip()
                if len(text) < 60 or re.match(r"\s*[=#{}$@]", part) or text[-1] not in ".!?:":
                    continue
                if sum(c.isalpha() or c == " " for c in text) / len(text) >= 0.9:
                    seen.setdefault(text)
    return "\n".join(seen) + "\n"


def rates(words):
    found = {name: float(rate) for name, rate in re.findall(r"(text|lines) +encode +([\d.]+) MB/s", words)}
    return found["text"], found["lines"]


def time_ours(bench, path, folder):
    return rates(subprocess.run([bench, "--file", path, folder], check=True, capture_output=True, text=True).stdout)


def time_theirs(tokenizer, text):
    begin = time.perf_counter()
    ids = tokenizer.encode(text).ids
    whole = time.perf_counter()
    lines = text.split("\n")
    begin_lines = time.perf_counter()
    for line in lines:
        tokenizer.encode(line)
    done = time.perf_counter()
    size = len(text.encode()) / 1e6
    return (size / (whole - begin), size / (done - begin_lines)), ids


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        from tokenizers import Tokenizer
    except ImportError:
        Tokenizer = None
        print("the package tokenizers is not installed: only ours is timed")
    text = prose()
    if len(text) < 100000:
        sys.exit("there is too little English on this machine: /usr/share/perl, /usr/share/common-licenses")
    print(f"{len(text.encode()) / 1e6:.1f} MB of English, {len(set(text.split())):,} distinct words; MB/s on one thread")
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "english.txt")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        for folder in sys.argv[2:]:
            compare(Tokenizer, sys.argv[1], folder, text, path)


def compare(Tokenizer, bench, folder, text, path):
    ours, theirs, same = [0.0, 0.0], [0.0, 0.0], ""
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")) if Tokenizer else None
    for _ in range(3):
        ours = [max(pair) for pair in zip(ours, time_ours(bench, path, folder))]
        if tokenizer:
            now, ids = time_theirs(tokenizer, text)
            theirs = [max(pair) for pair in zip(theirs, now)]
    if tokenizer:
        with open(path + ".ids", "rb") as found:
            same = "; ids equal" if array.array("I", found.read()).tolist() == ids else "; IDS DIFFER"
    words = f"; Hugging Face {theirs[0]:.2f}, {theirs[1]:.2f}: {ours[0] / theirs[0]:.1f}, {ours[1] / theirs[1]:.1f} times{same}"
    print(f"{folder}: whole {ours[0]:.1f}, by paragraph {ours[1]:.1f}{words if tokenizer else ''}", flush=True)


if __name__ == "__main__":
    main()
