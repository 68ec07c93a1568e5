#!/usr/bin/env python3
"""Writes a GGUF file of architecture llama as a Hugging Face folder in f32, without a tokenizer.

    python3 gguf_llama_to_hf.py MODEL.gguf FOLDER

The weights are the dequantised values of the file. Such files hold the rows of q and k of each head
as pairs (i, i + d/2); Hugging Face wants the first halves, then the second halves.
"""
import json
import os
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file

WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
BLOCK = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def halves(weight, n_heads):
    pairs = weight.reshape(n_heads, -1, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def tensors_of(reader, key):
    rotated = {"attn_q": key("attention.head_count"), "attn_k": key("attention.head_count_kv")}
    tensors = {}
    for t in reader.tensors:
        weight = dequantize(t.data, t.tensor_type).astype(np.float32)
        weight = weight.reshape([int(n) for n in reversed(t.shape)])
        stem = t.name.removesuffix(".weight")
        if stem in WHOLE:
            name = WHOLE[stem]
        else:
            _, layer, part = stem.split(".")
            name = f"model.layers.{layer}.{BLOCK[part]}"
            weight = halves(weight, rotated[part]) if part in rotated else weight
        tensors[name + ".weight"] = np.ascontiguousarray(weight)
    return tensors


def config_of(key, tensors):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "vocab_size": len(tensors["model.embed_tokens.weight"]),
            "hidden_size": key("embedding_length"), "intermediate_size": key("feed_forward_length"),
            "num_hidden_layers": key("block_count"),
            "num_attention_heads": key("attention.head_count"),
            "num_key_value_heads": key("attention.head_count_kv"),
            "rms_norm_eps": key("attention.layer_norm_rms_epsilon"),
            "rope_theta": key("rope.freq_base"), "max_position_embeddings": key("context_length"),
            "hidden_act": "silu", "tie_word_embeddings": "lm_head.weight" not in tensors,
            "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32"}


def convert(path, folder):
    reader = GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    if architecture != "llama":
        sys.exit(f"{path}: expected architecture llama, file says {architecture}")

    def key(name):
        return reader.fields[f"llama.{name}"].contents()
    tensors = tensors_of(reader, key)
    os.makedirs(folder, exist_ok=True)
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config_of(key, tensors), out, indent=1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    convert(sys.argv[1], sys.argv[2])
