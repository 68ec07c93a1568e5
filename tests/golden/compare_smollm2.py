#!/usr/bin/env python3
"""Every hook point of SmolLM2-135M-Instruct against Hugging Face, and a greedy continuation.

    pip install torch transformers tokenizers safetensors gguf h5py numpy
    make model-smollm2 && python3 compare_smollm2.py [--sonde PROGRAM] [--gguf FILE]

Three prompts (one of 300 tokens) run through eager fp32 Hugging Face on the dequantised weights and
through `sonde capture --points '*' --as f32 --codec raw` on the GGUF file. A point passes when
max|a-b| / rms(b) lies below max(1e-5, 4 noise floors); hf_points.py says what the floor is. What
Hugging Face gave is kept in build/smollm2 and used again while model, prompts and hooks are the same.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys

import h5py
import numpy as np
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import gguf_llama_to_hf
import hf_points

GGUF = "build/models/SmolLM2-135M-Instruct.Q4_1.gguf"
WORK = "build/smollm2"
QUESTION, ANSWER = "The capital of France is", " Paris."
LINES = "Rain fell on the harbour; 3 boats (of 12) came back at 04:15."
STORY = """The lighthouse keeper wrote a line in the log every evening: the wind, the height of the
water and the ships that had passed. In the spring of 1921 she began to write about other things too.
"There is a fox on the island," one line says, "and nobody knows how it came here." A week later the
fox had a name, and by summer it slept beside the stove. The keeper's brother, who brought oil, bread
and letters on the first Monday of each month, did not believe a word of it until he saw the tracks in
the sand. He measured them with his hand: four toes, narrow heel, 38 of them between the boat and the
door. After the storm of that October the log is empty for nine days. Then the writing starts again,
smaller than before: "The lamp burned every night. I had 2 litres left. The fox is well." What
happened in between she never told anyone, but the families of three fishing boats sent her a clock,
and it is still there, on the wall of the round room, ten minutes slow.

Many years later a student counted all the ships in the log: 14,206 of them, from 31 countries. She
made a table of them by month and by flag, drew the lines on a chart of the coast, and found that
nearly a third had come past in the four weeks when the herring were there. """
N_NEW = 8


def tokenizer_of(path):
    fields = GGUFReader(path).fields
    pieces = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def prompts_of(tokenizer):
    story = tokenizer.encode(STORY.replace("\n", " ")).ids
    assert len(story) >= 300, f"the story has {len(story)} tokens"
    return [tokenizer.encode(QUESTION).ids, tokenizer.encode(LINES).ids, story[:300]]


def key_of(gguf, prompts):
    digest = hashlib.sha256(json.dumps(prompts).encode())
    for path in (gguf, hf_points.__file__):
        with open(path, "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()


def hugging_face(gguf, prompts):
    """Points, noise floors and greedy tokens of Hugging Face, from the folder WORK where they are kept."""
    path, key = os.path.join(WORK, "hf.h5"), key_of(gguf, prompts)
    if os.path.exists(path):
        with h5py.File(path, "r") as kept:
            if kept.attrs["key"] == key:
                return ({n: d[...] for n, d in kept.items()},
                        {n: float(d.attrs["floor"]) for n, d in kept.items()},
                        kept.attrs["greedy"].tolist())
    print("running Hugging Face in fp32, then three times in float64 ...", flush=True)
    folder = os.path.join(WORK, "hf")
    gguf_llama_to_hf.convert(gguf, folder)
    model = hf_points.load(folder)
    points = hf_points.record(model, prompts)
    greedy = hf_points.decode(model, prompts[:1], N_NEW, ())[0][0]
    floors = hf_points.floors(model, lambda m: hf_points.record(m, prompts), points)
    with h5py.File(path + ".part", "w") as out:
        out.attrs["key"], out.attrs["greedy"] = key, greedy
        for name, values in points.items():
            out.create_dataset(name, data=values).attrs["floor"] = floors[name]
    os.replace(path + ".part", path)
    return points, floors, greedy


def capture(sonde, gguf, prompts, extra):
    """Opens a capture of every point of the prompts."""
    source, out = os.path.join(WORK, "prompts.jsonl"), os.path.join(WORK, "sonde.h5")
    with open(source, "w", encoding="utf-8") as lines:
        for tokens in prompts:
            lines.write(json.dumps({"tokens": tokens}) + "\n")
    subprocess.run([sonde, "capture", gguf, source, "-o", out, "--points", "*", "--as", "f32",
                    "--codec", "raw", "--overwrite", "--quiet", *extra], check=True)
    return h5py.File(out, "r")


def values_of(item):
    values = item["data"] if isinstance(item, h5py.Group) else item
    if values.dtype != np.float32:
        sys.exit(f"{item.name}: expected f32, file has {values.dtype}")
    return values[...]


def compare(points, floors, file):
    """[(share of the bound, point, error, floor)], worst first; points of one side only are infinitely off."""
    activations = file["activations"]
    table = []
    for name in sorted(set(points) | set(activations)):
        if name not in points or name not in activations:
            side = "sonde" if name in activations else "Hugging Face"
            print(f"{name}: only {side} has this point")
            table.append((np.inf, name, np.inf, 0.0))
            continue
        error = hf_points.error(values_of(activations[name]), points[name])
        table.append((error / max(1e-5, 4 * floors[name]), name, error, floors[name]))
    return sorted(table, reverse=True)


def report(table, n_tokens, shown=12):
    print(f"{len(table)} points, {n_tokens} rows; the worst:")
    print(f"  {'point':<28} {'error':>9} {'floor':>9} {'of bound':>9}")
    for share, name, error, floor in table[:shown]:
        print(f"  {name:<28} {error:9.2e} {floor:9.2e} {share:9.3f}")
    return table[0][0] < 1


def check_rows(file, prompts):
    have = file["rows/token"][...].tolist()
    want = [t for tokens in prompts for t in tokens]
    if have != want:
        sys.exit("rows/token: the capture holds other tokens than the prompts")


def check_greedy(sonde, gguf, greedy, extra):
    out = subprocess.run([sonde, "generate", gguf, "-p", QUESTION, "--max-new-tokens", str(N_NEW),
                          "--json", "--quiet", *extra], check=True, capture_output=True, text=True)
    said = json.loads(out.stdout.splitlines()[0])
    good = said["tokens"] == greedy[:len(said["tokens"])] and said["text"].startswith(ANSWER)
    print(f"generate: {QUESTION!r} goes on {said['text']!r}: "
          + ("as Hugging Face" if good else f"tokens {said['tokens']}, Hugging Face {greedy}"))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sonde", default="build/release/sonde")
    parser.add_argument("--gguf", default=GGUF)
    parser.add_argument("extra", nargs="*", help="further options of sonde, after --")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.makedirs(WORK, exist_ok=True)
    prompts = prompts_of(tokenizer_of(args.gguf))
    points, floors, greedy = hugging_face(args.gguf, prompts)
    with capture(args.sonde, args.gguf, prompts, args.extra) as file:
        check_rows(file, prompts)
        good = report(compare(points, floors, file), sum(map(len, prompts)))
    good = check_greedy(args.sonde, args.gguf, greedy, args.extra) and good
    print("PASS" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
