#!/usr/bin/python3
"""metrics.py [N] - what stands out in the C code: the N longest functions and files, repeated lines.

A function is what begins with a line at column 0 that ends a parameter list before a `{` at column 0.
Repeated lines are runs of at least 8 that occur twice, blank lines, braces and includes aside.
"""
import os
import re
import sys
from collections import defaultdict

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("lib", "models", "probes", "analysis", "cli", "tests")
RUN = 8
NAME = re.compile(r"([A-Za-z_]\w*)\s*\(")


def sources():
    for folder in FOLDERS:
        for place, names, files in os.walk(os.path.join(ROOT, folder)):
            names.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h")) and "_tables" not in name:
                    path = os.path.join(place, name)
                    with open(path, encoding="utf-8") as file:
                        yield os.path.relpath(path, ROOT), file.read().split("\n")


def functions(lines):
    """(name, first line, number of lines) of each function."""
    start = None
    for number, line in enumerate(lines):
        if line == "{" and number:
            start = number - 1
            while start > 0 and lines[start - 1] and lines[start].startswith((" ", "\t")):
                start -= 1
        elif line == "}" and start is not None:
            match = NAME.search(lines[start])
            yield (match.group(1) if match else "?"), start + 1, number - start + 1
            start = None


def telling(lines):
    """(number, text) of the lines that count for repetition."""
    for number, line in enumerate(lines, 1):
        text = " ".join(line.split())
        if len(text) > 3 and not text.startswith(("#include", "/*", "*", "//")):
            yield number, text


def repeats(files):
    """(lines, first place, second place), longest first; each place is reported once."""
    places = defaultdict(list)
    kept = {path: list(telling(lines)) for path, lines in files}
    for path, texts in kept.items():
        for at in range(len(texts) - RUN + 1):
            places[tuple(text for _, text in texts[at:at + RUN])].append((path, at))
    found, seen = [], set()
    for path, texts in kept.items():
        for at in range(len(texts) - RUN + 1):
            for other, there in places[tuple(text for _, text in texts[at:at + RUN])]:
                if (other, there) <= (path, at) or (path, at, other, there) in seen:
                    continue
                length = 0
                while (at + length < len(texts) and there + length < len(kept[other])
                       and texts[at + length][1] == kept[other][there + length][1]):
                    seen.add((path, at + length, other, there + length))
                    length += 1
                found.append((length, f"{path}:{texts[at][0]}", f"{other}:{kept[other][there][0]}"))
    return sorted(found, reverse=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    files = list(sources())
    found = sorted(((size, f"{path}:{first}", name) for path, lines in files
                    for name, first, size in functions(lines)), reverse=True)
    sizes = sorted(((len(lines) - 1, path) for path, lines in files), reverse=True)
    print(f"{len(files)} files, {sum(n for n, _ in sizes)} lines, {len(found)} functions, "
          f"{sum(n for n, _, _ in found) / max(1, len(found)):.1f} lines each; "
          f"{sum(n > 60 for n, _, _ in found)} above 60 lines, {sum(n > 500 for n, _ in sizes)} files above 500")
    print("\nlongest functions")
    print("\n".join(f"  {size:4}  {name:32} {where}" for size, where, name in found[:count]))
    print("\nlongest files")
    print("\n".join(f"  {size:4}  {path}" for size, path in sizes[:count]))
    print(f"\nrepeated lines (at least {RUN})")
    print("\n".join(f"  {length:4}  {a}  {b}" for length, a, b in repeats(files)[:count]) or "  none")


if __name__ == "__main__":
    main()
