"""Every hook point of a Hugging Face model (Llama, Mistral, Qwen2, GPT-2), and how far they may be off.

`record(model, prompts)` runs the prompts one by one in the model's own type with eager attention and
gives {hook point: values}, rows in prompt order; scores and patterns are flat: per row N heads, each
with its visible keys, oldest first. `floors` measures the noise of fp32: the same model in float64,
with the rope frequencies as they are and one ulp to either side, which another correct powf gives.
"""
import contextlib
import copy
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

torch.set_grad_enabled(False)

LLAMA = dict(base="model", layers="layers", embed="embed_tokens", pos=None, final="norm",
             norms=("input_layernorm", "post_attention_layernorm"), attn="self_attn", out="o_proj",
             down="down_proj", fused=None)
GPT2 = dict(base="transformer", layers="h", embed="wte", pos="wpe", final="ln_f",
            norms=("ln_1", "ln_2"), attn="attn", out="c_proj", down="c_proj", fused="c_attn")


RECORDERS = {}  # by model_type; filled by the other hf_*_points


def load(folder, attention="eager"):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                attn_implementation=attention,
                                                experts_implementation="eager").eval()


class Recorder:
    """Hooks on one model. While `names` is not empty, the points in it (all, if it is "all") are kept."""

    def __init__(self, model):
        self.model, self.names, self.points = model, (), {}
        self.arch = arch = self._arch()
        base = getattr(model, arch["base"])
        self.layers = getattr(base, arch["layers"])
        self._handles = []
        self._output(getattr(base, arch["embed"]), "embed")
        if arch["pos"]:
            self._output(getattr(base, arch["pos"]), "pos_embed")
        for i, layer in enumerate(self.layers):
            self._block(f"blocks.{i}.", layer)
        self._norm(getattr(base, arch["final"]), "final_norm")
        self._on(model.register_forward_hook(lambda m, i, o: self._put("logits", o.logits)))
        self._patch_attention()

    def _arch(self):
        return GPT2 if self.model.config.model_type == "gpt2" else LLAMA

    def close(self):
        for handle in self._handles:
            handle.remove()
        self._module.eager_attention_forward = self._eager

    def take(self):
        """What was kept since the last call, as {name: array}."""
        taken = {name: torch.cat(parts).numpy() for name, parts in self.points.items()}
        self.points = {}
        return taken

    def _on(self, handle):
        self._handles.append(handle)

    def _put(self, name, value):
        if self.names == "all" or name in self.names:
            value = value[0] if isinstance(value, tuple) else value
            value = value.reshape(value.shape[-2], -1) if value.dim() > 1 else value
            self.points.setdefault(name, []).append(value.detach().clone())

    def _output(self, module, name, part=slice(None)):
        def hook(m, inputs, output):
            self._put(name, (output[0] if isinstance(output, tuple) else output)[..., part])
        self._on(module.register_forward_hook(hook))

    def _input(self, module, name):
        def hook(m, args, kwargs):
            self._put(name, args[0] if args else kwargs["hidden_states"])
        self._on(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _norm(self, module, name):
        def hook(m, inputs, output):
            x = inputs[0]
            if isinstance(m, torch.nn.LayerNorm):
                square = x.var(-1, unbiased=False, keepdim=True) + m.eps
            else:
                square = x.pow(2).mean(-1, keepdim=True) + getattr(m, "variance_epsilon", getattr(m, "eps", 0))
            self._put(name, output)
            self._put(name + ".scale", square.sqrt())
        self._on(module.register_forward_hook(hook))

    def _block(self, prefix, layer):
        arch = self.arch
        attn, mlp = getattr(layer, arch["attn"]), layer.mlp
        norms = [getattr(layer, n) for n in arch["norms"]]
        self._input(layer, prefix + "resid_pre")
        self._norm(norms[0], prefix + "attn_norm")
        if arch["fused"]:
            width = self.model.config.hidden_size
            for n, x in enumerate("qkv"):
                part = slice(n * width, (n + 1) * width)
                self._output(getattr(attn, arch["fused"]), f"{prefix}attn.{x}", part)
        else:
            for x in "qkv":
                self._output(getattr(attn, x + "_proj"), f"{prefix}attn.{x}")
        self._input(getattr(attn, arch["out"]), prefix + "attn.z")
        self._output(getattr(attn, arch["out"]), prefix + "attn.out")
        self._input(norms[1], prefix + "resid_mid")
        self._norm(norms[1], prefix + "mlp_norm")
        self._output(mlp.c_fc if arch["fused"] else mlp.gate_proj, prefix + "mlp.pre")
        if not arch["fused"]:
            self._output(mlp.up_proj, prefix + "mlp.up")
        self._input(getattr(mlp, arch["down"]), prefix + "mlp.post")
        self._output(mlp, prefix + "mlp.out")
        self._output(layer, prefix + "resid_post")

    def _patch_attention(self):
        attn = getattr(self.layers[0], self.arch["attn"])
        self._module = sys.modules[type(attn).__module__]
        self._eager = self._module.eager_attention_forward

        def eager(module, query, key, value, attention_mask, scaling=None, **kwargs):
            out = self._eager(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
            if self.names == "all":
                self._attention(module, query, key, attention_mask, scaling, out[1],
                                kwargs.get("softcap"))
            return out
        self._module.eager_attention_forward = eager

    def _attention(self, module, query, key, mask, scaling, pattern, softcap=None):
        prefix = f"blocks.{module.layer_idx}.attn."
        self._put(prefix + "q_rot", query[0].transpose(0, 1).flatten(1))
        self._put(prefix + "k_rot", key[0].transpose(0, 1).flatten(1))
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        scores = (query @ keys.transpose(2, 3) * scaling)[0]
        scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
        n_rows, n_keys = scores.shape[1:]
        seen = torch.ones(n_rows, n_keys).tril(n_keys - n_rows).bool()
        if mask is not None:
            seen &= mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
        for row in range(n_rows):
            self._put(prefix + "scores", scores[:, row, seen[row]].flatten())
            self._put(prefix + "pattern", pattern[0][:, row, seen[row]].flatten())


def reset_rope(model):
    """Dynamic rope keeps state between calls: every sequence starts from fresh frequencies."""
    for m in model.modules():
        if hasattr(m, "original_inv_freq") and hasattr(m, "max_seq_len_cached"):
            m.inv_freq, m.max_seq_len_cached = m.original_inv_freq.clone(), m.original_max_seq_len


@contextlib.contextmanager
def recorder_of(model):
    recorder = RECORDERS.get(model.config.model_type, Recorder)(model)
    try:
        yield recorder
    finally:
        recorder.close()


def record(model, prompts):
    """{hook point: array} of all rows of the prompts (lists of token ids)."""
    with recorder_of(model) as recorder:
        recorder.names = "all"
        for tokens in prompts:
            reset_rope(model)
            model(input_ids=torch.tensor([tokens]), use_cache=False)
        return recorder.take()


def decode(model, prompts, n, names, forced=None):
    """n tokens after each prompt on the cache, greedy or as forced: the tokens of each prompt, the
    points in `names` of their rows, and the least distance of a chosen logit from the next one (or 50
    times that of a router's choice)."""
    generated, margin = [], np.inf
    with recorder_of(model) as recorder:
        for i, tokens in enumerate(prompts):
            reset_rope(model)
            cache = DynamicCache(config=model.config)
            recorder.names, ids = (), []
            logits = model(torch.tensor([tokens]), past_key_values=cache, use_cache=True).logits[0, -1]
            recorder.names = names
            for j in range(n):
                best = torch.topk(logits, 2)
                margin = min(margin, float(best.values[0] - best.values[1]))
                ids.append(int(best.indices[0]) if forced is None else forced[i][j])
                logits = model(torch.tensor([[ids[-1]]]), past_key_values=cache,
                               use_cache=True).logits[0, -1]
            generated.append(ids)
        return generated, recorder.take(), min(margin, 50 * getattr(recorder, "router_margin", np.inf))


@contextlib.contextmanager
def rope_off_by(model, ulps):
    """Every inv_freq moved to its next fp32 value up (1) or down (-1)."""
    def step(t):
        t = t.to(torch.float)
        return torch.where(t == 1.0, t, torch.nextafter(t, t + ulps))

    def moved(module, forward):
        def call(*args, **kwargs):
            out = forward(*args, **kwargs)  # lets dynamic frequencies settle
            kept, module.inv_freq = module.inv_freq, step(module.inv_freq)
            out = forward(*args, **kwargs)
            module.inv_freq = kept
            return out
        return call
    modules = [m for m in model.modules() if hasattr(m, "inv_freq")] if ulps else []
    for m in modules:
        m.forward = moved(m, m.forward)
    try:
        yield
    finally:
        for m in modules:
            del m.forward


@contextlib.contextmanager
def upcasts_to_float64():
    """Norms and softmax ask for torch.float32 by name; rope angles use torch.float and stay fp32,
    which is part of their definition."""
    kept, torch.float32 = torch.float32, torch.float64
    try:
        yield
    finally:
        torch.float32 = kept


def error(a, b):
    """max|a - b| over the rms of b; infinity where shapes differ or a value is not finite."""
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if a.shape != b.shape or not np.isfinite(a).all():
        return np.inf
    worst = np.abs(a - b).max(initial=0.0)
    return float(worst / np.sqrt(np.mean(b * b))) if worst else 0.0


def floors(model, run, points):
    """{name: noise floor} of `points`, which `run(model)` gave for the fp32 model."""
    model = copy.deepcopy(model).double()
    worst = dict.fromkeys(points, 0.0)
    for ulps in (0, 1, -1) if any(hasattr(m, "inv_freq") for m in model.modules()) else (0,):
        with rope_off_by(model, ulps), upcasts_to_float64():
            wide = run(model)
        for name in points:
            if points[name].dtype == np.int32:
                assert (wide[name] == points[name]).all(), name
                continue
            assert wide[name].dtype == np.float64, name
            worst[name] = max(worst[name], error(points[name], wide[name]))
    return worst
