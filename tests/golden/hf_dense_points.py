"""Hook points of the dense families in Hugging Face that are neither Llama's nor GPT-2's kind: where
each keeps its norms and projections, and what enters the dot product."""
from torch import nn

from hf_points import RECORDERS, Recorder

LLAMA = dict(base="model", layers="layers", embed="embed_tokens", pos=None, final="norm",
             attn="self_attn", out="o_proj", fused=None, head_norms="{}_norm",
             attn_norm="input_layernorm", mlp_norm="post_attention_layernorm", attn_post=None,
             mlp_post=None, pre="gate_proj", up="up_proj", down="down_proj", parallel=False)
SANDWICH = dict(LLAMA, attn_post="post_attention_layernorm", mlp_norm="pre_feedforward_layernorm",
                mlp_post="post_feedforward_layernorm")
POST_NORMS = dict(SANDWICH, attn_norm=None, mlp_norm=None)
GPT = dict(LLAMA, base="transformer", layers="h", embed="wte", final="ln_f", attn="attn",
           attn_norm="ln_1", mlp_norm="ln_2", up=None)
ARCHS = {
    "gptj": dict(GPT, out="out_proj", mlp_norm=None, pre="fc_in", down="fc_out", parallel=True),
    "gpt_bigcode": dict(GPT, pos="wpe", out="c_proj", fused="c_attn", pre="c_fc", down="c_proj"),
    "gpt_neox": dict(LLAMA, base="gpt_neox", embed="embed_in", final="final_layer_norm",
                     attn="attention", out="dense", fused="query_key_value", pre="dense_h_to_4h",
                     up=None, down="dense_4h_to_h"),
    "starcoder2": dict(LLAMA, pre="c_fc", up=None, down="c_proj"),
    "cohere": dict(LLAMA, mlp_norm=None, parallel=True),
    "stablelm": dict(LLAMA, head_norms="{}_layernorm"),
    "phi": dict(LLAMA, final="final_layernorm", out="dense", mlp_norm=None, pre="fc1", up=None,
                down="fc2", parallel=True),
    "phi3": dict(LLAMA, fused="qkv_proj"),
    "gemma2": SANDWICH, "gemma3_text": SANDWICH, "olmo2": POST_NORMS, "olmo3": POST_NORMS,
} | dict.fromkeys(("qwen3", "gemma", "olmo", "smollm3", "granite"), LLAMA)


class DenseRecorder(Recorder):
    def _arch(self):
        config = self.model.config
        arch = dict(ARCHS[config.model_type])
        if config.model_type in ("gpt_neox", "stablelm"):
            arch["parallel"] = config.use_parallel_residual
        if config.model_type == "stablelm" and config.use_parallel_residual:
            arch["mlp_norm"] = None
        return arch

    def _put(self, name, value):
        if name == "embed":
            value = value * getattr(self.model.config, "embedding_multiplier", 1.0)
        super()._put(name, value)

    def _norm(self, module, name):
        self._output(module, name)

    def _block(self, prefix, layer):
        arch = self.arch
        attn, mlp = getattr(layer, arch["attn"]), layer.mlp
        self._input(layer, prefix + "resid_pre")
        for norm, name in (("attn_norm", "attn_norm"), ("attn_post", "attn.out_normed"),
                           ("mlp_post", "mlp.out_normed")):
            if arch[norm]:
                self._output(getattr(layer, arch[norm]), prefix + name)
        self._projections(prefix, attn)
        self._head_norms(prefix, attn)
        self._input(getattr(attn, arch["out"]), prefix + "attn.z")
        self._output(getattr(attn, arch["out"]), prefix + "attn.out")
        reads = getattr(layer, arch["mlp_norm"]) if arch["mlp_norm"] else mlp
        if not arch["parallel"]:
            self._input(reads, prefix + "resid_mid")
        if arch["mlp_norm"] or arch["parallel"]:
            self._input(mlp, prefix + "mlp_norm")
        self._mlp(prefix, mlp)
        self._output(layer, prefix + "resid_post")

    def _mlp(self, prefix, mlp):
        if hasattr(mlp, "gate_up_proj"):
            half = mlp.gate_up_proj.out_features // 2
            self._output(mlp.gate_up_proj, prefix + "mlp.pre", slice(0, half))
            self._output(mlp.gate_up_proj, prefix + "mlp.up", slice(half, None))
        else:
            self._output(getattr(mlp, self.arch["pre"]), prefix + "mlp.pre")
            if self.arch["up"]:
                self._output(getattr(mlp, self.arch["up"]), prefix + "mlp.up")
        self._input(getattr(mlp, self.arch["down"]), prefix + "mlp.post")
        self._output(mlp, prefix + "mlp.out")

    def _projections(self, prefix, attn):
        if not self.arch["fused"]:
            for x in "qkv":
                self._output(getattr(attn, x + "_proj"), f"{prefix}attn.{x}")
            return

        def hook(module, inputs, output):
            for x, value in zip("qkv", self._split(output)):
                self._put(f"{prefix}attn.{x}", value)
        self._on(getattr(attn, self.arch["fused"]).register_forward_hook(hook))

    def _split(self, fused):
        """q, k, v [1, T, ...] of a fused projection: all q, all k, all v, or so for each head."""
        config = self.model.config
        n, k = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
        if config.model_type == "gpt_neox" or (config.model_type == "gpt_bigcode"
                                               and not config.multi_query):
            return [x.flatten(2) for x in fused.unflatten(-1, (n, 3, -1)).unbind(3)]
        d = config.hidden_size // n
        return fused.split([n * d, k * d, k * d], -1)

    def _head_norms(self, prefix, attn):
        """Of [1, T, heads, d], of [1, heads, T, d] or of the whole vector [1, T, heads d]."""
        for x in "qk":
            module = getattr(attn, self.arch["head_norms"].format(x), None)
            if not isinstance(module, nn.Module):
                continue
            heads_first = self.model.config.model_type in ("gemma3_text", "stablelm")

            def hook(m, inputs, output, name=f"{prefix}attn.{x}_normed", turn=heads_first):
                value = output.transpose(1, 2) if turn else output
                self._put(name, value.flatten(2) if value.dim() == 4 else value)
            self._on(module.register_forward_hook(hook))


class GptjRecorder(DenseRecorder):
    """Its attention is a method of the class."""

    def _patch_attention(self):
        self._class = type(self.layers[0].attn)
        self._eager = self._class._attn

        def attend(module, query, key, value, attention_mask=None):
            out = self._eager(module, query, key, value, attention_mask)
            if self.names == "all":
                self._attention(module, query, key, attention_mask, float(1 / module.scale_attn), out[1])
            return out
        self._class._attn = attend

    def close(self):
        for handle in self._handles:
            handle.remove()
        self._class._attn = self._eager


RECORDERS.update(dict.fromkeys(ARCHS, DenseRecorder), gptj=GptjRecorder)
