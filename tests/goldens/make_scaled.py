#!/usr/bin/env python3
"""Makes goldens in scaled/: safetensors files whose tensors are stored in two parts, and the values that
they stand for, dequantised here with numpy alone.

    python3 make_scaled.py

fp8/ has eight-bit floats with a scale for each block (DeepSeek's `X_scale_inv`; blocks of 5 by 12, edges
that do not fill one, a stack of matrices, bf16 scales, power-of-two scales, one scale for a tensor);
mxfp4/ has GPT-OSS's `X_blocks` and `X_scales`. expected.bin (layout: ../golden/pack_goldens.py) has
values/<tensor> in stored order. All bytes but E4M3's NaN are in use; every NaN is compared as NaN.
"""
import json
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = (5, 12)
FP4 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def e4m3(byte):
    sign, exponent, fraction = -1.0 if byte & 128 else 1.0, byte >> 3 & 15, byte & 7
    if byte & 127 == 127:
        return np.nan
    return sign * (fraction * 2.0 ** -9 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7))


def e5m2(byte):
    return float(np.array([byte << 8], np.uint16).view(np.float16)[0])


E4M3 = np.array([e4m3(b) for b in range(256)], np.float32)
E5M2 = np.array([e5m2(b) for b in range(256)], np.float32)
E8M0 = np.array([2.0 ** (b - 127) for b in range(255)] + [np.nan]).astype(np.float32)


def bf16(x):
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def spread(scales, shape, block):
    """A scale for every element of [.., rows, columns]."""
    rows = np.arange(shape[-2]) // block[0]
    columns = np.arange(shape[-1]) // block[1]
    return scales[..., rows[:, None], columns[None, :]]


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def write_expected(path, values):
    with open(path, "wb") as out:
        out.write(b"SGLD1\n")
        for name, array in values.items():
            raw = ("values/" + name).encode()
            out.write(struct.pack("<I", len(raw)) + raw + struct.pack("<BdQ", 0, 0.0, array.size))
            out.write(np.ascontiguousarray(array, np.float32).tobytes())


def write_model(name, config, tensors, values):
    folder = os.path.join(HERE, "scaled", name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump({"model_type": "none"} | config, out, indent=1)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    write_expected(os.path.join(folder, "expected.bin"), values)


def blocks_of(shape):
    return shape[:-2] + tuple(-(-n // b) for n, b in zip(shape[-2:], BLOCK))


def make_fp8(random):
    tensors, values = {}, {}

    def add(name, shape, kind, table, scale_kind):
        raw = random.integers(0, 256, shape, np.uint8)
        raw.reshape(-1)[:256] = np.arange(min(raw.size, 256))
        scales = np.float32(2.0) ** random.uniform(-14, 2, blocks_of(shape)).astype(np.float32)
        stored = scales
        if scale_kind == "BF16":
            stored = bf16(scales)
            scales = (stored.astype(np.uint32) << 16).view(np.float32)
        if scale_kind == "F8_E8M0":
            stored = random.integers(110, 130, scales.shape, np.uint8)
            scales = E8M0[stored]
        tensors[name] = (kind, raw)
        tensors[name + "_scale_inv"] = (scale_kind, stored)
        values[name] = table[raw] * spread(scales, shape, BLOCK)

    add("edge.weight", (23, 31), "F8_E4M3", E4M3, "F32")
    add("whole.weight", (10, 24), "F8_E4M3", E4M3, "BF16")
    add("small.weight", (3, 7), "F8_E4M3", E4M3, "F32")
    add("powers.weight", (7, 40), "F8_E4M3", E4M3, "F8_E8M0")
    add("stack", (3, 6, 13), "F8_E4M3", E4M3, "F32")
    add("five.weight", (12, 25), "F8_E5M2", E5M2, "F32")
    single = random.integers(0, 127, (4, 9), np.uint8)
    tensors["single.weight"] = ("F8_E4M3", single)
    tensors["single.weight_scale_inv"] = ("F32", np.array([0.0371], np.float32))
    values["single.weight"] = E4M3[single] * np.float32(0.0371)
    plain = random.normal(size=(5, 6)).astype(np.float32)
    tensors["plain.weight"] = ("F32", plain)
    values["plain.weight"] = plain
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": list(BLOCK)}}
    write_model("fp8", config, tensors, values)


def make_mxfp4(random):
    tensors, values = {}, {}
    for name, shape in {"experts.gate_up_proj": (3, 5, 2), "experts.down_proj": (2, 33, 1)}.items():
        blocks = random.integers(0, 256, shape + (16,), np.uint8)
        scales = random.integers(100, 140, shape, np.uint8)
        scales.reshape(-1)[:4] = [0, 1, 2, 254]
        tensors[name + "_blocks"] = ("U8", blocks)
        tensors[name + "_scales"] = ("U8", scales)
        nibbles = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(shape + (32,))
        with np.errstate(over="ignore"):
            value = (FP4[nibbles].astype(np.float64) * 2.0 ** (scales[..., None] - 127.0)).astype(np.float32)
        values[name] = value.reshape(shape[:-1] + (32 * shape[-1],))
    write_model("mxfp4", {"quantization_config": {"quant_method": "mxfp4"}}, tensors, values)


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    make_fp8(np.random.default_rng(8))
    make_mxfp4(np.random.default_rng(4))
