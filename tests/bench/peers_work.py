"""peers_work.py - what peers.py runs: its rows, and the prompts that every subject gets."""
import glob
import json
import os
import random
import subprocess
from collections import namedtuple

TEXTS = "/usr/share/common-licenses"

# what: prefill, decode, together, dump, one-layer, generate. target: sonde / peer, at least.
Row = namedtuple("Row", "id what model threads peer target")
ROWS = [
    Row("prefill-f32-1", "prefill", "f32", 1, "llama.cpp", 1.4),
    Row("prefill-f32-2", "prefill", "f32", 2, "llama.cpp", 1.6),
    Row("decode-f32-1", "decode", "f32", 1, "llama.cpp", 1.1),
    Row("decode-f32-2", "decode", "f32", 2, "llama.cpp", 1.1),
    Row("together-f32-2", "together", "f32", 2, "llama.cpp", 1.7),
    Row("prefill-bf16-1", "prefill", "bf16", 1, "llama.cpp", 0.9),
    Row("prefill-bf16-2", "prefill", "bf16", 2, "llama.cpp", 0.9),
    Row("decode-bf16-1", "decode", "bf16", 1, "llama.cpp", 1.1),
    Row("decode-bf16-2", "decode", "bf16", 2, "llama.cpp", 1.1),
    Row("together-bf16-2", "together", "bf16", 2, "llama.cpp", 1.15),
    Row("prefill-q4-1", "prefill", "q4", 1, "llama.cpp", 2.7),
    Row("prefill-q4-2", "prefill", "q4", 2, "llama.cpp", 2.7),
    Row("decode-q4-1", "decode", "q4", 1, "llama.cpp", 1.2),
    Row("decode-q4-2", "decode", "q4", 2, "llama.cpp", 1.2),
    Row("together-q4-2", "together", "q4", 2, "llama.cpp", None),
    Row("dump-hf", "dump", "f32", 2, "hf", None),
    Row("dump-hf-pt", "dump", "f32", 2, "hf-pt", 1.9),
    Row("dump-hf-h5", "dump", "f32", 2, "hf-h5", 2.4),
    Row("dump-tl", "dump", "f32", 2, "tl", 2.6),
    Row("dump-nnsight", "dump", "f32", 2, "nnsight", 2.6),
    Row("one-layer-tl", "one-layer", "f32", 2, "tl-stop", 2.6),
    Row("generate-hf", "generate", "f32", 2, "gen", None),
    Row("generate-hf-pt", "generate", "f32", 2, "gen-pt", 3.5),
]
WORDS = {"llama.cpp": "llama.cpp", "hf": "Hugging Face forward alone",
         "hf-pt": "Hugging Face + torch.save", "hf-h5": "Hugging Face + h5py gzip",
         "tl": "TransformerLens run_with_cache + torch.save",
         "tl-stop": "TransformerLens stop_at_layer + torch.save",
         "nnsight": "nnsight + torch.save", "gen": "Hugging Face generate",
         "gen-pt": "Hugging Face generate + all hidden states saved"}
PREFILL, DECODE, PROMPT, TOGETHER, TOGETHER_NEW, NEW_TOKENS = 512, 64, 64, 32, 32, 64


class Missing(Exception):
    """A subject that cannot run here; the message is the word that is said."""


def call(command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Missing(f"{os.path.basename(command[0])}: exit {done.returncode}: {''.join(last)}")
    return done


# ---- the prompts ---------------------------------------------------------------------------------

def dump_lengths():
    """64 ragged lengths, 17..512: 11,303 tokens."""
    draw = random.Random(1)
    return [min(512, max(16, int(draw.lognormvariate(5.0, 0.8)))) for _ in range(64)]


def pieces(ids, lengths, seed):
    draw = random.Random(seed)
    starts = [draw.randrange(len(ids) - 600) for _ in lengths]
    return [ids[s:s + n] for s, n in zip(starts, lengths)]


def license_ids(a):
    """Token ids of the licences of a Debian machine, by the model's own tokenizer."""
    paths = [p for p in sorted(glob.glob(TEXTS + "/*")) if not os.path.islink(p)]
    text = "".join(open(p, errors="ignore").read() for p in paths)
    if not text:
        raise Missing(f"no texts in {TEXTS}")
    path = os.path.join(a.out, "text.jsonl")
    with open(path, "w") as file:
        file.write(json.dumps({"text": text}) + "\n")
    out = call([a.sonde, "tokens", a.models["f32"], path, "--add-bos", "no", "--json"])
    return json.loads(out.stdout)["tokens"]


def write_prompts(path, prompts, new_tokens=None):
    with open(path, "w") as file:
        for ids in prompts:
            line = {"tokens": ids}
            if new_tokens is not None:
                line["max_new_tokens"] = new_tokens
            file.write(json.dumps(line) + "\n")


def prepare(a):
    """The files of prompts, made once: the same ids for every subject."""
    ids = license_ids(a)
    dump = pieces(ids, dump_lengths(), 2)[::a.every]
    gen = pieces(ids, [32 + 2 * i for i in range(32)], 3)
    layers = 30
    config = os.path.join(a.models["f32"], "config.json")
    if os.path.exists(config):
        with open(config) as file:
            layers = json.load(file)["num_hidden_layers"]
    with open(os.path.join(a.out, "work.json"), "w") as file:
        json.dump({"dump": dump, "gen": gen, "layer": layers // 2}, file)
    write_prompts(a.out + "/dump.jsonl", dump)
    write_prompts(a.out + "/generate.jsonl", gen, NEW_TOKENS)
    write_prompts(a.out + "/prefill.jsonl", pieces(ids, [PREFILL], 4), 1)
    write_prompts(a.out + "/decode.jsonl", pieces(ids, [16], 5), DECODE + 1)
    write_prompts(a.out + "/together.jsonl", pieces(ids, [PROMPT] * TOGETHER, 6), TOGETHER_NEW + 1)
    return layers // 2
