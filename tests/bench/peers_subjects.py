"""peers_subjects.py - what runs a row of peers.py: sonde, llama.cpp, the Python peers. Each run
gives tokens a second."""
import json
import os
import re
import subprocess

from peers_work import (DECODE, PREFILL, PROMPT, TOGETHER, TOGETHER_NEW, WORDS, Missing, call)


class Sonde:
    """One configuration of sonde on one row."""

    def __init__(self, a, row, name, more):
        self.a, self.row, self.name, self.more = a, row, name, more

    def split(self):
        """Workers and threads that the row asks for; dumps and generation choose on their own."""
        if self.row.what in ("prefill", "decode"):
            return ["--workers", 1, "--threads", self.row.threads]
        return []

    def run(self):
        a, what = self.a, self.row.what
        model, base = a.models[self.row.model], f"{a.out}/{what}"
        if what in ("dump", "one-layer", "generate"):
            return self.capture(model, what)
        line = [a.sonde, "generate", model, base + ".jsonl", "-v", "--quiet", "--json"]
        if what == "together":
            line += ["--batch-tokens", PROMPT * TOGETHER, "--batch", TOGETHER]
        done = call(line + self.split() + self.more)
        line = re.search(r"seconds: load.*", done.stderr).group()
        phases = dict(re.findall(r"(prefill|decode) ([0-9.e+-]+)", line))
        made = [len(json.loads(text)["tokens"]) for text in done.stdout.splitlines()]
        if what == "prefill":
            return PREFILL / float(phases["prefill"])
        # a sequence's first token comes of the prefill; phases are sums over the workers
        workers = int(self.more[self.more.index("--workers") + 1]) if what == "together" else 1
        return (sum(made) - len(made)) / (float(phases["decode"]) / workers)

    def capture(self, model, what):
        a = self.a
        prompts = "generate" if what == "generate" else "dump"
        points = f"blocks.{a.layer}.resid_post" if what == "one-layer" else "blocks.*.resid_post"
        done = call([a.sonde, "capture", model, f"{a.out}/{prompts}.jsonl", "-o", a.out + "/out.h5",
                     "--points", points, "--as", "bf16", "--overwrite", "--quiet", "--json"] +
                    self.split() + self.more)
        summary = json.loads(done.stdout)
        tokens = summary["generated_tokens" if what == "generate" else "prompt_tokens"]
        return tokens / summary["seconds"]

    def stop(self):
        if os.path.exists(self.a.out + "/out.h5"):
            os.remove(self.a.out + "/out.h5")


class Llama:
    """llama-bench, or llama-batched-bench for sequences together."""
    name = "llama.cpp"

    def __init__(self, a, row):
        self.row, self.model = row, a.gguf[row.model]
        tool = "llama-batched-bench" if row.what == "together" else "llama-bench"
        self.tool = os.path.join(a.llama, tool) if a.llama else ""
        if not os.path.exists(self.tool):
            raise Missing(f"no {tool} (--llama; peers_build.sh makes it)")
        if not os.path.exists(self.model):
            raise Missing(f"no {os.path.basename(self.model)} in the folder of models")

    def run(self):
        row, line = self.row, [self.tool, "-m", self.model, "-t", self.row.threads]
        if row.what == "together":
            done = call(line + ["-c", 2 * TOGETHER * (PROMPT + TOGETHER_NEW), "-b", 2048, "-ub", 512,
                                "-npp", PROMPT, "-ntg", TOGETHER_NEW, "-npl", TOGETHER,
                                "--output-format", "jsonl"])
            lines = [text for text in done.stdout.splitlines() if text.startswith("{")]
            return json.loads(lines[-1])["speed_tg"]
        counts = ["-p", PREFILL, "-n", 0] if row.what == "prefill" else ["-p", 0, "-n", DECODE]
        return json.loads(call(line + counts + ["-r", 1, "-o", "json"]).stdout)[0]["avg_ts"]

    def stop(self):
        pass


class Torch:
    """A process of peers_torch.py that keeps its model loaded; idle between its turns."""

    def __init__(self, a, row):
        self.name = row.peer
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers_torch.py")
        line = [a.python, script, a.models["f32"], a.out + "/work.json", a.out + "/peer",
                str(row.threads), row.peer]
        self.log = open(f"{a.out}/{row.id}.log", "w")
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        self.versions = self.answer()["ready"]

    def answer(self):
        for line in self.process.stdout:
            if not line.startswith("{"):
                continue  # a library that prints
            value = json.loads(line)
            if "missing" in value:
                raise Missing(value["missing"])
            return value
        raise Missing(f"{WORDS[self.name]} ended: see {self.log.name}")

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        value = self.answer()
        return value["tokens"] / value["seconds"]

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()


def sondes(a, row):
    """What of sonde runs in a row: exact, and the integer mode where this build has it."""
    ways = [("sonde", [])]
    if row.what == "together":
        ways = [("sonde", ["--workers", str(row.threads), "--threads", "1"]),
                (f"sonde 1x{row.threads}", ["--workers", "1", "--threads", str(row.threads)])]
    if row.model == "q4" and a.has_int:
        ways += [(name + " int", more + ["--mode", "int"]) for name, more in ways]
    return [Sonde(a, row, name, more + a.more) for name, more in ways]


def peer_of(a, row):
    return Llama(a, row) if row.peer == "llama.cpp" else Torch(a, row)
