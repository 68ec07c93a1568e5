"""Hook points of BLOOM, MPT and Falcon in Hugging Face: fused projections are taken apart, scores are
made from q, k and the family's bias, and for a row of MPT relative to its own position.

Falcon with ALiBi must be loaded with sdpa attention: eager (transformers 5.23) adds the bias twice. Its
pattern is the softmax of the scores here, which z is checked against.
"""
import torch
from transformers.models.falcon import modeling_falcon

from hf_points import RECORDERS, Recorder

BLOOM = dict(base="transformer", layers="h", embed="word_embeddings", pos=None, final="ln_f",
             norms=("input_layernorm", "post_attention_layernorm"), attn="self_attention",
             fused="query_key_value", out="dense", mlp="mlp", up="dense_h_to_4h", down="dense_4h_to_h")
MPT = dict(base="transformer", layers="blocks", embed="wte", pos=None, final="norm_f",
           norms=("norm_1", "norm_2"), attn="attn", fused="Wqkv", out="out_proj", mlp="ffn",
           up="up_proj", down="down_proj")


def slopes_of(n_heads, most=8.0):
    """Press et al. 2022: powers of one base for a power of two, then every other one of twice as many."""
    c = 1 << (n_heads.bit_length() - 1)
    steps = list(range(1, c + 1)) + [i + 0.5 for i in range(n_heads - c)]
    return torch.tensor([2.0 ** (-most * i / c) for i in steps], dtype=torch.float64)


class AlibiRecorder(Recorder):
    """BLOOM and MPT."""

    def _arch(self):
        return MPT if self.model.config.model_type == "mpt" else BLOOM

    def _patch_attention(self):
        pass

    def close(self):
        for handle in self._handles:
            handle.remove()

    def _block(self, prefix, layer):
        arch = self.arch
        attn, mlp = getattr(layer, arch["attn"]), getattr(layer, arch["mlp"])
        self._input(layer, prefix + "resid_pre")
        self._norms(prefix, layer)
        self._on(getattr(attn, arch["fused"]).register_forward_hook(
            lambda m, i, o: self._projected(prefix, attn, o)))
        self._on(attn.register_forward_hook(
            lambda m, i, kw, o: self._attended(prefix, m, kw, o), with_kwargs=True))
        self._input(getattr(attn, arch["out"]), prefix + "attn.z")
        self._output(getattr(attn, arch["out"]), prefix + "attn.out")
        self._output(getattr(mlp, arch["up"]), prefix + "mlp.pre")
        self._input(getattr(mlp, arch["down"]), prefix + "mlp.post")
        self._output(getattr(mlp, arch["down"]), prefix + "mlp.out")
        self._output(layer, prefix + "resid_post")

    def _norms(self, prefix, layer):
        first, second = (getattr(layer, n) for n in self.arch["norms"])
        self._norm(first, prefix + "attn_norm")
        self._input(second, prefix + "resid_mid")
        self._norm(second, prefix + "mlp_norm")

    def _split(self, attn, fused):
        """q [T, N, d], k and v [T, K, d] of a fused output [1, T, ...]."""
        heads, width = self.model.config.num_attention_heads, self.model.config.hidden_size
        if self.arch is MPT:
            return [x.reshape(x.shape[1], heads, -1) for x in fused.split(width, -1)]
        return fused[0].reshape(fused.shape[1], heads, 3, -1).unbind(2)

    def _projected(self, prefix, attn, fused):
        if self.names != "all":
            return
        self.qkv = self._split(attn, fused)
        for name, x in zip("qkv", self.qkv):
            self._put(prefix + "attn." + name, x.flatten(1))

    def _scores(self, attn, q, k):
        config, heads = self.model.config, q.shape[1]
        rows = torch.arange(q.shape[0], dtype=q.dtype)
        dots = torch.einsum("thd,shd->hts", q, k.repeat_interleave(heads // k.shape[1], 1))
        if self.arch is MPT:
            bias = slopes_of(heads).to(q.dtype)[:, None, None] * (rows[None] - rows[:, None])
            return dots * attn.softmax_scale + bias
        return slopes_of(heads).to(q.dtype)[:, None, None] * rows + dots * attn.inv_norm_factor

    def _placed(self, attn, kwargs):
        clip = getattr(attn, "clip_qkv", None)
        return [x.clamp(-clip, clip) if clip else x for x in self.qkv]

    def _attended(self, prefix, attn, kwargs, output):
        if self.names != "all":
            return
        q, k, v = self._placed(attn, kwargs)
        self._put(prefix + "attn.q_rot", q.flatten(1))
        self._put(prefix + "attn.k_rot", k.flatten(1))
        scores = self._scores(attn, q, k)
        seen = torch.ones(scores.shape[1:]).tril().bool()
        pattern = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        given = output[1]
        if given is not None:
            assert (given[0] - pattern).abs().max() < 1e-4, prefix
            pattern = given[0]
        for row in range(scores.shape[1]):
            self._put(prefix + "attn.scores", scores[:, row, :row + 1].flatten())
            self._put(prefix + "attn.pattern", pattern[:, row, :row + 1].flatten())


class FalconRecorder(AlibiRecorder):
    def _arch(self):
        return BLOOM

    def _norms(self, prefix, layer):
        config = self.model.config
        if hasattr(layer, "ln_attn"):
            self._norm(layer.ln_attn, prefix + "attn_norm")
            self._norm(layer.ln_mlp, prefix + "mlp_norm")
            return
        self._norm(layer.input_layernorm, prefix + "attn_norm")
        if config.parallel_attn or config.new_decoder_architecture:
            self._output(layer.input_layernorm, prefix + "mlp_norm")
            return
        self._input(layer.post_attention_layernorm, prefix + "resid_mid")
        self._norm(layer.post_attention_layernorm, prefix + "mlp_norm")

    def _split(self, attn, fused):
        config, n = self.model.config, self.model.config.num_attention_heads
        groups = config.num_kv_heads if config.new_decoder_architecture else 1
        if not (config.new_decoder_architecture or config.multi_query):
            groups = n
        x = fused[0].reshape(fused.shape[1], groups, n // groups + 2, -1)
        return x[:, :, :-2].flatten(1, 2), x[:, :, -2], x[:, :, -1]

    def _placed(self, attn, kwargs):
        q, k, v = self.qkv
        if kwargs["alibi"] is None:
            cos, sin = kwargs["position_embeddings"]
            q, k = modeling_falcon.apply_rotary_pos_emb(q[None], k[None], cos, sin, unsqueeze_dim=2)
            q, k = q[0], k[0]
        return q, k, v

    def _scores(self, attn, q, k):
        heads, scale = q.shape[1], attn.inv_norm_factor
        dots = torch.einsum("thd,shd->hts", q, k.repeat_interleave(heads // k.shape[1], 1)) * scale
        if not self.model.config.alibi:
            return dots
        mask = torch.ones(1, q.shape[0], dtype=torch.long)
        bias = modeling_falcon.build_alibi_tensor(mask, heads, q.dtype)
        return dots + bias * scale


RECORDERS.update(bloom=AlibiRecorder, mpt=AlibiRecorder, falcon=FalconRecorder)
