#!/usr/bin/env python3
"""Writes grids.c: the points that the quants of ggml's IQ1, IQ2 and IQ3 blocks index.

    pip install gguf numpy
    python3 make_grids.py > grids.c

The grids are part of the file format. A point of 8 values of three kinds takes 2 bits a value, one of
4 values of eight kinds 3 bits, the first value lowest.
"""
import numpy as np
from gguf import quants

HEAD = """/* grids.c - points of the quants of IQ1, IQ2 and IQ3 blocks; written by make_grids.py. */
#include "grids.h"
"""


def codes(kind):
    kind.init_grid()
    grid = np.asarray(kind.grid).reshape(kind.grid_shape)
    bits = 2 if kind.grid_shape[1] == 8 else 3
    index = {float(value): i for i, value in enumerate(kind.grid_map)}
    return [sum(index[float(v)] << (bits * i) for i, v in enumerate(point)) for point in grid]


def main():
    print(HEAD, end="")
    for name in ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S"):
        table = codes(getattr(quants, name))
        symbol = name.lower().replace("iq1_s", "iq1")
        print(f"\nconst uint16_t sonde_grid_{symbol}[{len(table)}] = {{")
        for i in range(0, len(table), 13):
            print("    " + ", ".join(str(v) for v in table[i:i + 13]) + ",")
        print("};")


if __name__ == "__main__":
    main()
