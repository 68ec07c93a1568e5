#!/usr/bin/env python3
"""Writes a Hugging Face folder as the GGUF file that llama.cpp's converter makes of it, in f32 (or
f16), without a tokenizer.

    python3 hf_to_gguf.py FOLDER OUT.gguf [--f16] [--plain]

What GGUF cannot say of a model and our reader does not assume either (a window of Mistral, the
activation of GPT-2) is added as `sonde.<Hugging Face key>`; --plain leaves it out, as llama.cpp does.
"""
import argparse
import re

import numpy as np

from gguf_archs import ARCHS, rope_of
from gguf_file import Blocks, read_folder, write_gguf

# keys that every architecture writes when the config has them: GGUF name, Hugging Face names
COMMON = [
    ("context_length", ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"), int),
    ("embedding_length", ("hidden_size", "n_embd", "d_model"), int),
    ("feed_forward_length", ("intermediate_size", "n_inner"), int),
    ("block_count", ("num_hidden_layers", "n_layer", "n_layers"), int),
    ("attention.head_count", ("num_attention_heads", "n_head", "n_heads"), int),
    ("attention.head_count_kv", ("num_key_value_heads", "num_kv_heads"), int),
    ("attention.key_length", ("head_dim",), int),
    ("attention.value_length", ("head_dim",), int),
    ("attention.layer_norm_rms_epsilon", ("rms_norm_eps",), float),
    ("attention.layer_norm_epsilon", ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"), float),
    ("expert_count", ("num_local_experts", "num_experts", "n_routed_experts"), int),
    ("expert_used_count", ("num_experts_per_tok",), int),
    ("expert_group_count", ("n_group",), int),
    ("expert_group_used_count", ("topk_group",), int),
]
SCALINGS = {"linear": "linear", "yarn": "yarn", "longrope": "longrope", "su": "longrope"}


def first(config, names):
    return next((config[n] for n in names if config.get(n) is not None), None)


def rope_keys(rope):
    """Metadata of rope.*: base, and what describes the scaling (llama3's is a tensor)."""
    keys = {}
    if rope.get("rope_theta") is not None:
        keys["rope.freq_base"] = float(rope["rope_theta"])
    kind = SCALINGS.get(rope.get("rope_type"))
    if not kind:
        return keys
    keys["rope.scaling.type"] = kind
    for name, key, form in (("factor", "factor", float),
                            ("original_max_position_embeddings", "original_context_length", int),
                            ("beta_fast", "yarn_beta_fast", float),
                            ("beta_slow", "yarn_beta_slow", float),
                            ("attention_factor", "yarn_attn_factor", float)):
        if rope.get(name) is not None:
            keys["rope.scaling." + key] = form(rope[name])
    return keys


def metadata_of(arch, config, rope, plain):
    values = {}
    for key, names, form in COMMON:
        value = first(config, names)
        if value is not None:
            values[key] = form(value)
    values.update(rope_keys(rope))
    values.update(arch.keys(config, rope) if arch.keys else {})
    metadata = {"general.architecture": arch.name, "general.file_type": 0,
                "general.name": "golden"}
    metadata.update({f"{arch.name}.{key}": v for key, v in values.items() if v is not None})
    lost = arch.lost(config, rope) if arch.lost and not plain else {}
    exact = {k: np.float64(v) if isinstance(v, float) else v for k, v in lost.items()}
    metadata.update({f"sonde.{key}": v for key, v in exact.items() if v is not None})
    return metadata


def llama3_divisors(config, rope, dims):
    """What llama3's scaling divides each frequency by: the rope_freqs tensor."""
    base = np.float32(1) / np.float32(rope["rope_theta"]) ** (np.arange(0, dims, 2, np.float32) / dims)
    old, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    out = []
    for wavelength in 2 * np.pi / base.astype(np.float64):
        if wavelength < old / high:
            out.append(1.0)
        elif wavelength > old / low:
            out.append(factor)
        else:
            smooth = (old / wavelength - low) / (high - low)
            out.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(out, np.float32)


def extra_tensors(arch, config, rope):
    hidden, heads = first(config, COMMON[1][1]), first(config, COMMON[4][1])
    dims = config.get("head_dim") or hidden // heads
    if rope.get("rope_type") == "llama3":
        return {"rope_freqs.weight": llama3_divisors(config, rope, dims)}
    if rope.get("rope_type") in ("longrope", "su"):
        return {f"rope_factors_{w}.weight": np.array(rope[f"{w}_factor"], np.float32)
                for w in ("long", "short")}
    return {}


def stack_numbered(tensors):
    """...experts.E.x.weight of every expert becomes ...experts.x.weight [experts, out, in]; StableLM's
    ...norms.H.weight of every head likewise."""
    stacked, found = {}, {}
    for name, tensor in tensors.items():
        match = re.fullmatch(r"(.*\.(?:experts|norms))\.(\d+)\.(.*)", name)
        if match:
            found.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = tensor
        else:
            stacked[name] = tensor
    for name, parts in found.items():
        stacked[name] = np.stack([parts[i] for i in range(len(parts))])
    return stacked


def join_blocks(tensors):
    """GPT-OSS's X_blocks [E, rows, n, 16] and X_scales [E, rows, n] become X, MXFP4 as GGUF stores it:
    the scale first, then element j beside element j + 16 (there: 2j beside 2j + 1)."""
    joined = {n: t for n, t in tensors.items() if not n.endswith(("_blocks", "_scales"))}
    for name, blocks in tensors.items():
        if not name.endswith("_blocks"):
            continue
        scales = tensors[name.removesuffix("_blocks") + "_scales"]
        nibbles = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*blocks.shape[:-1], 32)
        bytes_ = nibbles[..., :16] | (nibbles[..., 16:] << 4)
        joined[name.removesuffix("_blocks")] = Blocks(
            "MXFP4", (*scales.shape[:2], 32 * scales.shape[2]),
            np.concatenate([scales[..., None], bytes_], axis=-1))
    return joined


def split_name(name):
    """Hugging Face name -> layer (or None), stem and suffix without the wrapper's prefixes."""
    name = re.sub(r"^(model\.)?language_model\.", "", name)
    match = re.fullmatch(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)\.(.*)", name)
    layer, rest = (int(match[1]), match[2]) if match else (None, name)
    match = re.fullmatch(r"(.*)\.(weight|bias)", rest)
    return (layer, match[1], match[2]) if match else (layer, rest, "weight")


IGNORED = ("rotary_emb.inv_freq", "attn.masked_bias", "attention.masked_bias", "attention.bias")


def tensors_of(arch, config, given):
    out = {}
    tied = config.get("tie_word_embeddings", arch.tied)
    for name, tensor in join_blocks(stack_numbered(given)).items():
        layer, stem, suffix = split_name(name)
        if name.endswith(IGNORED) or re.fullmatch(r".*h\.\d+\.attn\.bias", name):
            continue
        for stem_out, part in arch.convert(config, layer, stem, suffix, tensor):
            if tied and stem_out == "output":
                continue
            prefix = "" if layer is None else f"blk.{layer}."
            whole = stem_out if "." in stem_out else f"{stem_out}.{suffix}"
            out[prefix + whole] = part
    return out


def narrow(name, tensor):
    wide = not isinstance(tensor, np.ndarray) or tensor.ndim < 2 or "norm" in name
    return tensor if wide else tensor.astype(np.float16)


def convert(folder, path, plain=False, f16=False):
    config, given = read_folder(folder)
    arch = ARCHS.get(config["model_type"])
    if not arch:
        raise SystemExit(f"{folder}: llama.cpp has no architecture for {config['model_type']}")
    rope = rope_of(config)
    tensors = tensors_of(arch, config, given)
    tensors.update(extra_tensors(arch, config, rope))
    if f16:
        tensors = {name: narrow(name, t) for name, t in tensors.items()}
    write_gguf(path, metadata_of(arch, config, rope, plain), tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--f16", action="store_true", help="matrices as f16")
    parser.add_argument("--plain", action="store_true", help="no sonde.* keys")
    args = parser.parse_args()
    convert(args.folder, args.out, args.plain, args.f16)


if __name__ == "__main__":
    main()
