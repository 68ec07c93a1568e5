#!/usr/bin/env python3
"""Writes a checkpoint of a big shape with random weights: bf16 safetensors shards and config.json.

    python3 make_model.py SHAPE FOLDER [--layers N] [--experts N]

SHAPE: llama3-8b (16.1 GB; Llama 3 8B), qwen3-moe (25.9 GB; 30 layers of 64 experts, 8 of them chosen), or one of
some tens of megabytes: small-untied (Llama), small-tied (Qwen2), small-sliding (Gemma 2: every other layer sees 256
positions, tied), small-moe (Qwen3 MoE), small-mla (DeepSeek V2), small-long (Llama, 32,768 positions).
Weights are windows of one random pattern of 64 MB, magnitudes from 1/128 to 1/32 with random signs, so that
activations stay in range; norms are 1. Standard library only; nothing of it is kept in the repository.
"""
import argparse
import json
import os
import struct

PATTERN_BYTES = 64 << 20
SHARD_BYTES = 4 << 30

SHAPES = {
    "llama3-8b": dict(
        model_type="llama", vocab_size=128256, hidden_size=4096, intermediate_size=14336,
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, head_dim=128,
        max_position_embeddings=8192, rms_norm_eps=1e-5, rope_theta=500000.0, hidden_act="silu",
        tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=128000, eos_token_id=128001),
    "qwen3-moe": dict(
        model_type="qwen3_moe", vocab_size=32768, hidden_size=2048, intermediate_size=6144,
        num_hidden_layers=30, num_attention_heads=16, num_key_value_heads=4, head_dim=128,
        max_position_embeddings=8192, rms_norm_eps=1e-6, rope_theta=1000000.0, hidden_act="silu",
        num_experts=64, num_experts_per_tok=8, moe_intermediate_size=1024, norm_topk_prob=True,
        decoder_sparse_step=1, mlp_only_layers=[], attention_bias=False, tie_word_embeddings=False,
        torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2),
    "small-untied": dict(
        model_type="llama", vocab_size=16384, hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=8, head_dim=64, max_position_embeddings=4096, rms_norm_eps=1e-5,
        rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=1,
        eos_token_id=2),
    "small-tied": dict(
        model_type="qwen2", vocab_size=32768, hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=2, max_position_embeddings=4096, rms_norm_eps=1e-6,
        rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=True, torch_dtype="bfloat16", bos_token_id=1,
        eos_token_id=2),
    "small-sliding": dict(
        model_type="gemma2", vocab_size=32768, hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=4, head_dim=64, max_position_embeddings=4096, rms_norm_eps=1e-6,
        rope_theta=10000.0, hidden_activation="gelu_pytorch_tanh", sliding_window=256, query_pre_attn_scalar=64,
        attn_logit_softcapping=50.0, final_logit_softcapping=30.0, attention_bias=False, tie_word_embeddings=True,
        torch_dtype="bfloat16", bos_token_id=2, eos_token_id=1),
    "small-moe": dict(
        model_type="qwen3_moe", vocab_size=16384, hidden_size=512, intermediate_size=1024, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096, rms_norm_eps=1e-6,
        rope_theta=10000.0, hidden_act="silu", num_experts=16, num_experts_per_tok=4, moe_intermediate_size=256,
        norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], attention_bias=False,
        tie_word_embeddings=False, torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2),
    "small-mla": dict(
        model_type="deepseek_v2", vocab_size=16384, hidden_size=512, intermediate_size=1408, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=8, q_lora_rank=192, kv_lora_rank=128, qk_nope_head_dim=64,
        qk_rope_head_dim=32, v_head_dim=64, max_position_embeddings=4096, rms_norm_eps=1e-6, rope_theta=10000.0,
        hidden_act="silu", attention_bias=False, first_k_dense_replace=1, n_routed_experts=8, n_shared_experts=1,
        num_experts_per_tok=2, moe_intermediate_size=256, n_group=1, topk_group=1, topk_method="greedy",
        norm_topk_prob=False, routed_scaling_factor=1.0, tie_word_embeddings=False, torch_dtype="bfloat16",
        bos_token_id=1, eos_token_id=2),
    "small-long": dict(
        model_type="llama", vocab_size=2048, hidden_size=128, intermediate_size=352, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=32768, rms_norm_eps=1e-5,
        rope_theta=500000.0, hidden_act="silu", tie_word_embeddings=True, torch_dtype="bfloat16", bos_token_id=1,
        eos_token_id=2),
}


def make_pattern():
    """bf16 numbers: a random low byte under 0x3C or 0xBC."""
    low, signs = os.urandom(PATTERN_BYTES // 2), os.urandom(PATTERN_BYTES // 2)
    pattern = bytearray(PATTERN_BYTES)
    pattern[0::2] = low
    pattern[1::2] = signs.translate(bytes(0x3C | (b & 0x80) for b in range(256)))
    return bytes(pattern) * 2


def latent_attention(c, p):
    hidden, heads, rope = c["hidden_size"], c["num_attention_heads"], c["qk_rope_head_dim"]
    key, value = c["qk_nope_head_dim"] + rope, c["v_head_dim"]
    q, kv = c["q_lora_rank"], c["kv_lora_rank"]
    return [(p + "input_layernorm.weight", [hidden]), (p + "post_attention_layernorm.weight", [hidden]),
            (p + "self_attn.q_a_proj.weight", [q, hidden]), (p + "self_attn.q_a_layernorm.weight", [q]),
            (p + "self_attn.q_b_proj.weight", [heads * key, q]),
            (p + "self_attn.kv_a_proj_with_mqa.weight", [kv + rope, hidden]),
            (p + "self_attn.kv_a_layernorm.weight", [kv]),
            (p + "self_attn.kv_b_proj.weight", [heads * (key - rope + value), kv]),
            (p + "self_attn.o_proj.weight", [hidden, heads * value])]


def attention(c, p):
    if "kv_lora_rank" in c:
        return latent_attention(c, p)
    hidden, d = c["hidden_size"], c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    tensors = [(p + "input_layernorm.weight", [hidden]), (p + "post_attention_layernorm.weight", [hidden]),
               (p + "self_attn.q_proj.weight", [q, hidden]), (p + "self_attn.k_proj.weight", [kv, hidden]),
               (p + "self_attn.v_proj.weight", [kv, hidden]), (p + "self_attn.o_proj.weight", [hidden, q])]
    if c["model_type"] == "qwen3_moe":
        tensors += [(p + "self_attn.q_norm.weight", [d]), (p + "self_attn.k_norm.weight", [d])]
    if c["model_type"] == "qwen2":
        tensors += [(f"{p}self_attn.{name}_proj.bias", [n]) for name, n in (("q", q), ("k", kv), ("v", kv))]
    if c["model_type"] == "gemma2":
        tensors += [(f"{p}{name}_feedforward_layernorm.weight", [hidden]) for name in ("pre", "post")]
    return tensors


def gated(p, hidden, width):
    return [(p + "gate_proj.weight", [width, hidden]), (p + "up_proj.weight", [width, hidden]),
            (p + "down_proj.weight", [hidden, width])]


def list_tensors(c):
    hidden = c["hidden_size"]
    tensors = [("model.embed_tokens.weight", [c["vocab_size"], hidden])]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        tensors += attention(c, p)
        experts = c.get("num_experts", c.get("n_routed_experts", 0))
        if not experts or i < c.get("first_k_dense_replace", 0):
            tensors += gated(p + "mlp.", hidden, c["intermediate_size"])
            continue
        tensors.append((p + "mlp.gate.weight", [experts, hidden]))
        for e in range(experts):
            tensors += gated(f"{p}mlp.experts.{e}.", hidden, c["moe_intermediate_size"])
        if "n_shared_experts" in c:
            tensors += gated(p + "mlp.shared_experts.", hidden, c["n_shared_experts"] * c["moe_intermediate_size"])
    head = [] if c["tie_word_embeddings"] else [("lm_head.weight", [c["vocab_size"], hidden])]
    return tensors + [("model.norm.weight", [hidden])] + head


def size_of(shape):
    n = 2
    for dim in shape:
        n *= dim
    return n


def write_weights(out, pattern, bytes_left, start):
    while bytes_left > 0:
        n = min(bytes_left, PATTERN_BYTES)
        out.write(memoryview(pattern)[start:start + n])
        bytes_left -= n


def write_shard(path, tensors, pattern, first):
    header, at = {}, 0
    for name, shape in tensors:
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size_of(shape)]}
        at += size_of(shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for i, (name, shape) in enumerate(tensors):
            if len(shape) == 1:
                out.write(b"\x80\x3f" * shape[0])
            else:
                write_weights(out, pattern, size_of(shape), (first + i) * 7919 * 2 % PATTERN_BYTES)


def shards_of(tensors):
    shards, room = [[]], SHARD_BYTES
    for name, shape in tensors:
        if shards[-1] and room < size_of(shape):
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append((name, shape))
        room -= size_of(shape)
    return shards


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--experts", type=int)
    args = parser.parse_args()
    config = dict(SHAPES[args.shape])
    config["num_hidden_layers"] = args.layers or config["num_hidden_layers"]
    if args.experts:
        config["num_experts"] = args.experts
    os.makedirs(args.folder, exist_ok=True)
    with open(os.path.join(args.folder, "config.json"), "w") as out:
        json.dump(config, out, indent=1)
    pattern, shards, where, first = make_pattern(), shards_of(list_tensors(config)), {}, 0
    for i, tensors in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        write_shard(os.path.join(args.folder, name), tensors, pattern, first)
        where.update({tensor: name for tensor, _ in tensors})
        first += len(tensors)
    with open(os.path.join(args.folder, "model.safetensors.index.json"), "w") as out:
        json.dump({"metadata": {}, "weight_map": where}, out)


if __name__ == "__main__":
    main()
