#!/usr/bin/python3
"""A Hugging Face folder and its GGUF file give the same bits at every hook point, where no golden says so.

    check_gguf_same_bits.py PROGRAM

MXFP4 experts of GPT-OSS (blocks and scales against repacked ones), and what older converters wrote:
Mixtral with a tensor for each expert, DeepSeek with its key and value matrix whole.
"""
import json
import os
import struct
import subprocess
import sys

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gguf_archs import ARCHS, rope_of  # noqa: E402
from gguf_file import write_gguf  # noqa: E402
from hf_to_gguf import metadata_of, tensors_of  # noqa: E402

SCRATCH = f"build/gguf_same_bits_{os.getpid()}"
DTYPES = {"float32": "F32", "uint8": "U8"}
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 97,
         "max_position_embeddings": 256, "rms_norm_eps": 0.0009765625, "tie_word_embeddings": False,
         "hidden_act": "silu", "num_experts_per_tok": 2}


def write_folder(folder, config, tensors):
    header, at = {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": DTYPES[str(tensor.dtype)], "shape": list(tensor.shape),
                        "data_offsets": [at, at + tensor.nbytes]}
        at += tensor.nbytes
    raw = json.dumps(header).encode()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "model.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in tensors.values():
            out.write(np.ascontiguousarray(tensor).tobytes())
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out)


class Maker:
    """Random tensors of one model, under names of layers."""

    def __init__(self, seed):
        self.random, self.tensors = np.random.default_rng(seed), {}

    def floats(self, name, *shape, around=0.0):
        values = around + 0.2 * self.random.standard_normal(shape)
        self.tensors[name] = values.astype(np.float32)

    def bytes(self, name, low, high, *shape):
        self.tensors[name] = self.random.integers(low, high, shape, dtype=np.uint8)

    def outside(self, hidden, vocab):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            self.floats(name, vocab, hidden)
        self.floats("model.norm.weight", hidden, around=1.0)

    def norms(self, p, hidden):
        for name in ("input_layernorm", "post_attention_layernorm"):
            self.floats(f"{p}{name}.weight", hidden, around=1.0)

    def attention(self, p, hidden, n, k, d, bias):
        for name, rows, columns in (("q", n * d, hidden), ("k", k * d, hidden), ("v", k * d, hidden),
                                    ("o", hidden, n * d)):
            self.floats(f"{p}self_attn.{name}_proj.weight", rows, columns)
            if bias:
                self.floats(f"{p}self_attn.{name}_proj.bias", rows)


def gpt_oss():
    m, hidden, width, experts = Maker(1), 64, 32, 4
    m.outside(hidden, 97)
    for p in ("model.layers.0.", "model.layers.1."):
        m.norms(p, hidden)
        m.attention(p, hidden, 4, 2, 16, True)
        m.floats(p + "self_attn.sinks", 4)
        m.floats(p + "mlp.router.weight", experts, hidden)
        m.floats(p + "mlp.router.bias", experts)
        for name, rows, columns in (("gate_up", 2 * width, hidden), ("down", hidden, width)):
            stem = f"{p}mlp.experts.{name}_proj"
            m.bytes(stem + "_blocks", 0, 256, experts, rows, columns // 32, 16)
            m.bytes(stem + "_scales", 121, 125, experts, rows, columns // 32)
            m.floats(stem + "_bias", experts, rows)
    rope = {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
            "original_max_position_embeddings": 4096, "truncate": False}
    return dict(SIZES, model_type="gpt_oss", intermediate_size=width, num_key_value_heads=2, head_dim=16,
                num_local_experts=experts, sliding_window=8, rope_theta=150000.0, attention_bias=True,
                swiglu_limit=7.0, rope_scaling=rope,
                quantization_config={"quant_method": "mxfp4"}), m.tensors


def mixtral():
    m, hidden, width, experts = Maker(2), 64, 24, 3
    m.outside(hidden, 97)
    for p in ("model.layers.0.", "model.layers.1."):
        m.norms(p, hidden)
        m.attention(p, hidden, 4, 2, 16, False)
        m.floats(p + "block_sparse_moe.gate.weight", experts, hidden)
        for e in range(experts):
            for name, rows, columns in (("w1", width, hidden), ("w2", hidden, width), ("w3", width, hidden)):
                m.floats(f"{p}block_sparse_moe.experts.{e}.{name}.weight", rows, columns)
    return dict(SIZES, model_type="mixtral", intermediate_size=width, num_key_value_heads=2, head_dim=16,
                num_local_experts=experts, rope_theta=1e6, sliding_window=None), m.tensors


def deepseek():
    m, hidden, n, nope, pe, v, rank = Maker(3), 64, 4, 12, 8, 10, 20
    m.outside(hidden, 97)
    for p in ("model.layers.0.", "model.layers.1."):
        m.norms(p, hidden)
        m.floats(p + "self_attn.q_proj.weight", n * (nope + pe), hidden)
        m.floats(p + "self_attn.kv_a_proj_with_mqa.weight", rank + pe, hidden)
        m.floats(p + "self_attn.kv_a_layernorm.weight", rank, around=1.0)
        m.floats(p + "self_attn.kv_b_proj.weight", n * (nope + v), rank)
        m.floats(p + "self_attn.o_proj.weight", hidden, n * v)
        for name, rows, columns in (("gate", 40, hidden), ("up", 40, hidden), ("down", hidden, 40)):
            m.floats(f"{p}mlp.{name}_proj.weight", rows, columns)
    return dict(SIZES, model_type="deepseek_v2", intermediate_size=40, moe_intermediate_size=16,
                kv_lora_rank=rank, q_lora_rank=None, qk_nope_head_dim=nope, qk_rope_head_dim=pe,
                v_head_dim=v, n_routed_experts=4, n_shared_experts=1, first_k_dense_replace=2, n_group=1,
                topk_group=1, topk_method="greedy", norm_topk_prob=False, routed_scaling_factor=1.0,
                rope_theta=10000.0), m.tensors


def single_experts(metadata, tensors):
    """ffn_x_exps [E, out, in] as ffn_x.E, of files from before 2024-04."""
    out = {}
    for name, tensor in tensors.items():
        stem, _, rest = name.partition("_exps.")
        out.update({f"{stem}.{e}.{rest}": part for e, part in enumerate(tensor)} if rest else {name: tensor})
    return metadata, out


def whole_kv_b(metadata, tensors):
    """attn_kv_b instead of attn_k_b and attn_v_b, and widths of heads, of files from before 2025-04."""
    out = {}
    for name, tensor in tensors.items():
        if name.endswith("attn_v_b.weight"):
            k = out.pop(name.replace("attn_v_b", "attn_k_b")).swapaxes(1, 2)
            both = np.concatenate([k, tensor], axis=1)
            out[name.replace("attn_v_b", "attn_kv_b")] = both.reshape(-1, both.shape[2])
        else:
            out[name] = tensor
    prefix = "deepseek2.attention."
    for old in ("key_length", "value_length"):
        metadata[prefix + old] = metadata.pop(f"{prefix}{old}_mla")
    metadata[prefix + "head_count_kv"] = metadata[prefix + "head_count"]
    return metadata, out


def capture(program, model, prompts):
    out = model + ".h5"
    subprocess.run([program, "capture", model, prompts, "-o", out, "--overwrite", "--points", "**", "--as",
                    "f32"], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return out


def check(program, name, make, change, prompts):
    config, tensors = make()
    folder = os.path.join(SCRATCH, name)
    write_folder(folder, config, tensors)
    arch, rope = ARCHS[config["model_type"]], rope_of(config)
    metadata, converted = metadata_of(arch, config, rope, True), tensors_of(arch, config, tensors)
    write_gguf(folder + ".gguf", *(change(metadata, converted) if change else (metadata, converted)))
    files = [capture(program, model, prompts) for model in (folder, folder + ".gguf")]
    diff = subprocess.run([program, "diff", *files, "--waive", "model"], capture_output=True, text=True,
                          check=False)
    if diff.returncode != 0:
        print(f"FAIL {name}\n{diff.stdout}{diff.stderr}")
    return diff.returncode == 0


def main():
    cases = [("gpt_oss_mxfp4", gpt_oss, None), ("mixtral", mixtral, None),
             ("mixtral_single_experts", mixtral, single_experts), ("deepseek", deepseek, None),
             ("deepseek_whole_kv_b", deepseek, whole_kv_b)]
    os.makedirs(SCRATCH, exist_ok=True)
    prompts = os.path.join(SCRATCH, "prompts.jsonl")
    with open(prompts, "w", encoding="utf-8") as out:
        for n in (1, 23):
            out.write(json.dumps({"tokens": [(7 * i + n) % 97 for i in range(n)]}) + "\n")
    good = [check(sys.argv[1], *case, prompts) for case in cases]
    subprocess.run(["rm", "-rf", SCRATCH], check=True)
    print(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
