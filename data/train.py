#!/usr/bin/env python3
"""Trains the small language model of this folder, first stage: python3 train.py [--steps N] [--seed S]

    apt-get install debian-handbook debian-reference-en developers-reference debian-policy
    pip install torch transformers tokenizers safetensors

One thread, float32; the weights are saved as bfloat16. A third of every batch repeats itself (random
token runs, and passages of the text, written twice). train_copying.py is the second stage.
"""
import argparse
import json
import math
import os
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from corpus import documents

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "model")
VOCAB, LENGTH, BATCH = 3072, 256, 8
EVERY, IGNORED, FIRST = 100, -100, "text"
CONFIG = dict(vocab_size=VOCAB, hidden_size=192, intermediate_size=512, num_hidden_layers=3,
              num_attention_heads=6, num_key_value_heads=3, head_dim=32, hidden_act="silu",
              max_position_embeddings=1024, rms_norm_eps=1e-5, rope_theta=10000.0,
              tie_word_embeddings=True, attention_bias=False, mlp_bias=False,
              bos_token_id=None, eos_token_id=0, pad_token_id=None)


def make_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def repeated_tokens(generator):
    """A run of 16 to 120 random tokens, again and again, and the length of the run."""
    period = int(torch.randint(16, 121, (1,), generator=generator))
    run = torch.randint(1, VOCAB, (period,), generator=generator)
    return run.repeat(LENGTH // period + 1)[:LENGTH + 1], period


def sample_row(train, generator):
    """LENGTH + 1 tokens, and how many of the first are not to be learnt."""
    kind = float(torch.rand(1, generator=generator))
    at = int(torch.randint(0, len(train) - LENGTH - 1, (1,), generator=generator))
    if kind < 0.2:
        return repeated_tokens(generator)
    if kind < 0.33:
        first = int(torch.randint(64, 161, (1,), generator=generator))
        return torch.cat([train[at:at + first], train[at:at + LENGTH + 1 - first]]), 0
    return train[at:at + LENGTH + 1], 0


def sample_batch(train, generator):
    rows, unlearnt = zip(*(sample_row(train, generator) for _ in range(BATCH)))
    rows = torch.stack(rows)
    targets = rows[:, 1:].clone()
    for row, n in zip(targets, unlearnt):
        row[:max(0, n - 1)] = IGNORED
    return rows[:, :-1], targets


def loss_of(model, inputs, targets):
    logits = model(inputs).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(),
                                             ignore_index=IGNORED)


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal by five Newton-Schulz iterations: for matrices."""

    def __init__(self, parameters, momentum=0.95, weight_decay=0.1):
        super().__init__(parameters, dict(lr=0.0, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-0.2 * group["lr"] * math.sqrt(max(p.shape)))


def orthogonal(g):
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def optimisers_of(model):
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [(Muon(matrices), 5e-3),
            (torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.01), 3e-3)]


@torch.no_grad()
def validate(model, held_out):
    rows = held_out[:(len(held_out) - 1) // LENGTH * LENGTH].view(-1, LENGTH)[:48]
    return float(loss_of(model, rows[:, :-1], rows[:, 1:]))


def rate(progress, peak):
    warm = min(1.0, progress / 0.02)
    return peak * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def save(model, tokenizer, stage, log):
    os.makedirs(OUT, exist_ok=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(OUT)
    tokenizer.save(os.path.join(OUT, "tokenizer.json"))
    with open(os.path.join(OUT, "tokenizer_config.json"), "w", encoding="utf-8") as out:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>",
                   "model_max_length": 1024}, out, indent=1)
    path, logs = os.path.join(HERE, "training.json"), {}
    if stage != FIRST:
        with open(path, encoding="utf-8") as before:
            logs = json.load(before)
    with open(path, "w", encoding="utf-8") as out:
        json.dump(logs | {stage: log}, out, indent=1)


def tokens_of(tokenizer, texts):
    """Token ids for training, and those held out: the last 3 %."""
    ids = [i for t in texts for i in tokenizer.encode(t).ids + [0]]
    split = int(len(ids) * 0.97)
    return torch.tensor(ids[:split]), torch.tensor(ids[split:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    texts = list(documents())
    tokenizer = make_tokenizer(texts)
    train, held_out = tokens_of(tokenizer, texts)
    n_tokens = len(train) + len(held_out)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{sum(map(len, texts))} characters, {n_tokens} tokens, {parameters} parameters", flush=True)
    optimisers = optimisers_of(model)
    generator = torch.Generator().manual_seed(args.seed)
    log = {"seed": args.seed, "characters": sum(map(len, texts)), "tokens": n_tokens,
           "parameters": parameters, "curve": []}
    begin = time.time()
    for step in range(1, args.steps + 1):
        loss = loss_of(model, *sample_batch(train, generator))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, peak in optimisers:
            optimiser.param_groups[0]["lr"] = rate(step / args.steps, peak)
            optimiser.step()
            optimiser.zero_grad()
        if step % EVERY == 0:
            entry = {"step": step, "train": round(float(loss), 4),
                     "held_out": round(validate(model, held_out), 4)}
            log["curve"].append(entry)
            print(entry, f"{step * BATCH * LENGTH / (time.time() - begin):.0f} tokens/s", flush=True)
            save(model, tokenizer, FIRST, log)
    log["steps"] = args.steps
    log["held_out"] = validate(model, held_out)
    save(model, tokenizer, FIRST, log)
    print("held-out loss", log["held_out"])


if __name__ == "__main__":
    main()
