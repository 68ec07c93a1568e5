#!/usr/bin/env python3
"""Writes unicode_tables.c from the Unicode tables that Hugging Face `tokenizers` really uses.

    python3 make_tables.py UNICODE.json.gz > unicode_tables.c

The input holds classes (ranges), ccc, nfc (single code points whose NFC differs) and compose
(pairs), found by probing the library at every code point: its split rules carry Unicode 16, its
digits Unicode 17, its NFC Unicode 9.
"""
import gzip
import json
import sys

BITS = {"L": 1, "N": 2, "s": 4, "digits": 8, "Lu": 16, "Lt": 16, "Ll": 32, "Lm": 64, "Lo": 64,
        "M": 1024, "P": 128, "S": 256, "Han": 512}


def numbers(values, per_line=8):
    lines = [", ".join(f"0x{v:X}u" for v in values[i:i + per_line])
             for i in range(0, len(values), per_line)]
    return ",\n    ".join(lines)


def segments(classes):
    edges = {0: None}
    for name in BITS:
        for first, last in classes[name]:
            edges[first] = edges[last + 1] = None
    points = sorted(edges)
    bits = dict.fromkeys(points, 0)
    for name, bit in BITS.items():
        for first, last in classes[name]:
            for p in points:
                if first <= p <= last:
                    bits[p] |= bit
    out = []
    for p in points:
        if p < 0x110000 and (not out or out[-1] & 0x7FF != bits[p]):
            out.append(p << 11 | bits[p])
    return out


def main():
    data = json.load(gzip.open(sys.argv[1]))
    segs = segments(data["classes"])
    ccc = sorted((int(cp) << 8 | value) for cp, value in data["ccc"].items())
    composed = sorted(map(tuple, data["compose"]))
    parts = {c: (a, b) for a, b, c in composed}
    single = {int(cp): seq for cp, seq in data["nfc"].items() if int(cp) not in parts}
    decompose = sorted([(c, a, b) for c, (a, b) in parts.items()]
                       + [(cp, seq[0], seq[1] if len(seq) > 1 else 0) for cp, seq in single.items()
                          if len(seq) <= 2])
    assert all(len(seq) <= 3 for seq in single.values())
    # three code points: the first two are the decomposition of something that is itself listed
    for cp, seq in single.items():
        if len(seq) == 3:
            decompose.append((cp, seq[0], seq[1] | seq[2] << 32))
    longer = [d for d in decompose if d[2] >> 32]
    decompose = sorted(d for d in decompose if not d[2] >> 32)
    print("/* Made by make_tables.py; do not edit. */")
    print('#include "unicode.h"\n')
    print("const uint32_t sonde_unicode_segments[] = {\n    " + numbers(segs) + "};")
    print(f"const size_t sonde_unicode_n_segments = {len(segs)};\n")
    print("const uint32_t sonde_unicode_ccc[] = {\n    " + numbers(ccc) + "};")
    print(f"const size_t sonde_unicode_n_ccc = {len(ccc)};\n")
    print("const uint32_t sonde_unicode_compose[][3] = {")
    for a, b, c in composed:
        print(f"    {{0x{a:X}u, 0x{b:X}u, 0x{c:X}u}},")
    print("};")
    print(f"const size_t sonde_unicode_n_compose = {len(composed)};\n")
    print("const uint32_t sonde_unicode_decompose[][4] = {")
    rows = [(c, a, b, 0) for c, a, b in decompose]
    rows += [(c, a, b & 0xFFFFFFFF, b >> 32) for c, a, b in longer]
    for c, a, b, d in sorted(rows):
        print(f"    {{0x{c:X}u, 0x{a:X}u, 0x{b:X}u, 0x{d:X}u}},")
    print("};")
    print(f"const size_t sonde_unicode_n_decompose = {len(rows)};")


main()
