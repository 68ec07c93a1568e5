"""What llama.cpp's converter does of its own for each architecture: names, rearranged tensors, metadata;
and what GGUF loses there. Facts from its conversion scripts and gguf-py's tables."""
import numpy as np

from gguf_file import Blocks

LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "self_attn.sinks": "attn_sinks",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps", "mlp.gate": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp", "block_sparse_moe.experts.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.w3": "ffn_up_exps", "block_sparse_moe.experts.w2": "ffn_down_exps",
}
SANDWICH = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm"}
GPT = {
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "lm_head": "output",
    "transformer.ln_f": "output_norm", "ln_1": "attn_norm", "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
NEOX = {
    "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
}
MLA = {
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.kv_b_proj": "attn_kv_b",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}
LLAMA4 = {
    "feed_forward." + k: v for k, v in {
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
        "router": "ffn_gate_inp", "experts.gate_up_proj": "gate_up_exps",
        "experts.down_proj": "ffn_down_exps", "shared_expert.gate_proj": "ffn_gate_shexp",
        "shared_expert.up_proj": "ffn_up_shexp", "shared_expert.down_proj": "ffn_down_shexp"}.items()
}
GPT_OSS = {"post_attention_layernorm": "post_attention_norm", "mlp.router": "ffn_gate_inp",
           "mlp.experts.gate_up_proj": "gate_up_exps", "mlp.experts.down_proj": "ffn_down_exps",
           "mlp.experts.gate_up_proj_bias": "gate_up_exps_bias",
           "mlp.experts.down_proj_bias": "ffn_down_exps_bias"}
PHI3 = {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}
PHI2 = {"input_layernorm": "attn_norm", "model.final_layernorm": "output_norm",
        "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
FALCON = {
    "transformer.word_embeddings": "token_embd", "transformer.ln_f": "output_norm",
    "lm_head": "output", "input_layernorm": "attn_norm", "ln_mlp": "attn_norm",
    "ln_attn": "attn_norm_2", "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down", "post_attention_layernorm": "ffn_norm",
}
BLOOM = dict(FALCON, **{"transformer.word_embeddings_layernorm": "token_embd_norm"})
MPT = {
    "transformer.wte": "token_embd", "transformer.norm_f": "output_norm", "lm_head": "output",
    "norm_1": "attn_norm", "norm_2": "ffn_norm", "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output", "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down",
}


def rope_of(config):
    """The rope parameters of the full-attention layers, in one spelling."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    local = config.get("rope_local_base_freq")
    if "full_attention" in rope:
        local = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    rope.setdefault("rope_type", rope.get("type", "default"))
    for key, name in (("rope_theta", "rope_theta"), ("rotary_emb_base", "rope_theta"),
                      ("partial_rotary_factor", "partial_rotary_factor"),
                      ("rotary_pct", "partial_rotary_factor"),
                      ("original_max_position_embeddings", "original_max_position_embeddings")):
        if config.get(key) is not None:
            rope.setdefault(name, config[key])
    rope["local_theta"] = local
    return rope


# ---- tensors ---------------------------------------------------------------------------------------

def heads_of(config):
    n = config.get("num_attention_heads") or config.get("n_head") or config.get("n_heads")
    return n, config.get("num_key_value_heads") or n


def as_it_is(config, stem, suffix, tensor):
    return [(stem, tensor)]


def pairs(tensor, n_heads):
    """Rows of each head from halves to pairs."""
    rows = tensor.shape[0] // n_heads // 2
    return tensor.reshape(n_heads, 2, rows, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def permute(config, stem, suffix, tensor):
    if stem in ("attn_q", "attn_k"):
        tensor = pairs(tensor, heads_of(config)[stem == "attn_k"])
    return [(stem, tensor)]


def add_one(config, stem, suffix, tensor):
    return [(stem, tensor + np.float32(1) if stem.endswith("norm") else tensor)]


def transpose_conv1d(config, stem, suffix, tensor):
    inner = stem.startswith(("attn", "ffn")) and suffix == "weight" and tensor.ndim == 2
    return [(stem, tensor.T if inner else tensor)]


def qkv_by_head(config, stem, suffix, tensor):
    """[q k v] of each head to all q, all k, all v."""
    by_head = config.get("multi_query", False) is False
    if stem != "attn_qkv" or not by_head:
        return [(stem, tensor)]
    n = heads_of(config)[0]
    rows = tensor.reshape(n, 3, -1, *tensor.shape[1:])
    return [(stem, rows.swapaxes(0, 1).reshape(tensor.shape))]


def qkv_by_group(config, stem, suffix, tensor):
    """Falcon: of each KV group its queries, its key, its value. Old files without multi_query: by head."""
    if stem != "attn_qkv":
        return [(stem, tensor)]
    n, k = falcon_heads(config)
    d = config["hidden_size"] // n
    parts = tensor.reshape(k, n // k + 2, d, *tensor.shape[1:])
    q, key, value = parts[:, :-2], parts[:, -2], parts[:, -1]
    flat = [p.reshape(-1, *tensor.shape[1:]) for p in (q, key, value)]
    return [(stem, np.concatenate(flat))]


def falcon_heads(config):
    n = heads_of(config)[0]
    if config.get("new_decoder_architecture"):
        return n, config.get("num_kv_heads") or n
    return n, 1 if config.get("multi_query", True) else n


def split_kv_b(config, stem, suffix, tensor):
    """deepseek2: kv_b becomes k_b, transposed by head, and v_b."""
    if stem != "attn_kv_b":
        return [(stem, tensor)]
    n, nope, v = heads_of(config)[0], config["qk_nope_head_dim"], config["v_head_dim"]
    heads = tensor.reshape(n, nope + v, -1)
    return [("attn_k_b", heads[:, :nope].swapaxes(1, 2)), ("attn_v_b", heads[:, nope:])]


def split_input_major(config, stem, suffix, tensor):
    """llama4: [E, in, gate | up] to two stacks [E, out, in]."""
    if stem not in ("gate_up_exps", "ffn_down_exps"):
        return [(stem, tensor)]
    tensor = tensor.swapaxes(1, 2)
    if stem == "ffn_down_exps":
        return [(stem, tensor)]
    half = tensor.shape[1] // 2
    return [("ffn_gate_exps", tensor[:, :half]), ("ffn_up_exps", tensor[:, half:])]


def split_interleaved(config, stem, suffix, tensor):
    """gpt-oss: gate and up are even and odd rows of one input-major stack."""
    if stem == "ffn_down_exps_bias":
        return [("ffn_down_exps.bias", tensor)]
    if stem == "gate_up_exps_bias":
        return [("ffn_gate_exps.bias", tensor[:, ::2]), ("ffn_up_exps.bias", tensor[:, 1::2])]
    if stem not in ("gate_up_exps", "ffn_down_exps"):
        return [(stem, tensor)]
    if isinstance(tensor, Blocks):
        gate, up = tensor.every_second_row(0), tensor.every_second_row(1)
    else:
        tensor = tensor.swapaxes(1, 2)
        gate, up = tensor[:, ::2], tensor[:, 1::2]
    down = stem == "ffn_down_exps"
    return [(stem, tensor)] if down else [("ffn_gate_exps", gate), ("ffn_up_exps", up)]


# ---- metadata --------------------------------------------------------------------------------------

def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // heads_of(config)[0]


def partial_dims(config, rope):
    return {"rope.dimension_count": int(rope.get("partial_rotary_factor", 1.0) * head_dim(config))}


def llama_keys(config, rope):
    return {"vocab_size": config["vocab_size"], "rope.dimension_count": head_dim(config)}


def gpt_keys(config, rope):
    return {"feed_forward_length": 4 * config["n_embd"]}


def starcoder_keys(config, rope):
    return {"feed_forward_length": 4 * config["n_embd"],
            "attention.head_count_kv": 1 if config.get("multi_query", True) else heads_of(config)[0]}


def neox_keys(config, rope):
    return dict(partial_dims(config, rope), **{
        "rope.freq_base": None, "use_parallel_residual": config.get("use_parallel_residual", True)})


def gemma2_keys(config, rope):
    return {"attn_logit_softcapping": config["attn_logit_softcapping"],
            "final_logit_softcapping": config["final_logit_softcapping"],
            "attention.sliding_window": config["sliding_window"], "rope.freq_base": None}


def gemma3_keys(config, rope):
    pattern, types = config.get("sliding_window_pattern", 6), config.get("layer_types")
    slides = [t == "sliding_attention" for t in types or []]
    if types and slides != [(i + 1) % pattern != 0 for i in range(len(types))]:
        pattern = slides
    return {"attention.sliding_window": config["sliding_window"],
            "final_logit_softcapping": config.get("final_logit_softcapping"),
            "attention.sliding_window_pattern": pattern if pattern != 6 else None,
            "rope.freq_base_swa": rope["local_theta"] and float(rope["local_theta"])}


def moe_keys(config, rope):
    norm = config.get("norm_topk_prob", False)
    return {"expert_feed_forward_length": config["moe_intermediate_size"],
            "expert_weights_norm": None if norm else False}


def olmoe_keys(config, rope):
    return {"attention.clamp_kqv": config.get("clip_qkv"),
            "expert_weights_norm": True if config.get("norm_topk_prob") else None}


def deepseek_keys(config, rope):
    nope, pe = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
    v3 = config["model_type"] != "deepseek_v2"
    return {"attention.head_count_kv": 1, "attention.q_lora_rank": config.get("q_lora_rank"),
            "attention.kv_lora_rank": config["kv_lora_rank"],
            "attention.key_length": config["kv_lora_rank"] + pe,
            "attention.value_length": config["kv_lora_rank"],
            "attention.key_length_mla": nope + pe, "attention.value_length_mla": config["v_head_dim"],
            "leading_dense_block_count": config.get("first_k_dense_replace", 0),
            "vocab_size": config["vocab_size"],
            "expert_feed_forward_length": config["moe_intermediate_size"],
            "expert_shared_count": config["n_shared_experts"],
            "expert_weights_scale": float(config["routed_scaling_factor"]),
            "expert_weights_norm": True if config.get("norm_topk_prob") else None,
            "expert_gating_func": 2 if v3 else 1, "rope.dimension_count": pe,
            "rope.scaling.yarn_log_multiplier": rope.get("mscale_all_dim") and 0.1 * rope["mscale_all_dim"]}


def llama4_keys(config, rope):
    return dict(llama_keys(config, rope), **{
        "feed_forward_length": config["intermediate_size_mlp"],
        "expert_feed_forward_length": config["intermediate_size"],
        "interleave_moe_layer_step": config["interleave_moe_layer_step"]})


def gpt_oss_keys(config, rope):
    return {"attention.sliding_window": config["sliding_window"],
            "expert_feed_forward_length": config["intermediate_size"]}


def phi3_keys(config, rope):
    keys = partial_dims(config, rope)
    longest, original = config["max_position_embeddings"], rope["original_max_position_embeddings"]
    keys.update({"rope.scaling.original_context_length": original, "rope.scaling.type": None,
                 "attention.sliding_window": config.get("sliding_window") or 0})
    if rope.get("long_factor"):
        scale = longest / original
        factor = (1 + np.log(scale) / np.log(original)) ** 0.5 if scale > 1 else 1
        keys["rope.scaling.attn_factor"] = float(factor)
    return keys


def granite_keys(config, rope):
    return dict(llama_keys(config, rope), **{
        "attention.scale": config["attention_multiplier"], "logit_scale": config["logits_scaling"],
        "embedding_scale": config["embedding_multiplier"],
        "residual_scale": config["residual_multiplier"]})


def cohere_keys(config, rope):
    return {"logit_scale": config["logit_scale"], "rope.scaling.type": "none"}


def stablelm_keys(config, rope):
    return dict(partial_dims(config, rope), **{
        "rope.freq_base": None, "use_parallel_residual": config.get("use_parallel_residual", True)})


def phi2_keys(config, rope):
    return dict(partial_dims(config, rope), **{
        "feed_forward_length": 4 * config["hidden_size"], "rope.freq_base": None})


def olmo_keys(config, rope):
    return {"attention.layer_norm_epsilon": 1e-5, "attention.clamp_kqv": config.get("clip_qkv")}


def olmo2_keys(config, rope):
    if not config.get("sliding_window"):
        return {}
    types = config.get("layer_types")
    n = config["num_hidden_layers"]
    slides = [t == "sliding_attention" for t in types] if types else [(i + 1) % 4 != 0 for i in range(n)]
    return {"attention.sliding_window": config["sliding_window"],
            "attention.sliding_window_pattern": slides}


def falcon_keys(config, rope):
    return {"context_length": 2048, "tensor_data_layout": "jploski",
            "feed_forward_length": 4 * config["hidden_size"], "rope.freq_base": None,
            "attention.head_count_kv": falcon_heads(config)[1]}


def bloom_keys(config, rope):
    hidden = config.get("hidden_size") or config["n_embed"]
    return {"context_length": config.get("seq_length", hidden), "feed_forward_length": 4 * hidden,
            "attention.head_count_kv": heads_of(config)[0]}


def mpt_keys(config, rope):
    attention = config.get("attn_config") or {}
    bias = float(attention.get("alibi_bias_max", 8)) if attention.get("alibi", True) else 0.0
    clip = attention.get("clip_qkv")
    return {"feed_forward_length": 4 * config["d_model"], "attention.layer_norm_epsilon": 1e-5,
            "attention.clamp_kqv": clip and float(clip), "attention.max_alibi_bias": bias}


# ---- what GGUF loses: keys whose value is not the one that our reader assumes --------------------------

def unless(config, **assumed):
    """Keys of the config that differ from what is assumed when the file does not say."""
    return {k: config[k] for k, v in assumed.items() if config.get(k, v) not in (v, None)}


def rope_lost(config, rope, theta=None):
    lost = {}
    if rope["rope_type"] == "dynamic":
        lost = {"rope_scaling.rope_type": "dynamic", "rope_scaling.factor": float(rope["factor"])}
    if theta and rope.get("rope_theta", theta) != theta:
        lost["rope_theta"] = float(rope["rope_theta"])
    return lost


def window_lost(config, rope):
    lost = rope_lost(config, rope)
    assumed = {"mistral": 4096, "mixtral": None}
    window = config.get("sliding_window", assumed.get(config["model_type"]))
    if config["model_type"] in assumed and window:
        lost["sliding_window"] = window
    return lost


def qwen2_lost(config, rope):
    keys = ("sliding_window", "max_window_layers", "use_sliding_window")
    slides = config.get("use_sliding_window")
    return dict(rope_lost(config, rope), **({k: config[k] for k in keys if k in config} if slides else {}))


def gemma_scale_lost(config, rope):
    return dict(unless(config, query_pre_attn_scalar=head_dim(config)),
                **rope_lost(config, rope, None if config["model_type"].startswith("gemma3") else 1e4))


def llama4_lost(config, rope):
    lost = unless(config, attention_chunk_size=8192, attn_scale=0.1, floor_scale=8192,
                  attn_temperature_tuning=True,
                  use_qk_norm=config["num_local_experts"] != 128)
    step = config.get("no_rope_layer_interval", 4)
    layers = config.get("no_rope_layers") or [int((i + 1) % step != 0)
                                              for i in range(config["num_hidden_layers"])]
    return dict(lost, no_rope_layers=layers)


def smollm3_lost(config, rope):
    window = {"sliding_window": config["sliding_window"]} if config.get("use_sliding_window") else {}
    return dict(unless(config, use_sliding_window=False), **window,
                no_rope_layers=config.get("no_rope_layers"))


def mpt_lost(config, rope):
    """The converter writes an eps of 1e-5 whatever it is, and no scale."""
    scale = (config.get("attn_config") or {}).get("softmax_scale")
    return dict(unless(config, layer_norm_epsilon=1e-5), softmax_scale=scale)


def plain(**assumed):
    return lambda config, rope: dict(unless(config, **assumed), **rope_lost(config, rope))


def no_base(**assumed):
    return lambda config, rope: dict(unless(config, **assumed), **rope_lost(config, rope, 1e4))


class Arch:
    def __init__(self, name, names, change=as_it_is, keys=None, lost=plain(), tied=False):
        self.name, self.names, self.change = name, names, change
        self.keys, self.lost, self.tied = keys, lost, tied

    def convert(self, config, layer, stem, suffix, tensor):
        """(GGUF stem, tensor) of one tensor; an unknown name is an error."""
        if stem not in self.names:
            raise SystemExit(f"{self.name}: no GGUF name for {stem}.{suffix}")
        return self.change(config, self.names[stem], suffix, tensor)


def llama_like(*more):
    names = dict(LLAMA)
    for table in more:
        names.update(table)
    return names


ARCHS = {
    "gpt2": Arch("gpt2", GPT, transpose_conv1d, gpt_keys, tied=True, lost=plain(
        activation_function="gelu_new", scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True)),
    "gpt_bigcode": Arch("starcoder", GPT, qkv_by_head, starcoder_keys, tied=True, lost=plain(
        activation_function="gelu", scale_attn_weights=True)),
    "starcoder2": Arch("starcoder2", llama_like({"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}),
                       tied=True, lost=plain(hidden_act="gelu_pytorch_tanh", sliding_window=4096)),
    "gpt_neox": Arch("gptneox", NEOX, qkv_by_head, neox_keys, no_base(hidden_act="gelu")),
    "llama": Arch("llama", LLAMA, permute, llama_keys),
    "mistral": Arch("llama", LLAMA, permute, llama_keys, window_lost),
    "mixtral": Arch("llama", LLAMA, permute, llama_keys, window_lost),
    "qwen2": Arch("qwen2", LLAMA, lost=qwen2_lost),
    "qwen3": Arch("qwen3", LLAMA, lost=qwen2_lost),
    "qwen3_moe": Arch("qwen3moe", LLAMA, keys=moe_keys, lost=qwen2_lost),
    "gemma": Arch("gemma", LLAMA, add_one, lambda c, r: {"rope.freq_base": None}, no_base(), True),
    "gemma2": Arch("gemma2", llama_like(SANDWICH), add_one, gemma2_keys, gemma_scale_lost, True),
    "gemma3_text": Arch("gemma3", llama_like(SANDWICH), add_one, gemma3_keys, gemma_scale_lost, True),
    "llama4_text": Arch("llama4", llama_like(LLAMA4), split_input_major, llama4_keys, llama4_lost),
    "deepseek_v2": Arch("deepseek2", llama_like(MLA), split_kv_b, deepseek_keys),
    "deepseek_v3": Arch("deepseek2", llama_like(MLA), split_kv_b, deepseek_keys),
    "kimi_k2": Arch("deepseek2", llama_like(MLA), split_kv_b, deepseek_keys),
    "gpt_oss": Arch("gpt-oss", llama_like(GPT_OSS), split_interleaved, gpt_oss_keys,
                    plain(swiglu_limit=7.0)),
    "phi3": Arch("phi3", llama_like(PHI3), keys=phi3_keys),
    "phi": Arch("phi2", llama_like(PHI2), keys=phi2_keys, lost=no_base(hidden_act="gelu_new")),
    "olmo": Arch("olmo", LLAMA, permute, olmo_keys),
    "olmo2": Arch("olmo2", llama_like({k: v for k, v in SANDWICH.items() if "pre" not in k}),
                  keys=olmo2_keys),
    "olmoe": Arch("olmoe", LLAMA, keys=olmoe_keys),
    "smollm3": Arch("smollm3", LLAMA, permute, llama_keys, smollm3_lost, True),
    "granite": Arch("granite", LLAMA, permute, granite_keys),
    "cohere": Arch("command-r", LLAMA, keys=cohere_keys, tied=True),
    "stablelm": Arch("stablelm", llama_like({"self_attn.q_layernorm.norms": "attn_q_norm",
                                             "self_attn.k_layernorm.norms": "attn_k_norm"}),
                     keys=stablelm_keys, lost=no_base()),
    "falcon": Arch("falcon", FALCON, qkv_by_group, falcon_keys, no_base(alibi=False), True),
    "bloom": Arch("bloom", BLOOM, qkv_by_head, bloom_keys, tied=True),
    "mpt": Arch("mpt", MPT, keys=mpt_keys, lost=mpt_lost, tied=True),
}
ARCHS["llama4"] = ARCHS["llama4_text"]
ARCHS["gemma3"] = ARCHS["gemma3_text"]
ARCHS["olmo3"] = ARCHS["olmo2"]
