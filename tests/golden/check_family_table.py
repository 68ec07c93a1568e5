#!/usr/bin/python3
"""The README's table of families must be what the code says.

    check_family_table.py PROGRAM       (make check) compares; exit 1 and the lines that differ
    check_family_table.py --write       (make family-table) puts the table into README.md
"""
import difflib
import os
import subprocess
import sys

BEGIN, END = "<!-- made by `make family-table` -->\n", "<!-- end of the table -->\n"


def main():
    program = os.path.join(os.environ.get("BUILD", "build/release"), "tests/golden/family_table")
    run = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=False)
    with open("README.md", encoding="utf-8") as page:
        text = page.read()
    head, rest = text.split(BEGIN)
    table, tail = rest.split(END)
    if "--write" in sys.argv:
        with open("README.md", "w", encoding="utf-8") as page:
            page.write(head + BEGIN + run.stdout + END + tail)
        return run.returncode
    sys.stdout.writelines(difflib.unified_diff(table.splitlines(True), run.stdout.splitlines(True),
                                               "README.md", "the code (make family-table)"))
    return 1 if run.returncode or table != run.stdout else 0


if __name__ == "__main__":
    sys.exit(main())
