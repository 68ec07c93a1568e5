#!/usr/bin/env python3
"""Makes goldens in families/ (all but gpt2, llama and qwen2_sliding, which are larger): tiny random
models and what Hugging Face computes in them.

    pip install "torch==2.15.*" "transformers==5.23.*" safetensors numpy
    python3 make_families.py [NAME ...]

Every folder is a checkpoint that from_pretrained opens, and expected.bin (layout: pack_goldens.py) with
tokens/<s>, points/<hook point>, generated/<s>, points_decode/<point>, the noise floor of each point, and
for scores and patterns offsets/<point> [rows + 1] and visible/<point> [rows], the first visible key.
Sizes are odd on purpose, eps is large, biases and norms are far from 0 and 1, so that a wrong constant
shows; windows and original contexts lie below the longest prompt. Decode: 16 greedy tokens a prompt, each
chosen by a clear margin, which fp32 noise cannot turn; so are the experts of a router. Two decisions:
scores of MPT are those of a row that is the last of its call, slope * (key - query), and Falcon's ALiBi
enters once, as in training and with sdpa attention (eager of transformers 5.23 adds it twice).
"""
import os
import shutil
import sys

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))
import dense_families  # noqa: E402
import hf_alibi_points  # noqa: E402, F401
import hf_dense_points  # noqa: E402, F401
import hf_expert_points  # noqa: E402, F401
import hf_latent_points  # noqa: E402, F401
import hf_points  # noqa: E402
import pack_goldens  # noqa: E402

LENGTHS, SHORT, N_NEW, MARGIN, SEED = (1, 8, 27), (1, 6, 17), 16, 5e-3, 40
CONTEXT = 18  # "original" context of the scaled ropes: passed by the longest prompt and by decode
LLAMA = dict(vocab_size=61, hidden_size=28, intermediate_size=38, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=10, max_position_embeddings=72,
             rms_norm_eps=1e-3, rope_theta=10000.0, tie_word_embeddings=False, bos_token_id=1,
             eos_token_id=2)
QWEN2 = {k: v for k, v in LLAMA.items() if k != "head_dim"} | dict(
    hidden_size=32, tie_word_embeddings=True)
GPT2 = dict(vocab_size=61, n_positions=48, n_embd=28, n_layer=2, n_head=4, n_inner=50,
            activation_function="gelu", layer_norm_epsilon=1e-3, scale_attn_by_inverse_layer_idx=True,
            tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)
BLOOM = dict(vocab_size=61, hidden_size=30, n_layer=2, n_head=6, layer_norm_epsilon=1e-3,
             tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
MPT = dict(vocab_size=61, d_model=30, n_heads=6, n_layers=2, max_seq_len=64, layer_norm_epsilon=1e-3,
           bos_token_id=1, eos_token_id=2,
           attn_config=dict(clip_qkv=1.6, softmax_scale=0.31))
FALCON = dict(vocab_size=61, hidden_size=30, num_hidden_layers=2, num_attention_heads=5,
              layer_norm_epsilon=1e-3, max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
DEEPSEEK = dict(vocab_size=61, hidden_size=28, intermediate_size=34, moe_intermediate_size=10,
                num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, kv_lora_rank=14,
                q_lora_rank=18, qk_nope_head_dim=10, qk_rope_head_dim=6, v_head_dim=8,
                n_shared_experts=2, n_routed_experts=6, num_experts_per_tok=2, n_group=3, topk_group=2,
                first_k_dense_replace=1, routed_scaling_factor=1.7, max_position_embeddings=72,
                rms_norm_eps=1e-3, bos_token_id=1, eos_token_id=2)


EXPERTS = dict(LLAMA, num_hidden_layers=2, num_local_experts=5, num_experts_per_tok=2,
               intermediate_size=14)
GPT_OSS = dict(EXPERTS, num_experts_per_tok=3, sliding_window=7, swiglu_limit=1.4, rope_theta=150.0,
               attention_bias=True)
LLAMA4 = dict(LLAMA, num_hidden_layers=4, num_local_experts=4, num_experts_per_tok=2,
              intermediate_size=12, intermediate_size_mlp=22, interleave_moe_layer_step=2,
              no_rope_layers=[1, 0, 1, 0], attention_chunk_size=8, floor_scale=4, attn_scale=0.3)

SHORT_FAMILIES = ("BloomConfig", "MptConfig", "FalconConfig", "DeepseekV2Config", "DeepseekV3Config",
                  "MixtralConfig", "Qwen3MoeConfig", "OlmoeConfig", "GptOssConfig", "Llama4TextConfig")


def scaled(rope_type, **more):
    return dict(rope_scaling=dict(rope_type=rope_type, **more))


def yarn(**more):
    return dict(rope_parameters=dict(dict(
        rope_type="yarn", rope_theta=25.0, factor=4.0, beta_fast=2.0, beta_slow=1.0,
        original_max_position_embeddings=CONTEXT), **more))


FAMILIES = {
    "gpt2_layer_scale": ("GPT2Config", GPT2),
    "llama_bias_tied": ("LlamaConfig", LLAMA | dict(attention_bias=True, mlp_bias=True,
                                                    tie_word_embeddings=True)),
    "llama_rope_linear": ("LlamaConfig", LLAMA | scaled("linear", factor=2.5)),
    "llama_rope_dynamic": ("LlamaConfig", LLAMA | scaled("dynamic", factor=3.0)
                           | dict(max_position_embeddings=CONTEXT)),
    "llama_rope_llama3": ("LlamaConfig", LLAMA | scaled(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=CONTEXT)),
    "llama_rope_yarn": ("LlamaConfig", LLAMA | scaled(
        "yarn", factor=4.0, beta_fast=2.0, beta_slow=1.0,
        original_max_position_embeddings=CONTEXT) | dict(rope_theta=200.0)),
    "mistral": ("MistralConfig", LLAMA | dict(sliding_window=9, rope_theta=5000.0)),
    "qwen2": ("Qwen2Config", QWEN2),
    "bloom": ("BloomConfig", BLOOM),
    "mpt": ("MptConfig", MPT),
    "falcon": ("FalconConfig", FALCON),
    "falcon_new_decoder": ("FalconConfig", FALCON | dict(
        new_decoder_architecture=True, hidden_size=32, num_attention_heads=4, num_kv_heads=2, bias=True,
        ffn_hidden_size=58, tie_word_embeddings=False)),
    "falcon_alibi": ("FalconConfig", FALCON | dict(
        alibi=True, multi_query=False, parallel_attn=False, bias=True)),
    "deepseek_v2": ("DeepseekV2Config", DEEPSEEK | dict(topk_method="group_limited_greedy")
                    | yarn(mscale=1.0, mscale_all_dim=1.0)),
    "deepseek_v2_lite": ("DeepseekV2Config", DEEPSEEK | dict(
        topk_method="greedy", q_lora_rank=None, n_group=1, topk_group=1)
        | yarn(mscale=0.707, mscale_all_dim=0.707)),
    "deepseek_v3": ("DeepseekV3Config", DEEPSEEK | dict(norm_topk_prob=True)
                    | yarn(mscale=1.0, mscale_all_dim=1.0)),
    "kimi_k2": ("DeepseekV3Config", DEEPSEEK | dict(
        norm_topk_prob=True, n_group=1, topk_group=1, n_shared_experts=1)
        | yarn(mscale=1.0, mscale_all_dim=1.0, beta_fast=1.0)),
    "mixtral": ("MixtralConfig", EXPERTS | dict(sliding_window=6)),
    "qwen3_moe": ("Qwen3MoeConfig", {k: v for k, v in EXPERTS.items() if k != "num_local_experts"}
                  | dict(num_experts=5, intermediate_size=30, moe_intermediate_size=12,
                         mlp_only_layers=[0], norm_topk_prob=True, use_sliding_window=True,
                         sliding_window=6, attention_bias=True)),
    "olmoe": ("OlmoeConfig", {k: v for k, v in EXPERTS.items() if k != "head_dim"}
              | dict(num_experts=5, clip_qkv=0.9, hidden_size=32)),
    "gpt_oss": ("GptOssConfig", GPT_OSS | scaled(
        "yarn", factor=4.0, beta_fast=2.0, beta_slow=1.0, truncate=False,
        original_max_position_embeddings=CONTEXT)),
    "llama4": ("Llama4TextConfig", LLAMA4),
} | dense_families.DENSE


def draw_correction(model, generator):
    """DeepSeek V3 adds a correction to scores for the choice; zero in a new model."""
    for name, b in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            b.copy_(0.3 * torch.randn(b.shape, generator=generator))


def draw_weights(model, generator):
    """Every tensor anew: norms about 1, biases about 0, matrices by their fan-in. Tied embeddings are
    small, or each token would predict itself."""
    embed = 0.3 if model.config.tie_word_embeddings else 0.6
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            p.copy_(0.25 * noise + (1.0 if name.endswith("weight") else 0.0))
        elif ".gate.weight" in name or ".router.weight" in name:  # a router, whose choices are to be clear
            p.copy_(2.0 * noise / p.shape[1] ** 0.5)
        elif "embed" in name or ".wte" in name or ".wpe" in name:
            p.copy_((0.4 if ".wpe" in name else embed) * noise)
        else:
            fan_in = p.shape[-1] if p.dim() == 3 else p.shape[0] if type(model).__name__.startswith("GPT2") else p.shape[1]
            p.copy_(2.0 / fan_in ** 0.5 * noise)


def prompts_for(model, names, lengths, generator):
    """Random prompts whose greedy continuation is clear at every step, and what it gives."""
    for _ in range(200):
        prompts = [torch.randint(3, model.config.vocab_size, (n,), generator=generator).tolist()
                   for n in lengths]
        generated, points, margin = hf_points.decode(model, prompts, N_NEW, names)
        if margin > MARGIN and sum(len(set(ids)) for ids in generated) > 8:
            return prompts, generated, points
    sys.exit(f"no prompts with a margin above {MARGIN} found")


def visible_of(config, lengths, layer):
    """Of every row of the prompts: its first visible key, and the ends of its scores in flat values."""
    kinds = getattr(config, "layer_types", None)
    kind = kinds[layer] if kinds else "sliding_attention"
    window = kind == "sliding_attention" and getattr(config, "sliding_window", None)
    position = np.concatenate([np.arange(n) for n in lengths])
    first = np.maximum(position - (window or max(lengths)) + 1, 0)
    if kind == "chunked_attention":
        first = position - position % config.attention_chunk_size
    sizes = config.num_attention_heads * (position - first + 1)
    return first.astype(np.int32), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def write(path, config, prompts, generated, points, points_decode, floors):
    with open(path, "wb") as out:
        out.write(b"SGLD1\n")
        for i, tokens in enumerate(prompts):
            pack_goldens.entry(out, f"tokens/{i}", np.array(tokens, np.int32), 0.0)
        for name, values in points.items():
            if not name.endswith(".scale"):
                pack_goldens.entry(out, f"points/{name}", values, floors[name])
        for name in (n for n in points if n.endswith((".scores", ".pattern"))):
            first, offsets = visible_of(config, [len(p) for p in prompts], int(name.split(".")[1]))
            assert len(points[name]) == offsets[-1], name
            pack_goldens.entry(out, f"offsets/{name}", offsets, 0.0)
            pack_goldens.entry(out, f"visible/{name}", first, 0.0)
        for i, tokens in enumerate(generated):
            pack_goldens.entry(out, f"generated/{i}", np.array(tokens, np.int32), 0.0)
        for name, values in points_decode.items():
            pack_goldens.entry(out, f"points_decode/{name}", values, floors["decode " + name])


def make(name, config_class, options, generator, lengths=LENGTHS):
    folder = os.path.join(HERE, "families", name)
    shutil.rmtree(folder, ignore_errors=True)
    config = getattr(transformers, config_class)(**options)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    draw_weights(model, generator)
    draw_correction(model, generator)
    model.save_pretrained(folder)
    if os.path.exists(os.path.join(folder, "generation_config.json")):
        os.remove(os.path.join(folder, "generation_config.json"))

    # eager attention of transformers 5.23 adds Falcon's bias twice
    model = hf_points.load(folder, "sdpa" if getattr(config, "alibi", False) else "eager")
    names = [f"blocks.{i}.resid_post" for i in range(2)] + ["logits"]
    prompts, generated, points_decode = prompts_for(model, names, lengths, generator)
    points = hf_points.record(model, prompts)

    def both(m):
        decoded = hf_points.decode(m, prompts, N_NEW, names, forced=generated)[1]
        return hf_points.record(m, prompts) | {"decode " + n: v for n, v in decoded.items()}
    floors = hf_points.floors(model, both, points | {"decode " + n: v for n, v in points_decode.items()})
    write(os.path.join(folder, "expected.bin"), model.config, prompts, generated, points,
          points_decode, floors)
    size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    worst = max(floors, key=floors.get)
    print(f"{name:20} {len(points)} points, {size / 1e3:.0f} kB, floor {floors[worst]:.1e} at {worst}")


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for n, (name, (config_class, options)) in enumerate(FAMILIES.items()):
        if name in (sys.argv[1:] or FAMILIES):
            dense = name in dense_families.DENSE and "longrope" not in name
            lengths = SHORT if dense or config_class in SHORT_FAMILIES else LENGTHS
            make(name, config_class, options, torch.Generator().manual_seed(SEED + n), lengths)


if __name__ == "__main__":
    main()
