#!/usr/bin/python3
"""Enforces the tree's law: who may include what, headers that stand alone, sizes, READMEs.

    check_deps.py            checks the tree around this script
    check_deps.py --root DIR checks another tree

The arrows are the tables below, as the root README draws them. The last line counts the rules for
tests/run.py; one of them is that a tree with each kind of wrong arrow is caught.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CODE = ("lib", "models", "probes", "analysis", "cli")

# Folder: the folders whose headers it may include besides its own. The longest prefix counts.
ARROWS = {
    "lib/core": (),
    "lib/kernels/dtype": ("lib/core",),
    "lib/kernels": ("lib/core", "lib/kernels"),
    "lib/weights": ("lib/core", "lib/kernels/dtype"),
    "lib/text": ("lib/core",),
    "lib/cuda": ("lib/core", "lib/kernels"),
    "lib/run": ("lib/core", "lib/kernels", "lib/weights", "lib/text"),
    "lib/store": ("lib/core",),
    "lib/host": ("lib/core", "lib/kernels/dtype", "lib/text", "lib/run", "lib/store"),
    "models": (),
    "probes": (),
    "analysis": (),
    "cli": ("analysis/analysis.h",),
    "lib/include/sonde": (),
}

# Public header: the folders that may include it; those of base.h and options.h are everyone.
PUBLIC = {
    "sonde/base.h": CODE,
    "sonde/options.h": ("lib", "analysis", "cli"),
    "sonde/recipe.h": ("lib/include", "lib/kernels", "lib/weights", "lib/run", "models"),
    "sonde/chat.h": ("lib/include", "lib/text", "lib/weights", "lib/run", "lib/host", "cli"),
    "sonde/text.h": ("lib/include", "lib/text", "lib/weights", "lib/run", "lib/host", "cli"),
    "sonde/model.h": ("lib/include", "lib/run", "lib/host", "cli"),
    "sonde/reader.h": ("lib/store", "lib/host", "analysis", "cli"),
    "sonde/job.h": ("lib/include", "lib/host", "cli"),
    "sonde/probe.h": ("lib/include", "lib/host", "probes"),
}

# Header of a library outside the C and POSIX libraries: the folders that may include it.
OUTSIDE = {
    "hdf5.h": ("lib/store",),
    "zstd.h": ("lib/store",),
    "libdeflate.h": ("lib/store",),
    "xxhash.h": ("lib/core",),
    "jansson.h": ("lib/core", "lib/weights", "lib/text", "lib/run", "lib/store", "lib/host",
                  "analysis", "cli"),
    "cblas.h": ("lib/kernels/blas",),
    "argtable2.h": ("cli",),
    "cuda.h": ("lib/cuda",),
}

C_STANDARD = {name + ".h" for name in (
    "assert ctype errno fenv float inttypes limits locale math setjmp signal stdalign stdarg "
    "stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string time uchar wchar").split()}
SYSTEM = C_STANDARD | {
    "dirent.h", "dlfcn.h", "fcntl.h", "fnmatch.h", "getopt.h", "glob.h", "link.h", "poll.h",
    "malloc.h", "pthread.h", "sched.h", "strings.h", "termios.h", "unistd.h", "sys/file.h", "sys/ioctl.h", "sys/mman.h",
    "sys/random.h", "sys/resource.h", "sys/stat.h", "sys/statvfs.h", "sys/sysinfo.h", "sys/time.h", "sys/types.h",
    "sys/uio.h", "sys/utsname.h", "sys/wait.h", "cpuid.h", "immintrin.h", "langinfo.h"}
ONLY_STANDARD_C = ("models", "probes", "lib/include")

MAX_LINES = 500
LONGER = re.compile(r"(_tables?|schema)\.[ch]$|^analysis/python/sonde\.py$")  # one file by promise
TEXT = re.compile(r"(\.([ch]|py|sh|md|mk|dict|in)|^Makefile|/Makefile|\.ci/run)$")
UNWANTED = re.compile("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00a0\u00ad\u200b-\u200f"
                      "\u2028-\u202f\u2060-\u206f\ufeff\ufff0-\ufffb]")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def files_of(root, folders, pattern):
    for folder in folders:
        for place, names, files in os.walk(os.path.join(root, folder)):
            names[:] = sorted(n for n in names if n not in ("build", "__pycache__", ".git"))
            for name in sorted(files):
                path = os.path.relpath(os.path.join(place, name), root)
                if re.search(pattern, path):
                    yield path


def below(path, folder):
    return path == folder or path.startswith(folder + "/")


def resolve(root, path, name):
    """The file in the tree that a quoted include means, or None."""
    for base in (os.path.dirname(path), "lib", "", "lib/include"):
        candidate = os.path.normpath(os.path.join(base, name))
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def refuse(root, path, quote, name):
    """Why this include is wrong, or None."""
    if name in PUBLIC:
        return None if any(below(path, f) for f in PUBLIC[name]) else "not a header for this folder"
    if quote == '"':
        target = resolve(root, path, name)
        if not target:
            return "no such file in the tree"
        if target.endswith("_internal.h") and os.path.dirname(target) != os.path.dirname(path):
            return f"{target} is private to its folder"
        home = max((f for f in ARROWS if below(path, f)), key=len, default=None)
        if home is None:
            return "a folder that has no arrows in tools/check_deps.py"
        goal = max((f for f in ARROWS if below(target, f)), key=len, default="")
        if goal == home and not (home == "probes" and os.path.dirname(path) != os.path.dirname(target)):
            return None
        return None if any(below(target, f) for f in ARROWS[home]) else f"no arrow to {target}"
    if name in OUTSIDE:
        return None if any(below(path, f) for f in OUTSIDE[name]) else "not in this folder"
    if any(below(path, f) for f in ONLY_STANDARD_C):
        return None if name in C_STANDARD else "only the C library's headers here"
    return None if name in SYSTEM else "a header of a library that tools/check_deps.py does not know"


def check_arrows(root):
    wrong = []
    for path in files_of(root, CODE, r"\.[ch]$"):
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                match = INCLUDE.match(line)
                why = match and refuse(root, path, *match.groups())
                if why:
                    wrong.append(f"{path}:{number}: {line.strip()}: {why}")
    return wrong


def check_headers(root):
    """Every public header compiles alone, twice, as C and as C++."""
    wrong = []
    compilers = [shlex.split(os.environ.get("CC", "gcc")) + ["-std=c11", "-xc", "-Wstrict-prototypes"],
                 ["g++", "-std=c++11", "-xc++"]]
    for path in files_of(root, ["lib/include"], r"\.h$"):
        name = os.path.relpath(path, "lib/include")
        for compiler in compilers:
            done = subprocess.run(
                compiler + ["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                            "-I", os.path.join(root, "lib/include"), "-"],
                input=f'#include "{name}"\n#include "{name}"\nint main(void) {{ return 0; }}\n',
                capture_output=True, text=True, check=False)
            if done.returncode:
                wrong.append(f"{path}: does not compile alone with {compiler[0]}:\n{done.stderr}")
    return wrong


def check_sizes(root):
    wrong = []
    for path in files_of(root, CODE, r"\.[ch]$"):
        with open(os.path.join(root, path), "rb") as file:
            lines = file.read().count(b"\n")
        if lines > MAX_LINES and not LONGER.search(path):
            wrong.append(f"{path}: {lines} lines, expected at most {MAX_LINES}")
    return wrong


def check_text(root):
    """UTF-8 with no invisible, directional or control characters, and a newline at the end."""
    wrong = []
    for path in files_of(root, ["."], TEXT):
        if below(path, "tests/goldens") or below(path, "tests/fuzz/corpus"):
            continue
        with open(os.path.join(root, path), "rb") as file:
            data = file.read()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            wrong.append(f"{path}: not UTF-8 at byte {error.start}")
            continue
        found = UNWANTED.search(text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            wrong.append(f"{path}:{line}: unwanted character U+{ord(found.group()):04X}")
        if text and not text.endswith("\n"):
            wrong.append(f"{path}: no newline at the end")
    return wrong


def check_readmes(root):
    wrong = []
    for folder in sorted({os.path.dirname(p) for p in files_of(root, CODE, r"\.[ch]$")} | {"data", "tests"}):
        kept_by_parent = folder in ("lib/kernels/ref", "lib/kernels/x86", "lib/kernels/blas")
        if not kept_by_parent and not os.path.isfile(os.path.join(root, folder, "README.md")):
            wrong.append(f"{folder}: has no README.md")
    return wrong


# Path, what it includes, whether that is right: each arrow kind once.
SPECIMENS = (
    ("lib/core/a.c", '"store/b.h"', False), ("lib/store/b.c", '"core/a.h"', True),
    ("lib/store/b.c", "<hdf5.h>", True), ("lib/host/c.c", "<hdf5.h>", False),
    ("lib/run/d.c", '"host/c.h"', False), ("lib/run/d.c", '"store/b.h"', False),
    ("lib/host/c.c", '"run/d.h"', True), ("lib/store/b.c", '"run/d.h"', False),
    ("lib/weights/e.c", '"kernels/dtype/f.h"', True), ("lib/weights/e.c", '"kernels/g.h"', False),
    ("lib/kernels/dtype/f.c", '"kernels/g.h"', False), ("lib/kernels/g.c", '"dtype/f.h"', True),
    ("models/h.c", '"core/a.h"', False), ("models/h.c", '"sonde/recipe.h"', True),
    ("models/h.c", "<unistd.h>", False), ("models/h.c", '"sonde/model.h"', False),
    ("probes/i.c", '"sonde/probe.h"', True), ("probes/i.c", '"sonde/reader.h"', False),
    ("probes/i.c", '"../lib/core/a.h"', False), ("cli/j.c", '"host/c.h"', False),
    ("cli/j.c", '"analysis/analysis.h"', True), ("cli/j.c", '"analysis/k.h"', False),
    ("analysis/k.c", '"store/b.h"', False), ("analysis/k.c", '"sonde/reader.h"', True),
    ("lib/text/l.c", "<openssl/ssl.h>", False), ("lib/text/l.c", '"weights/e.h"', False),
    ("lib/run/d.c", '"core/m_internal.h"', False), ("lib/core/a.c", '"m_internal.h"', True),
    ("lib/text/l.c", '"core/absent.h"', False), ("lib/kernels/g.c", "<cblas.h>", False),
)


def check_itself(_root):
    """Wrong arrows in a made-up tree are caught, right ones are not."""
    with tempfile.TemporaryDirectory() as root:
        for path in {p for p, _, _ in SPECIMENS} | {"analysis/analysis.c", "lib/core/m_internal.c"}:
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            for suffix in "ch":
                with open(os.path.join(root, path[:-1] + suffix), "w", encoding="utf-8"):
                    pass
        wrong = []
        for path, name, right in SPECIMENS:
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(f"#  include {name}\n")
            if (not check_arrows(root)) != right:
                wrong.append(f"{path} with {name}: expected {'no ' if right else 'a '}complaint")
            with open(os.path.join(root, path), "w", encoding="utf-8"):
                pass
        return wrong


RULES = (("who may include what", check_arrows), ("public headers compile alone", check_headers),
         ("sizes of files", check_sizes), ("characters", check_text), ("READMEs", check_readmes),
         ("wrong arrows are caught", check_itself))


def main():
    root = sys.argv[2] if sys.argv[1:2] == ["--root"] and len(sys.argv) == 3 else HERE
    failed = 0
    for name, rule in RULES:
        wrong = rule(root)
        failed += bool(wrong)
        print("\n".join([f"FAILED {name}:"] + ["  " + line for line in wrong]) if wrong else f"ok {name}")
    print(f"{len(RULES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
