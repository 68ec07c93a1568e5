"""Turn block goldens (HDF5) into the small binary files that tests/unit/test_dtype_blocks.c reads.

    python3 tests/goldens/make_dequant.py DEQUANT.h5 tests/goldens/dequant

DEQUANT.h5 has one group per ggml type with raw u8 [n, type_size] and expect f32 [n, block_size]: the values that ggml's own
numpy and C dequantisation agree on. A file here is: magic "SNDQ", u32 n, u32 block elements, u32 block bytes, raw, expect.
"""
import os
import struct
import sys

import h5py
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "TQ1_0", "TQ2_0",
         "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "NVFP4", "Q1_0", "Q2_0",
         "I8", "I16", "I32", "I64", "F64"]
KEPT = 6  # of the random blocks of 256 elements; all edge blocks are kept


def main():
    source, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    with h5py.File(source) as f:
        for name in TYPES:
            raw = np.asarray(f[name]["raw"], "u1")
            expect = np.asarray(f[name]["expect"], "<f4")
            if expect.shape[1] == 256:
                first = int(f[name].attrs["n_random"]) - KEPT
                raw, expect = raw[first:], expect[first:]
            with open(os.path.join(out, name.lower() + ".bin"), "wb") as o:
                o.write(b"SNDQ" + struct.pack("<III", len(raw), expect.shape[1], raw.shape[1]))
                o.write(raw.tobytes() + expect.tobytes())


if __name__ == "__main__":
    main()
