#!/usr/bin/env python3
"""Prints what the shipped model must be able to do: induction scores per head, greedy samples.

    python3 check_model.py [FOLDER]
"""
import os
import sys

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "model")


@torch.no_grad()
def induction(model, n_prompts=32, period=50):
    """Mean attention from each token of the second run to the token after its first occurrence."""
    generator = torch.Generator().manual_seed(7)
    run = torch.randint(1, model.config.vocab_size, (n_prompts, period), generator=generator)
    out = model(torch.cat([run, run], 1), output_attentions=True)
    query = torch.arange(period, 2 * period)
    return [a[:, :, query, query - period + 1].mean((0, 2)) for a in out.attentions]


@torch.no_grad()
def greedy(model, tokenizer, text, n=40):
    ids = tokenizer.encode(text).ids
    for _ in range(n):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return tokenizer.decode(ids)


def main():
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    tokenizer = Tokenizer.from_file(os.path.join(FOLDER, "tokenizer.json"))
    for layer, heads in enumerate(induction(model)):
        print(f"layer {layer}:", " ".join(f"{float(h):.3f}" for h in heads))
    for text in ("The package manager", "To install a new kernel,", "The maintainer of a package",
                 "If you want to"):
        print(repr(greedy(model, tokenizer, text)))


main()
