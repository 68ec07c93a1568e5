#!/usr/bin/python3
"""Writes a tiny llama checkpoint with a byte-level tokenizer, right or wrong on purpose.

    make_model.py FOLDER [key=JSON...] [--drop TENSOR] [--rename TENSOR=TENSOR] [--shape TENSOR=1,2]
                  [--dtype TENSOR=I64] [--nan TENSOR] [--cut BYTES] [--no-tokenizer]

key=JSON sets a key of config.json (key= removes it). The weights are the same in every run.
"""
import argparse
import json
import os
import random
import shutil
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZER = os.path.join(HERE, "..", "goldens", "text", "bytes-plain", "tokenizer.json")
CONFIG = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 280,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
    "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "bos_token_id": 279,
    "eos_token_id": 277}


def tensors(c):
    """Name and shape of every tensor that the configuration asks for."""
    hidden, head = c["hidden_size"], c["head_dim"]
    q, kv, ffn = c["num_attention_heads"] * head, c["num_key_value_heads"] * head, c["intermediate_size"]
    yield "model.embed_tokens.weight", [c["vocab_size"], hidden]
    for i in range(c["num_hidden_layers"]):
        block = f"model.layers.{i}."
        yield block + "input_layernorm.weight", [hidden]
        yield block + "self_attn.q_proj.weight", [q, hidden]
        yield block + "self_attn.k_proj.weight", [kv, hidden]
        yield block + "self_attn.v_proj.weight", [kv, hidden]
        yield block + "self_attn.o_proj.weight", [hidden, q]
        yield block + "post_attention_layernorm.weight", [hidden]
        yield block + "mlp.gate_proj.weight", [ffn, hidden]
        yield block + "mlp.up_proj.weight", [ffn, hidden]
        yield block + "mlp.down_proj.weight", [hidden, ffn]
    yield "model.norm.weight", [hidden]
    yield "lm_head.weight", [c["vocab_size"], hidden]


def values(name, shape):
    n = 1
    for size in shape:
        n *= size
    source = random.Random(name)
    if len(shape) == 1:
        return [1 + 0.1 * source.gauss(0, 1) for _ in range(n)]
    return [source.gauss(0, 1) / shape[-1] ** 0.5 for _ in range(n)]


def write_weights(path, options):
    header, data = {}, b""
    renamed = dict(pair.split("=") for pair in options.rename)
    shapes = {name: [int(n) for n in text.split(",")] for name, text in (p.split("=") for p in options.shape)}
    dtypes = dict(pair.split("=") for pair in options.dtype)
    for name, shape in tensors(CONFIG):
        if name in options.drop:
            continue
        shape = shapes.get(name, shape)
        numbers = values(name, shape)
        if name in options.nan:
            numbers[0] = float("nan")
        dtype = dtypes.get(name, "F32")
        code, convert = ("q", int) if dtype == "I64" else ("f", float)
        block = struct.pack(f"<{len(numbers)}{code}", *map(convert, numbers))
        header[renamed.get(name, name)] = {"dtype": dtype, "shape": shape,
                                           "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = struct.pack("<Q", len(text)) + text + data
    with open(path, "wb") as file:
        file.write(whole if options.cut is None else whole[:options.cut])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("keys", nargs="*")
    for name in ("drop", "rename", "shape", "dtype", "nan"):
        parser.add_argument("--" + name, action="append", default=[])
    parser.add_argument("--cut", type=int)
    parser.add_argument("--no-tokenizer", action="store_true")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    written = dict(CONFIG)
    for key, value in (pair.split("=", 1) for pair in options.keys):
        written.pop(key, None)
        if value:
            written[key] = json.loads(value)
    with open(os.path.join(options.folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(written, file)
    CONFIG.update({k: v for k, v in written.items() if k in ("num_hidden_layers", "max_position_embeddings")
                   and isinstance(v, int) and 0 < v < 100})
    write_weights(os.path.join(options.folder, "model.safetensors"), options)
    if not options.no_tokenizer:
        shutil.copy(TOKENIZER, options.folder)


if __name__ == "__main__":
    main()
