#!/usr/bin/env python3
"""Runs a command and prints what it cost: time, peak memory of its own and of mapped files, bytes from disk.

    python3 watch.py NAME COMMAND ...
"""
import re
import resource
import subprocess
import sys
import time


def memory_of(pid):
    """Resident kilobytes: own and of files."""
    try:
        with open(f"/proc/{pid}/status") as status:
            text = status.read()
    except OSError:
        return 0, 0
    found = [re.search(rf"{key}:\s+(\d+)", text) for key in ("RssAnon", "RssFile")]
    return tuple(int(m.group(1)) if m else 0 for m in found)


def main():
    name, command = sys.argv[1], sys.argv[2:]
    begin, own, files = time.time(), 0, 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            now = memory_of(process.pid)
            own, files = max(own, now[0]), max(files, now[1])
            time.sleep(0.05)
        words = process.stderr.read()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{name}: {time.time() - begin:.1f} s; memory {own / 1e6:.2f} GB of its own, {files / 1e6:.2f} GB of "
          f"mapped files at most; {usage.ru_inblock * 512 / 1e9:.1f} GB from disk", flush=True)
    if process.returncode != 0:
        sys.exit(f"{name}: exit {process.returncode}\n{words}")


if __name__ == "__main__":
    main()
