"""Hook points of DeepSeek V2 and V3 in Hugging Face: latents, keys and values of the heads, and what
every chosen expert computes, in the order of falling weight."""
import torch

from hf_points import RECORDERS, Recorder


class LatentRecorder(Recorder):
    router_margin = float("inf")

    def _block(self, prefix, layer):
        attn = layer.self_attn
        self._input(layer, prefix + "resid_pre")
        self._norm(layer.input_layernorm, prefix + "attn_norm")
        if attn.q_lora_rank:
            self._output(attn.q_a_layernorm, prefix + "attn.q_latent")
        self._output(attn.q_b_proj if attn.q_lora_rank else attn.q_proj, prefix + "attn.q")
        self._output(attn.kv_a_layernorm, prefix + "attn.kv_latent")
        self._on(attn.kv_a_proj_with_mqa.register_forward_hook(
            lambda m, i, o: setattr(self, "k_pe", o[0, :, attn.kv_lora_rank:])))
        self._on(attn.kv_b_proj.register_forward_hook(
            lambda m, i, o: self._keys_and_values(prefix, attn, o)))
        self._input(attn.o_proj, prefix + "attn.z")
        self._output(attn.o_proj, prefix + "attn.out")
        self._input(layer.post_attention_layernorm, prefix + "resid_mid")
        self._norm(layer.post_attention_layernorm, prefix + "mlp_norm")
        if hasattr(layer.mlp, "experts"):
            self._output(layer.mlp.shared_experts, prefix + "moe.shared_out")
            self._on(layer.mlp.experts.register_forward_hook(
                lambda m, i, o: self._experts(prefix, m, i)))
            self._on(layer.mlp.gate.register_forward_hook(
                lambda m, i, o: self._routed(prefix, m, o)))
        else:
            self._output(layer.mlp.gate_proj, prefix + "mlp.pre")
            self._output(layer.mlp.up_proj, prefix + "mlp.up")
            self._input(layer.mlp.down_proj, prefix + "mlp.post")
        self._output(layer.mlp, prefix + "mlp.out")
        self._output(layer, prefix + "resid_post")

    def _keys_and_values(self, prefix, attn, both):
        if self.names != "all":
            return
        heads = self.model.config.num_attention_heads
        kv = both.reshape(-1, heads, attn.qk_nope_head_dim + attn.v_head_dim)
        k, v = kv.split((attn.qk_nope_head_dim, attn.v_head_dim), -1)
        k = torch.cat((k, self.k_pe[:, None].expand(-1, heads, -1)), -1)
        self._put(prefix + "attn.k", k.flatten(1))
        self._put(prefix + "attn.v", v.flatten(1))

    def _attention(self, module, query, key, mask, scaling, pattern):
        super()._attention(module, query, key, mask, scaling, pattern)
        self._put(f"blocks.{module.layer_idx}.attn.k_pe", key[0, 0, :, module.qk_nope_head_dim:])

    def _routed(self, prefix, gate, output):
        """How far the router was from choosing otherwise, or in another order."""
        logits, weights, ids = output
        self._put(prefix + "moe.router_logits", logits)
        scores = logits.sigmoid() if hasattr(gate, "e_score_correction_bias") else logits.softmax(-1)
        choice = scores + getattr(gate, "e_score_correction_bias", 0.0)
        groups = gate.num_group or 1
        if groups > 1 and getattr(gate, "topk_method", "") != "greedy":
            grouped = choice.reshape(len(choice), groups, -1)
            best = grouped.topk(2)[0].sum(-1) if choice is not scores else grouped.amax(-1)
            best = best.sort(-1, descending=True).values
            self._margin(best[:, gate.topk_group - 1] - best[:, gate.topk_group])
            kept = torch.zeros_like(choice, dtype=torch.bool).scatter(1, ids, True)
            open_groups = kept.reshape(grouped.shape).any(-1, keepdim=True).expand(grouped.shape)
            choice = choice.masked_fill(~open_groups.reshape(choice.shape), -torch.inf)
        ranked = choice.sort(-1, descending=True).values
        self._margin(ranked[:, gate.top_k - 1] - ranked[:, gate.top_k])
        order = scores.gather(1, ids).sort(-1, descending=True).values
        self._margin((order[:, :-1] - order[:, 1:]).amin(-1))

    def _margin(self, gaps):
        self.router_margin = min(self.router_margin, float(gaps.min()))

    def _experts(self, prefix, experts, inputs):
        if self.names != "all":
            return
        x, ids, weights = inputs
        order = weights.argsort(-1, descending=True)
        ids, weights = ids.gather(1, order), weights.gather(1, order)
        self._put(prefix + "moe.expert_ids", ids.to(torch.int32))
        self._put(prefix + "moe.expert_weights", weights)
        both = torch.einsum("th,tkoh->tko", x, experts.gate_up_proj[ids])
        pre, up = both.chunk(2, -1)
        post = experts.act_fn(pre) * up
        out = torch.einsum("tki,tkhi->tkh", post, experts.down_proj[ids])
        for name, value in (("pre", pre), ("up", up), ("post", post), ("expert_out", out)):
            self._put(f"{prefix}moe.{name}", value.flatten(1))


RECORDERS.update(deepseek_v2=LatentRecorder, deepseek_v3=LatentRecorder)
