"""Hook points of Mixtral, Qwen3-MoE, OLMoE, GPT-OSS and Llama 4 (text) in Hugging Face: norms of q and
k, sinks, and what every chosen expert computes, in the order of falling weight."""
import torch

from hf_points import RECORDERS, Recorder


def by_weight(weights, ids):
    order = weights.argsort(-1, descending=True)
    return weights.gather(1, order), ids.gather(1, order)


class ExpertRecorder(Recorder):
    """Experts [E, 2I, H], gate above up, with an act_fn; each weighed at its output."""
    router_margin = float("inf")

    def _block(self, prefix, layer):
        attn = layer.self_attn
        mlp = layer.mlp if hasattr(layer, "mlp") else layer.feed_forward
        self._input(layer, prefix + "resid_pre")
        self._norm(layer.input_layernorm, prefix + "attn_norm")
        for x in "qkv":
            self._output(getattr(attn, x + "_proj"), f"{prefix}attn.{x}")
        for x in "qk":
            if isinstance(getattr(attn, x + "_norm", None), torch.nn.Module):
                self._output(getattr(attn, x + "_norm"), f"{prefix}attn.{x}_normed")
        self._input(attn.o_proj, prefix + "attn.z")
        self._output(attn.o_proj, prefix + "attn.out")
        self._input(layer.post_attention_layernorm, prefix + "resid_mid")
        self._norm(layer.post_attention_layernorm, prefix + "mlp_norm")
        if hasattr(mlp, "experts"):
            self._sparse(prefix, mlp)
        else:
            self._output(mlp.gate_proj, prefix + "mlp.pre")
            self._output(mlp.up_proj, prefix + "mlp.up")
            self._input(mlp.down_proj, prefix + "mlp.post")
        self._output(mlp, prefix + "mlp.out")
        self._output(layer, prefix + "resid_post")

    def _put(self, name, value):
        if name.endswith((".q_normed", ".k_normed")) and not isinstance(value, tuple):
            value = value.reshape(-1, value.shape[-1] * (value.shape[-2] if value.dim() > 3 else 1))
        super()._put(name, value)

    def _sparse(self, prefix, mlp):
        router = mlp.gate if hasattr(mlp, "gate") else mlp.router
        self._on(router.register_forward_hook(lambda m, i, o: self._routed(prefix, m, i, o)))
        self._on(mlp.experts.register_forward_hook(lambda m, i, o: self._experts(prefix, m, i)))

    def _routed(self, prefix, router, inputs, output):
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        logits = torch.nn.functional.linear(x, router.weight, getattr(router, "bias", None))
        self._put(prefix + "moe.router_logits", logits)
        self._margin(logits, router.top_k)

    def _margin(self, logits, k):
        """How far the router was from choosing otherwise, or in another order."""
        ranked = logits.sort(-1, descending=True).values[:, :k + 1]
        gaps = ranked[:, :-1] - ranked[:, 1:]
        self.router_margin = min(self.router_margin, float(gaps.min()))

    def _experts(self, prefix, experts, inputs):
        if self.names != "all":
            return
        x, ids, weights = inputs
        weights, ids = by_weight(weights.to(x.dtype), ids)
        pre, up, post, out = self._inside(experts, x, ids)
        self._put(prefix + "moe.expert_ids", ids.to(torch.int32))
        for name, value in (("expert_weights", weights), ("pre", pre), ("up", up), ("post", post),
                            ("expert_out", out)):
            self._put(f"{prefix}moe.{name}", value.flatten(1))

    def _inside(self, experts, x, ids):
        pre, up = torch.einsum("th,tkoh->tko", x, experts.gate_up_proj[ids]).chunk(2, -1)
        post = experts.act_fn(pre) * up
        return pre, up, post, torch.einsum("tki,tkhi->tkh", post, experts.down_proj[ids])


class GptOssRecorder(ExpertRecorder):
    """Input-major experts with biases, gate and up in turns, clamped before they are multiplied."""

    def _inside(self, experts, x, ids):
        both = torch.einsum("th,tkho->tko", x, experts.gate_up_proj[ids]) + experts.gate_up_proj_bias[ids]
        pre, up = both[..., ::2], both[..., 1::2]
        gate = pre.clamp(max=experts.limit)
        post = (up.clamp(-experts.limit, experts.limit) + 1) * gate * torch.sigmoid(experts.alpha * gate)
        out = torch.einsum("tki,tkih->tkh", post, experts.down_proj[ids]) + experts.down_proj_bias[ids]
        return pre, up, post, out


class Llama4Recorder(ExpertRecorder):
    """Input-major experts whose inputs are weighed; a shared expert."""

    def _sparse(self, prefix, mlp):
        self._output(mlp.shared_expert, prefix + "moe.shared_out")
        self._on(mlp.register_forward_hook(lambda m, i, o: self._all(prefix, m, i)))

    def _all(self, prefix, mlp, inputs):
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        logits = torch.nn.functional.linear(x, mlp.router.weight)
        self._put(prefix + "moe.router_logits", logits)
        self._margin(logits, mlp.top_k)
        if self.names != "all":
            return
        chosen, ids = logits.topk(mlp.top_k, -1)
        weights, ids = by_weight(chosen.sigmoid(), ids)
        scaled = x[:, None] * weights[..., None]
        pre, up = torch.einsum("tkh,tkho->tko", scaled, mlp.experts.gate_up_proj[ids]).chunk(2, -1)
        post = mlp.experts.act_fn(pre) * up
        out = torch.einsum("tki,tkih->tkh", post, mlp.experts.down_proj[ids])
        self._put(prefix + "moe.expert_ids", ids.to(torch.int32))
        for name, value in (("expert_weights", weights), ("pre", pre), ("up", up), ("post", post),
                            ("expert_out", out)):
            self._put(f"{prefix}moe.{name}", value.flatten(1))


RECORDERS.update(mixtral=ExpertRecorder, qwen3_moe=ExpertRecorder, olmoe=ExpertRecorder,
                 gpt_oss=GptOssRecorder, llama4_text=Llama4Recorder)
