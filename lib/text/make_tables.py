#!/usr/bin/env python3
"""Writes unicode_tables.c and unicode_compat_tables.c: the Unicode that Hugging Face `tokenizers` really uses.

    python3 make_tables.py UNICODE.json.gz FOLDER        needs the package tokenizers 0.23

UNICODE.json.gz holds classes (ranges), ccc, nfc (single code points whose NFC differs) and compose
(pairs), found by probing the library at every code point: its split rules carry Unicode 16, its
digits Unicode 17, its NFC Unicode 9. What that file lacks is probed here: word characters of both
regex engines, punctuation (Unicode 8), lower case, compatibility decompositions.
"""
import gzip
import json
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "P", "S", "Zs"]
FLAGS = {"s": 16, "digits": 32, "Han": 64, "word": 128, "regex_word": 256, "punctuation": 512}
ALL = [cp for cp in range(0x110000) if not 0xD800 <= cp <= 0xDFFF]


def ranges(points):
    out = []
    for cp in points:
        if out and cp == out[-1][1] + 1:
            out[-1][1] = cp
        else:
            out.append([cp, cp])
    return out


def word_ranges():
    """A character is a word character where it does not part the letters beside it."""
    pre, points = pre_tokenizers.Whitespace(), []
    for start in range(0, len(ALL), 4096):
        part = ALL[start:start + 4096]
        text = " ".join(f"a{chr(cp)}a" for cp in part)
        whole = {p for p, _ in pre.pre_tokenize_str(text) if len(p) == 3}
        points += [cp for cp in part if f"a{chr(cp)}a" in whole]
    return ranges(points)


def regex_word_ranges():
    pre, left = pre_tokenizers.Split(Regex(r"\w"), "removed"), set()
    for start in range(0, len(ALL), 65536):
        for piece, _ in pre.pre_tokenize_str("".join(map(chr, ALL[start:start + 65536]))):
            left.update(map(ord, piece))
    return ranges([cp for cp in ALL if cp not in left])


def punctuation_ranges():
    pre, left = pre_tokenizers.Punctuation("removed"), set()
    for start in range(0, len(ALL), 65536):
        for piece, _ in pre.pre_tokenize_str("".join(map(chr, ALL[start:start + 65536]))):
            left.update(map(ord, piece))
    return ranges([cp for cp in ALL if cp not in left])


def numbers(values, per_line=8):
    lines = [", ".join(f"0x{v:X}u" for v in values[i:i + per_line])
             for i in range(0, len(values), per_line)]
    return ",\n    ".join(lines)


def segments(classes):
    edges = {0}
    for name in CATEGORIES + list(FLAGS):
        for first, last in classes[name]:
            edges |= {first, last + 1}
    points = sorted(edges)
    bits = dict.fromkeys(points, 0)
    index = {p: i for i, p in enumerate(points)}
    for value, name in [(i + 1, n) for i, n in enumerate(CATEGORIES)] + [(b, n) for n, b in FLAGS.items()]:
        for first, last in classes[name]:
            i = index[first]
            while i < len(points) and points[i] <= last:
                bits[points[i]] |= value
                i += 1
    out = []
    for p in points:
        if p < 0x110000 and (not out or out[-1] & 0x7FF != bits[p]):
            out.append(p << 11 | bits[p])
    return out


def array(file, kind, name, rows):
    print(f"const {kind} {name} = {{\n    {numbers(rows)}}};", file=file)


def write_tables(data, file):
    print('/* Made by make_tables.py; do not edit. */\n#include "unicode.h"\n', file=file)
    segs = segments(data["classes"])
    array(file, "uint32_t", "sonde_unicode_segments[]", segs)
    print(f"const size_t sonde_unicode_n_segments = {len(segs)};\n", file=file)
    ccc = sorted((int(cp) << 8 | value) for cp, value in data["ccc"].items())
    array(file, "uint32_t", "sonde_unicode_ccc[]", ccc)
    print(f"const size_t sonde_unicode_n_ccc = {len(ccc)};\n", file=file)
    composed = sorted(map(tuple, data["compose"]))
    parts = {c: (a, b) for a, b, c in composed}
    rows = [(c, a, b, 0) for c, (a, b) in parts.items()]
    for cp, seq in data["nfc"].items():
        if int(cp) not in parts:
            assert len(seq) <= 3
            rows.append((int(cp), *(seq + [0, 0])[:3]))
    print("const uint32_t sonde_unicode_compose[][3] = {", file=file)
    for a, b, c in composed:
        print(f"    {{0x{a:X}u, 0x{b:X}u, 0x{c:X}u}},", file=file)
    print(f"}};\nconst size_t sonde_unicode_n_compose = {len(composed)};\n", file=file)
    print("const uint32_t sonde_unicode_decompose[][4] = {", file=file)
    for row in sorted(rows):
        print("    {" + ", ".join(f"0x{v:X}u" for v in row) + "},", file=file)
    print(f"}};\nconst size_t sonde_unicode_n_decompose = {len(rows)};", file=file)


def write_compat(file):
    """Rows of a code point and (offset << 8 | length) of what stands for it in one common pool."""
    print('/* Made by make_tables.py; do not edit. */\n#include "unicode.h"\n', file=file)
    canonical, full = normalizers.NFD().normalize_str, normalizers.NFKD().normalize_str
    lower, pool = normalizers.Lowercase().normalize_str, []
    changes = {"compat": lambda c: c if canonical(c) == full(c) else full(c), "lower": lower}
    for name, change in changes.items():
        rows = []
        for cp in ALL:
            new = change(chr(cp))
            if new != chr(cp):
                rows.append(f"{{0x{cp:X}u, 0x{len(pool) << 8 | len(new):X}u}}")
                pool += map(ord, new)
        lines = [", ".join(rows[i:i + 4]) for i in range(0, len(rows), 4)]
        print(f"const uint32_t sonde_unicode_{name}[][2] = {{\n    " + ",\n    ".join(lines) + "};", file=file)
        print(f"const size_t sonde_unicode_n_{name} = {len(rows)};\n", file=file)
    array(file, "uint32_t", "sonde_unicode_pool[]", pool)


def main():
    data = json.load(gzip.open(sys.argv[1]))
    data["classes"] |= {"word": word_ranges(), "regex_word": regex_word_ranges(),
                        "punctuation": punctuation_ranges()}
    with open(sys.argv[2] + "/unicode_tables.c", "w") as f:
        write_tables(data, f)
    with open(sys.argv[2] + "/unicode_compat_tables.c", "w") as f:
        write_compat(f)


main()
