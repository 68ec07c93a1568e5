"""Configurations of the dense families that are neither Llama's nor GPT-2's kind: what each can vary
(windows shorter than the prompts, scales and caps far from 1, rope over a part of the head)."""
IDS = dict(vocab_size=61, bos_token_id=1, eos_token_id=2, pad_token_id=None)
BASE = dict(IDS, hidden_size=30, intermediate_size=38, num_hidden_layers=2, num_attention_heads=5,
            max_position_embeddings=64, tie_word_embeddings=False)
GROUPED = dict(BASE, hidden_size=32, num_attention_heads=4, num_key_value_heads=2)
RMS = dict(GROUPED, rms_norm_eps=1e-3)
WIDE = dict(RMS, hidden_size=28, head_dim=10)
GPT = dict(IDS, n_positions=48, n_embd=30, n_layer=2, n_head=5, n_inner=38, layer_norm_epsilon=1e-3)
GEMMA = dict(WIDE, tie_word_embeddings=True)
LAYER = dict(layer_norm_eps=1e-3)


def longrope(r):
    """Heads of 8, r dims rotated. The longest prompt passes the original length, the decode of the
    others does not."""
    return dict(rope_parameters=dict(
        rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=r / 8, short_factor=[1.0 + 0.2 * i for i in range(r // 2)],
        long_factor=[1.1 + 1.4 * i for i in range(r // 2)]), original_max_position_embeddings=24)


DENSE = {
    "gptj": ("GPTJConfig", GPT | dict(rotary_dim=4, tie_word_embeddings=False)),
    "gpt_neox": ("GPTNeoXConfig", BASE | LAYER | dict(
        hidden_size=40, rotary_pct=0.5, rotary_emb_base=500, use_parallel_residual=True)),
    "gpt_neox_sequential": ("GPTNeoXConfig", BASE | LAYER | dict(
        hidden_size=40, rotary_pct=0.75, use_parallel_residual=False, attention_bias=False)),
    "gpt_bigcode": ("GPTBigCodeConfig", GPT | dict(activation_function="gelu")),
    "gpt_bigcode_mha": ("GPTBigCodeConfig", GPT | dict(multi_query=False, scale_attn_weights=False)),
    "starcoder2": ("Starcoder2Config", GROUPED | dict(
        norm_epsilon=1e-3, rope_parameters=dict(rope_type="default", rope_theta=300.0), sliding_window=7)),
    "cohere": ("CohereConfig", GROUPED | LAYER | dict(
        logit_scale=0.4, use_qk_norm=True, tie_word_embeddings=True)),
    "cohere_plain": ("CohereConfig", GROUPED | LAYER | dict(logit_scale=1.3, attention_bias=True)),
    "stablelm": ("StableLmConfig", GROUPED | LAYER | dict(
        use_qkv_bias=True, rope_parameters=dict(
            rope_type="default", rope_theta=700.0, partial_rotary_factor=0.5))),
    "stablelm_parallel": ("StableLmConfig", GROUPED | LAYER | dict(
        use_parallel_residual=True, qk_layernorm=True, rope_parameters=dict(
            rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.75))),
    "phi": ("PhiConfig", GROUPED | LAYER | dict(rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.75))),
    "olmo": ("OlmoConfig", GROUPED | dict(clip_qkv=0.9)),
    "qwen3": ("Qwen3Config", WIDE | dict(attention_bias=True, num_hidden_layers=3, use_sliding_window=True,
                                         sliding_window=6, max_window_layers=1)),
    "gemma": ("GemmaConfig", GEMMA | dict(num_key_value_heads=1)),
    "gemma2": ("Gemma2Config", GEMMA | dict(
        query_pre_attn_scalar=7, sliding_window=6, attn_logit_softcapping=3.0,
        final_logit_softcapping=5.0)),
    "gemma3_text": ("Gemma3TextConfig", GEMMA | dict(
        num_hidden_layers=3, query_pre_attn_scalar=13, sliding_window=6, final_logit_softcapping=6.0,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=900.0, factor=3.0),
            sliding_attention=dict(rope_type="default", rope_theta=50.0)))),
    "phi3": ("Phi3Config", RMS | dict(sliding_window=7, original_max_position_embeddings=64)),
    "phi3_longrope": ("Phi3Config", RMS | longrope(6)),
    "olmo2": ("Olmo2Config", RMS | dict(attention_bias=True)),
    "olmo3": ("Olmo3Config", RMS | dict(
        num_hidden_layers=4, sliding_window=6, rope_parameters=dict(
            full_attention=dict(rope_type="linear", rope_theta=400.0, factor=2.0),
            sliding_attention=dict(rope_type="default", rope_theta=400.0)))),
    "smollm3": ("SmolLM3Config", RMS | dict(
        num_hidden_layers=3, no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=6,
        mlp_bias=True)),
    "granite": ("GraniteConfig", RMS | dict(
        embedding_multiplier=2.5, residual_multiplier=0.35, attention_multiplier=0.3,
        logits_scaling=1.7, attention_bias=True)),
}
