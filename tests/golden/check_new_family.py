#!/usr/bin/python3
"""`make new-family` gives a family that builds and passes a golden, in a copy of the tree.

The skeleton computes what Llama computes, so Llama's golden under the new name must pass it, with its
own build of the family test. Refusals: a bad name, a family that is there.
"""
import os
import shutil
import subprocess
import sys
import tempfile

NAME = "skeleton_check"


def run(tree, *command, **options):
    return subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **options)


def expect(condition, what, output=""):
    if not condition:
        print(f"{what}\n{output}")
        sys.exit(1)


def golden(tree):
    """Llama's golden as a model of the new family."""
    source = "tests/goldens/families/llama_rope_llama3"
    target = os.path.join(tree, "golden")
    shutil.copytree(source, target)
    path = os.path.join(target, "config.json")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace('"model_type": "llama"', f'"model_type": "{NAME}"'))
    return target


PROGRAM = """
#include "support/family_check.h"
#include <stdio.h>
int main(int argc, char **argv)
{
    family_report report = {0};
    family_check(argv[1], argv[2], argv[argc - 1], "cpu", &report);
    printf("%d bad of %d\\n", report.bad, (int)report.n_compared);
    return report.bad || report.n_compared < 40;
}
"""


def build_and_check(tree, build):
    """The two objects that the new family changes, before the library: the linker takes those."""
    here = os.getcwd()
    cc = os.environ.get("CC", "gcc")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic",
             "-Wconversion", "-Wshadow", "-Werror", "-Ilib/include"]
    compiled = run(tree, cc, *flags, "-c", f"models/{NAME}.c", "models/families.c")
    expect(compiled.returncode == 0, "the skeleton does not compile", compiled.stdout)
    with open(os.path.join(tree, "main.c"), "w", encoding="utf-8") as file:
        file.write(PROGRAM)
    packages = ["hdf5-serial", "jansson", "libxxhash", "libdeflate", "argtable2", "openblas", "cmocka",
                "zlib"]
    libs = subprocess.run(["pkg-config", "--libs", *packages], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.split()
    objects = [os.path.join(here, build, "tests/support", f"{n}.o") for n in ("family_check", "golden")]
    linked = run(tree, cc, f"-I{here}/lib", f"-I{here}/lib/include", f"-I{here}/tests", "main.c",
                 f"{NAME}.o", "families.o", *objects, os.path.join(here, build, "libsonde.a"),
                 *libs, "-ldl", "-lm", "-pthread", "-o", "check")
    expect(linked.returncode == 0, "the check does not link", linked.stdout)
    folder = golden(tree)
    checked = run(tree, "./check", folder, os.path.join(folder, "expected.bin"), NAME)
    expect(checked.returncode == 0, "the skeleton does not pass Llama's golden", checked.stdout)


def main():
    if os.environ.get("CONFIG", "release") in ("asan", "tsan"):
        print("skipped: the build is a sanitizer's")
        return 77
    build = os.environ.get("BUILD", "build/release")
    with tempfile.TemporaryDirectory() as tree:
        shutil.copytree("models", os.path.join(tree, "models"))
        shutil.copytree("tools", os.path.join(tree, "tools"))
        os.makedirs(os.path.join(tree, "lib"))
        shutil.copytree("lib/include", os.path.join(tree, "lib/include"))
        script = [sys.executable, "tools/new_family.py"]
        made = run(tree, *script, NAME, "A check")
        expect(made.returncode == 0 and f"models/{NAME}.c" in made.stdout, "no skeleton", made.stdout)
        for name in (NAME, "llama", "Big", "9x", ""):
            refused = run(tree, *script, name)
            expect(refused.returncode == 2, f"'{name}' is not refused", refused.stdout)
        build_and_check(tree, build)
    return 0


if __name__ == "__main__":
    sys.exit(main())
