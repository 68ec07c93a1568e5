#!/usr/bin/python3
"""Captures of the tree's goldens, read by stock h5py, against Hugging Face's tensors.

    check_capture_goldens.py PROGRAM

Every point of every family: max |a - b| / rms(b) below max(1e-5, 4 x the golden's noise floor).
Rows, positions, tokens and first visible keys must be the golden's; both codecs; f32.
"""
import json
import os
import struct
import subprocess
import sys

import h5py
import numpy as np

FAMILIES = "tests/goldens/families"
KINDS = {0: np.float32, 1: np.int32, 2: np.int64}


def unpack(path):
    """{name: (values, noise floor)} of a file by pack_goldens.py."""
    with open(path, "rb") as packed:
        raw = packed.read()
    assert raw[:6] == b"SGLD1\n", path
    at, entries = 6, {}
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        name = raw[at + 4:at + 4 + length].decode()
        kind, floor, count = struct.unpack_from("<BdQ", raw, at + 4 + length)
        at += 4 + length + 17
        values = np.frombuffer(raw, KINDS[kind], count, at)
        at += values.nbytes
        entries[name] = (values, floor)
    return entries


def capture(program, folder, tokens, codec):
    out = f"build/capture_goldens_{os.getpid()}"
    with open(out + ".jsonl", "w", encoding="utf-8") as prompts:
        for run in tokens:
            prompts.write(json.dumps({"tokens": [int(t) for t in run]}) + "\n")
    subprocess.run([program, "capture", folder, out + ".jsonl", "-o", out + ".h5", "--points", "*",
                    "--max-seq", str(max(map(len, tokens))), "--as", "f32", "--codec", codec,
                    "--overwrite", "--quiet"], check=True,
                   stderr=subprocess.DEVNULL)
    os.remove(out + ".jsonl")
    return out + ".h5"


def values_of(h5, name):
    item = h5["activations"][name]
    if isinstance(item, h5py.Group):
        return item["data"][...]
    return item[...].ravel()


def compare(h5, golden, family):
    bad, worst, n = [], 0.0, 0
    for key, (expected, floor) in golden.items():
        if not key.startswith("points/"):
            continue
        name = key[len("points/"):]
        got = values_of(h5, name)
        n += 1
        if got.shape != expected.shape:
            bad.append(f"{family} {name}: expected {expected.shape[0]} values, got {got.shape[0]}")
            continue
        b = expected.astype(np.float64)
        error = np.abs(got.astype(np.float64) - b).max() / np.sqrt(np.mean(b * b))
        bound = max(1e-5, 4 * floor)
        worst = max(worst, error / bound)
        if not error < bound:
            bad.append(f"{family} {name}: error {error:.3g}, bound {bound:.3g}")
    return bad, worst, n


def check_rows(h5, tokens, family):
    rows = h5["rows"]
    position = np.concatenate([np.arange(len(t)) for t in tokens])
    sequence = np.concatenate([np.full(len(t), i) for i, t in enumerate(tokens)])
    good = (np.array_equal(rows["token"][...], np.concatenate(tokens)) and
            np.array_equal(rows["position"][...], position) and
            np.array_equal(rows["sequence"][...], sequence) and not rows["phase"][...].any())
    return [] if good else [f"{family}: labels of rows differ"]


def check_ragged(h5, golden, family):
    bad = []
    for key, (offsets, _) in golden.items():
        if not key.startswith("offsets/"):
            continue
        name = key[len("offsets/"):]
        item, visible = h5["activations"][name], golden["visible/" + name][0]
        if not (np.array_equal(item["indptr"][...], offsets) and
                np.array_equal(item["first_key"][...], visible)):
            bad.append(f"{family} {name}: indptr or first_key differ")
    return bad


def main():
    program, failed, passed = sys.argv[1], 0, 0
    for family in sorted(os.listdir(FAMILIES)):
        folder = os.path.join(FAMILIES, family)
        packed = os.path.join(folder, "expected.bin")
        if not os.path.exists(packed):
            continue
        golden = unpack(packed)
        tokens = [golden[f"tokens/{i}"][0] for i in range(3)]
        for codec in ("deflate", "raw"):
            path = capture(program, folder, tokens, codec)
            with h5py.File(path, "r") as h5:
                bad, worst, n = compare(h5, golden, family)
                bad += check_rows(h5, tokens, family) + check_ragged(h5, golden, family)
            os.remove(path)
            print("\n".join(bad) if bad else f"{family} {codec}: {n} points, worst {worst:.2f} of the bound")
            failed, passed = failed + bool(bad), passed + (not bad)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
