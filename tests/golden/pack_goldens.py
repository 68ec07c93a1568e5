#!/usr/bin/env python3
"""Writes the expected tensors of a family golden as one flat file that C tests read.

    python3 pack_goldens.py EXPECTED.h5 OUT.bin

Layout, little endian: the text "SGLD1\\n", then entries until the end of the file:
u32 length of the name, name, u8 kind (0 f32, 1 i32, 2 i64), f64 noise floor (0: none stated),
u64 count, values.
"""
import struct
import sys

import h5py
import numpy as np

KINDS = {"float32": 0, "int32": 1, "int64": 2}


def entry(out, name, values, floor):
    data = np.ascontiguousarray(values)
    raw = name.encode()
    out.write(struct.pack("<I", len(raw)) + raw)
    out.write(struct.pack("<BdQ", KINDS[str(data.dtype)], floor, data.size))
    out.write(data.tobytes())


def main():
    with h5py.File(sys.argv[1], "r") as h5, open(sys.argv[2], "wb") as out:
        out.write(b"SGLD1\n")

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                entry(out, name, item[...], float(item.attrs.get("noise_floor", 0.0)))

        # hard links are visited once by visititems: walk the groups instead
        for group in ("tokens", "points", "offsets", "visible", "generated", "points_decode"):
            for key in h5.get(group, {}):
                visit(f"{group}/{key}", h5[group][key])


if __name__ == "__main__":
    main()
