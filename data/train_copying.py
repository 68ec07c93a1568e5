#!/usr/bin/env python3
"""Second stage of the model of this folder: python3 train_copying.py [--steps N] [--seed S]

Continues from model/ as train.py left it. Half of every batch (a quarter, in the second half of the
stage) is runs of random tokens, again and again, drawn from an alphabet that grows to the whole
vocabulary; the rest is text, some of it passages twice.
So few tokens hardly make a model look back by itself (after the first stage no head did), so two heads
are shown where to look: PREVIOUS at the token before, INDUCTION at the token after the earlier
occurrence, by the mean of -log(attention). That help fades out before the end; what is left is what
predicting the next token keeps.
"""
import argparse
import json
import os

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

import train as first
from corpus import documents

LENGTH, BATCH, EVERY = 128, 12, 50
PREVIOUS, INDUCTION = (0, 0), (1, 4)  # layer, head
MUON_PEAK, ADAMW_PEAK, HELP = 5e-3, 1e-3, 0.3


def alphabet_of(progress):
    """64 tokens at first, all from 40 % on."""
    return int(min(first.VOCAB - 1, 64 * 2 ** (20 * max(0.0, progress - 0.12))))


def sample_row(train, order, progress, generator):
    """LENGTH + 1 tokens, and the length of the random run that they repeat (0: text)."""
    kind = float(torch.rand(1, generator=generator))
    at = int(torch.randint(0, len(train) - LENGTH - 1, (1,), generator=generator))
    random_share = 0.5 if progress < 0.5 else 0.25
    if kind < random_share:
        period = int(torch.randint(8, 65, (1,), generator=generator))
        run = order[torch.randint(0, alphabet_of(progress), (period,), generator=generator)]
        return run.repeat(LENGTH // period + 1)[:LENGTH + 1], period
    if kind < random_share + 0.15:
        half = int(torch.randint(20, 65, (1,), generator=generator))
        return torch.cat([train[at:at + half], train[at:at + LENGTH + 1 - half]]), 0
    return train[at:at + LENGTH + 1], 0


def help_loss(attentions, periods):
    layer, head = PREVIOUS
    query = torch.arange(1, LENGTH)
    loss = -(attentions[layer][:, head, query, query - 1] + 1e-4).log().mean()
    layer, head = INDUCTION
    looked = []
    for row, period in enumerate(periods):
        query = torch.arange(period, min(2 * period, LENGTH))
        if period:
            looked.append(attentions[layer][row, head, query, query - period + 1])
    return loss - (torch.cat(looked) + 1e-4).log().mean() if looked else loss


def loss_of(model, rows, periods, help_weight):
    out = model(rows[:, :-1], output_attentions=True)
    targets = rows[:, 1:].clone()
    for row, period in zip(targets, periods):
        row[:max(0, period - 1)] = first.IGNORED
    loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), targets.flatten(),
                                             ignore_index=first.IGNORED)
    return loss + help_weight * help_loss(out.attentions, periods) if help_weight else loss


def step_of(model, optimisers, batch, progress):
    rows, periods = zip(*batch)
    fade = min(1.0, max(0.0, (0.85 - progress) / 0.25))
    loss = loss_of(model, torch.stack(rows), periods, HELP * fade)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser, peak in zip(optimisers, (MUON_PEAK, ADAMW_PEAK)):
        ramp = min(1.0, progress / 0.03, (1 - progress) / 0.6 + 0.02)
        optimiser.param_groups[0]["lr"] = peak * ramp
        optimiser.step()
        optimiser.zero_grad()
    return float(loss.detach())


@torch.no_grad()
def score(model):
    """Mean attention of the INDUCTION head to the token after the earlier occurrence."""
    run = torch.randint(1, first.VOCAB, (8, 50), generator=torch.Generator().manual_seed(3))
    query = torch.arange(50, 100)
    attention = model(torch.cat([run, run], 1), output_attentions=True).attentions[INDUCTION[0]]
    return float(attention[:, INDUCTION[1], query, query - 49].mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = LlamaForCausalLM.from_pretrained(first.OUT, dtype=torch.float32,
                                             attn_implementation="eager")
    tokenizer = Tokenizer.from_file(os.path.join(first.OUT, "tokenizer.json"))
    train, held_out = first.tokens_of(tokenizer, documents())
    generator = torch.Generator().manual_seed(args.seed)
    order = 1 + torch.randperm(first.VOCAB - 1, generator=generator)
    optimisers = [optimiser for optimiser, _ in first.optimisers_of(model)]
    log = {"seed": args.seed, "steps": args.steps, "curve": []}
    for step in range(1, args.steps + 1):
        progress = step / args.steps
        batch = [sample_row(train, order, progress, generator) for _ in range(BATCH)]
        loss = step_of(model, optimisers, batch, progress)
        if step % EVERY == 0:
            log["curve"].append({"step": step, "train": round(loss, 4),
                                 "held_out": round(first.validate(model, held_out), 4),
                                 "induction": round(score(model), 4)})
            print(json.dumps(log["curve"][-1]), flush=True)
    first.save(model, tokenizer, "copying", log)


if __name__ == "__main__":
    main()
