#!/usr/bin/python3
"""Runs test programs and scripts side by side and counts their tests.

    run.py --build build/release [--jobs 2] TEST...

A program under tests/fuzz runs its seed corpus; another program is cmocka's, and each of its tests
counts. A script (.sh, .py) gets the path of the program `sonde` as its argument, and BUILD, SONDE,
CC, MAKE and PYTHON in its environment; it counts as its last line says, 'N passed, N failed' with
', N skipped' where it likes, else as one test by its exit status (77: skipped; the last line is the
reason). A program that dies, or ends badly with no failure of its own, has one failure more.
Failures are shown with what they printed. The last line is 'N passed, N failed, N skipped'.
"""
import argparse
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

COUNTS = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
CMOCKA = re.compile(r"\[\s+(RUN|OK|FAILED|ERROR|SKIPPED)\s+\] (\S+)$")
PLANNED = re.compile(r"\[==========\] Running (\d+) test\(s\)")
SECONDS = 1500


class Result:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0
        self.reasons, self.output, self.seconds = [], "", 0.0

    def fail(self, reason, count=1):
        self.failed += count
        self.reasons.append(f"FAILED {self.name}: {reason}")

    def skip(self, reason, count=1):
        self.skipped += count
        self.reasons.append(f"skipped {self.name}: {reason}")


def count_cmocka(result, lines):
    """Each test by its own line; lines between RUN and SKIPPED are the reason of the skip."""
    current, said, planned, seen = None, [], 0, 0
    for line in lines:
        if match := PLANNED.match(line):
            planned += int(match.group(1))
        match = CMOCKA.match(line)
        if not match:
            said.append(line)
            continue
        what, name = match.groups()
        if what == "RUN":
            current, said = name, []
            continue
        if name != current:
            continue
        seen, current = seen + 1, None
        if what == "OK":
            result.passed += 1
        elif what == "SKIPPED":
            result.skip(f"{name}: {' '.join(said).strip() or 'no reason given'}")
        else:
            result.fail(name)
    if current:
        result.fail(f"{current} did not end")
        seen += 1
    if seen < planned:
        result.fail(f"{planned - seen} of {planned} tests never ran", planned - seen)


def count_script(result, lines, status):
    last = lines[-1].strip() if lines else ""
    if match := COUNTS.search(last):
        passed, failed, skipped = (int(n or 0) for n in match.groups())
        result.passed += passed
        if failed:
            result.fail(last, failed)
        if skipped:
            said = [line.strip() for line in lines if re.match(r"\s*skip", line, re.I)]
            result.skip("; ".join(said) or "no reason given", skipped)
    elif status == 77:
        result.skip(last or "no reason given")
    elif status == 0:
        result.passed += 1


def command_of(test, build, program):
    if "/tests/fuzz/" in test:
        return [test, os.path.join("tests/fuzz/corpus", os.path.basename(test))]
    if test.endswith(".sh"):
        return ["sh", test, program]
    if test.endswith(".py"):
        return [os.environ["PYTHON"], test, program]
    return [test]


def run_one(test, build):
    program = os.path.abspath(os.path.join(build, "sonde"))
    result = Result(os.path.relpath(test, build) if test.startswith(build) else test)
    environment = dict(os.environ, BUILD=os.path.abspath(build), SONDE=program)
    start = time.monotonic()
    try:
        done = subprocess.run(command_of(test, build, program), env=environment, timeout=SECONDS,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output, status = error.stdout or b"", None
    except OSError as error:
        output, status = str(error).encode(), 127
    result.seconds = time.monotonic() - start
    result.output = output.decode("utf-8", "replace")
    lines = result.output.splitlines()
    if any(PLANNED.match(line) for line in lines):
        count_cmocka(result, lines)
    else:
        count_script(result, lines, status)
    if status is None:
        result.fail(f"still running after {SECONDS} s")
    elif status < 0:
        result.fail(f"died of {signal.Signals(-status).name}")
    elif status not in (0, 77) and not result.failed:
        result.fail(f"ended with status {status}")
    return result


def show(result, verbose):
    counts = f"{result.passed} passed"
    counts += f", {result.failed} failed" if result.failed else ""
    counts += f", {result.skipped} skipped" if result.skipped else ""
    print(f"  {'FAIL' if result.failed else 'ok  '} {result.name:44} {result.seconds:6.1f} s  {counts}")
    if result.failed or verbose:
        tail = result.output.splitlines()[-200:]
        print("\n".join("      | " + line for line in tail))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("tests", nargs="+")
    options = parser.parse_args()
    os.environ.setdefault("PYTHON", sys.executable)
    results = []
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [pool.submit(run_one, test, options.build) for test in options.tests]
        for future in as_completed(running):
            results.append(future.result())
            show(results[-1], options.verbose)
    for reason in sorted(reason for result in results for reason in result.reasons):
        print(reason)
    passed, failed, skipped = (sum(getattr(result, key) for result in results)
                               for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
