#!/usr/bin/env python3
"""The table of configuration keys in models/README.md, from the sources of the families.

    python3 tools/config_keys.py            # fails when the table is not what the sources say
    python3 tools/config_keys.py --write    # rewrites the table

A key is honoured where a file of models/ (or lib/run/rope.c) reads it through sonde/recipe.h; a family
honours the keys of its own file and of the block files that it includes.
"""
import glob
import os
import re
import sys

BEGIN, END = "<!-- keys: tools/config_keys.py -->\n", "<!-- end of keys -->\n"
READS = re.compile(r'sonde_(?:get_int|get_float|get_bool|get_text|get_act|has|is_null|get_list_text|'
                   r'get_list_int|get_list_float|list_length)\(\s*\w+,\s*"([^"]+)"')
ROPE_KEY = re.compile(r'ROPE_KEY\("(\w+)"\)')
README = "models/README.md"


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def included(path, seen):
    """The file and the sources of the headers of models/ that it includes, each once."""
    if path in seen or not os.path.exists(path):
        return seen
    seen.append(path)
    for header in re.findall(r'#include "(\w+)\.h"', read(path)):
        included(f"models/{header}.c", seen)
    return seen


def families():
    """name -> its files."""
    found = {}
    for path in sorted(glob.glob("models/*.c")):
        for name in re.findall(r'const sonde_family sonde_family_\w+ = \{\s*\.name = "([^"]+)"', read(path)):
            found[name] = included(path, [])
    return found


def keys_of(path):
    text = read(path)
    keys = set(READS.findall(text))
    names = ROPE_KEY.findall(read("lib/run/rope.c")) if "sonde_get_rope(" in text else []
    return keys, {"rope_parameters." + name for name in names}


def shorter(users, names):
    without = sorted(set(names) - set(users))
    if not without:
        return "all"
    return "all but " + ", ".join(without) if len(without) < len(users) / 2 else ", ".join(sorted(users))


def table():
    where = {}
    names = families()
    for name, files in names.items():
        for path in files:
            keys, rope = keys_of(path)
            for key in keys:
                where.setdefault(key, ({}, {}))[0].setdefault(name, None)
                where[key][1].setdefault(os.path.basename(path), None)
            for key in rope:
                where.setdefault(key, ({}, {}))[0].setdefault(name, None)
                where[key][1].setdefault("lib/run/rope.c", None)
    lines = ["| key | families | honoured in |\n", "|---|---|---|\n"]
    for key in sorted(where):
        users, files = where[key]
        shown = shorter(users, names)
        lines.append(f"| `{key}` | {shown} | {', '.join(sorted(files))} |\n")
    return "".join(lines)


def main():
    text = read(README)
    head, rest = text.split(BEGIN)
    old, tail = rest.split(END)
    new = table()
    if "--write" in sys.argv:
        with open(README, "w", encoding="utf-8") as f:
            f.write(head + BEGIN + new + END + tail)
        return
    if old != new:
        print(f"FAIL {README}: its table of keys is not what the sources say: make key-table")
    print("0 passed, 1 failed" if old != new else "1 passed, 0 failed")
    sys.exit(old != new)


if __name__ == "__main__":
    main()
