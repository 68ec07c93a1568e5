#!/usr/bin/env python3
"""Begins a family: models/NAME.c from the skeleton, and its line in models/families.c.

    new_family.py NAME [TITLE]        (make new-family NAME=x TITLE='X and X-large')

The skeleton is a whole decoder, Llama's, straight down; models/MODEL.md says what to change and in
which order. NAME is the model_type of config.json. It ends by saying what is next, the golden first.
"""
import os
import re
import sys

NEXT = """{path} is there and in the list. Next:
  1. change it by the paper and by Hugging Face's modeling_{name}.py (models/MODEL.md)
  2. tests/goldens/make_families.py: an entry '{name}' with a tiny configuration, then
     python3 tests/goldens/make_families.py {name}     (needs torch and transformers)
  3. make test TESTS=build/release/tests/golden/test_families
  4. make family-table, and the row of its keys in models/README.md"""


def fail(message):
    print(f"new-family: {message}", file=sys.stderr)
    sys.exit(2)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def with_family(text, name):
    """families.c with the declaration and the entry of one more family, wrapped at 100 columns."""
    names = re.findall(r"&(sonde_family_\w+)", text) + [f"sonde_family_{name}"]
    head = text[:text.index("extern const sonde_family")]

    def wrapped(first, items, indent, end):
        lines, line = [], first
        for i, item in enumerate(items):
            piece = item + (end if i + 1 == len(items) else ",")
            if line.strip() and len(line) + 1 + len(piece) > 100:
                lines.append(line)
                line = indent + piece
            else:
                line += ("" if line.endswith(" ") else " ") + piece
        return "\n".join(lines + [line])

    declared = wrapped("extern const sonde_family", names, "    ", ";")
    listed = wrapped("    ", ["&" + n for n in names] + ["NULL"], "    ", ",")
    return f"{head}{declared}\n\nconst sonde_family *const sonde_families[] = {{\n{listed}\n}};\n"


def main():
    if len(sys.argv) not in (2, 3):
        fail("expected NAME=x (the model_type of config.json)")
    name = sys.argv[1]
    title = sys.argv[2] if len(sys.argv) == 3 and sys.argv[2] else name
    path = f"models/{name}.c"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        fail(f"NAME is '{name}': expected small letters, digits and _, a letter first")
    if re.search(r'[\\"\n]', title):
        fail("TITLE must do without quotes, backslashes and newlines")
    if os.path.exists(path) or f"&sonde_family_{name}," in read("models/families.c"):
        fail(f"{path} is already there")
    skeleton = read("models/skeleton.c.in")
    write(path, skeleton.replace("@name@", name).replace("@title@", title))
    write("models/families.c", with_family(read("models/families.c"), name))
    print(NEXT.format(path=path, name=name))


if __name__ == "__main__":
    main()
