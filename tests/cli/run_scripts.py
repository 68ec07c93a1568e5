#!/usr/bin/python3
"""Runs the scripts of tests/cli against a program and compares what they print.

    run_scripts.py PROGRAM [--accept] [NAME...]

A test is TOPIC/NAME.sh. It runs in an empty folder, after common.sh, with `sonde` on the PATH. Beside
it lie what it must print: NAME.sh.stdout.exact or .stdout.glob, the same for stderr (nothing where
there is no such file), and NAME.sh.exit (0 where there is none). In a .glob a line `...` stands for
any number of lines, * within a line for any text and ? for one character. A script that ends with 77
is skipped; its last line says why. --accept writes the .exact files anew where there is
no .glob, and .exit.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SECONDS = 120


def line_matches(pattern, line):
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, line) is not None


def lines_match(patterns, lines):
    """Whether the lines are what the patterns say, `...` being any number of them."""
    reach = {0}
    for pattern in patterns:
        if pattern == "...":
            reach = set(range(min(reach), len(lines) + 1)) if reach else set()
        else:
            reach = {at + 1 for at in reach if at < len(lines) and line_matches(pattern, lines[at])}
    return len(lines) in reach


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def expected(script, stream):
    """('exact' or 'glob', text) of what a stream must hold."""
    for kind in ("exact", "glob"):
        path = f"{script}.{stream}.{kind}"
        if os.path.exists(path):
            return kind, read(path)
    return "exact", ""


def first_difference(kind, want, got):
    want_lines, got_lines = want.splitlines(), got.splitlines()
    for number, line in enumerate(got_lines):
        fits = lines_match(want_lines[:number + 1], got_lines[:number + 1])
        if kind == "exact" and (number >= len(want_lines) or want_lines[number] != line):
            return f"line {number + 1} is: {line}"
        if kind == "glob" and "..." not in want_lines and not fits:
            return f"line {number + 1} is: {line}"
    return f"{len(got_lines)} lines, expected {len(want_lines)}" if kind == "exact" else "no match"


def check_stream(script, stream, got):
    kind, want = expected(script, stream)
    good = want == got if kind == "exact" else lines_match(want.splitlines(), got.splitlines())
    if good:
        return []
    return [f"{stream} is not as its .{kind} says: {first_difference(kind, want, got)}",
            *("  | " + line for line in got.splitlines()[-60:])]


def run(script, program, folder):
    environment = dict(os.environ, LC_ALL="C.UTF-8", CLI=HERE, GOLDENS=os.path.join(ROOT, "tests/goldens"),
                       TREE=ROOT, PYTHON=sys.executable, SONDE=program,
                       PATH=folder + "/bin:" + os.environ["PATH"], HOME=folder)
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "TMPDIR", "SONDE_PROBE_PATH"):
        environment.pop(name, None)
    os.makedirs(os.path.join(folder, "bin"))
    os.makedirs(os.path.join(folder, "work"))
    os.symlink(program, os.path.join(folder, "bin", "sonde"))
    done = subprocess.run(["sh", "-c", f'. "{HERE}/common.sh"; . "{script}"'], cwd=folder + "/work",
                          env=environment, stdin=subprocess.DEVNULL, timeout=SECONDS,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def accept(script, status, streams):
    for stream, text in streams.items():
        path = f"{script}.{stream}"
        if os.path.exists(path + ".glob"):
            continue
        if os.path.exists(path + ".exact"):
            os.remove(path + ".exact")
        if text:
            with open(path + ".exact", "w", encoding="utf-8") as file:
                file.write(text)
    if status:
        with open(script + ".exit", "w", encoding="utf-8") as file:
            file.write(f"{status}\n")


def judge(script, program, accepting):
    """None when the test passed, 'skip: why' or what is wrong, in lines."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            status, out, err = run(script, program, folder)
        except subprocess.TimeoutExpired:
            return [f"still running after {SECONDS} s"]
    if status == 77:
        return "skip: " + (out.splitlines() or ["no reason given"])[-1]
    if accepting:
        accept(script, status, {"stdout": out, "stderr": err})
    want = int(read(script + ".exit")) if os.path.exists(script + ".exit") else 0
    wrong = [] if status == want else [f"exit code {status}, expected {want}"]
    wrong += check_stream(script, "stdout", out) + check_stream(script, "stderr", err)
    return wrong or None


def scripts(names):
    for topic in sorted(os.listdir(HERE)):
        folder = os.path.join(HERE, topic)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            title = f"{topic}/{name[:-3]}"
            if name.endswith(".sh") and (not names or any(n in title for n in names)):
                yield title, os.path.join(folder, name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program")
    parser.add_argument("--accept", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_intermixed_args()
    program = os.path.abspath(options.program)
    passed = failed = skipped = 0
    for title, script in scripts(options.names):
        wrong = judge(script, program, options.accept)
        if wrong is None:
            passed += 1
        elif isinstance(wrong, str):
            skipped += 1
            print(f"skipped {title}: {wrong[6:]}")
        else:
            failed += 1
            print("\n".join([f"FAILED {title}"] + ["  " + line for line in wrong]))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
