#!/usr/bin/env python3
"""The Python peers of peers.py: a process that keeps one model loaded and runs what it is told.

    peers_torch.py MODEL_FOLDER WORKLOAD.json OUT_PREFIX THREADS PEER

PEER is hf, hf-pt, hf-h5, tl, tl-stop, nnsight, gen or gen-pt. Once loaded and warm it prints a
line {"ready": versions}; then each line read from standard input is one run, answered by a line
{"tokens", "seconds", "bytes"}; seconds are of the run and of writing its files, not of loading.
A peer that is not installed answers {"missing": why}. Batches are padded as users of each do it.
"""
import glob
import json
import os
import sys
import time

BATCH = 8
NEW_TOKENS = 64


def batches(sequences):
    """Groups of BATCH sequences of like length."""
    ordered = sorted(sequences, key=len)
    return [ordered[i:i + BATCH] for i in range(0, len(ordered), BATCH)]


def padded(torch, group, left=False):
    """ids and mask, [sequences, longest]."""
    width = max(len(ids) for ids in group)
    ids = torch.zeros((len(group), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(group):
        where = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[row, where] = torch.tensor(sequence)
        mask[row, where] = 1
    return ids, mask


class Peer:
    """What every peer has: the Hugging Face model, the workload, where files go."""

    def __init__(self, folder, work, out, threads):
        import torch
        import transformers
        torch.set_num_threads(threads)
        transformers.logging.set_verbosity_error()
        self.torch, self.out = torch, out
        self.sequences, self.prompts, self.layer = work["dump"], work["gen"], work["layer"]
        self.versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa").eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.n_layers = self.model.config.num_hidden_layers
        self.setup()

    def setup(self):
        pass

    def save(self, tensors, name):
        self.torch.save([t.bfloat16() for t in tensors], f"{self.out}.{name}.pt")

    def run(self, sequences):
        """Rows that were run."""
        with self.torch.inference_mode():
            for number, group in enumerate(batches(sequences)):
                ids, mask = padded(self.torch, group)
                self.batch(number, ids, mask)
        return sum(map(len, sequences))

    def hidden_states(self, ids, mask):
        """The base model: no logits, as a dump needs none."""
        return self.model.model(input_ids=ids, attention_mask=mask, output_hidden_states=True,
                                use_cache=False).hidden_states[1:]


class Forward(Peer):
    def batch(self, number, ids, mask):
        self.model.model(input_ids=ids, attention_mask=mask, use_cache=False)


class TorchSave(Peer):
    def batch(self, number, ids, mask):
        self.save([h[mask.bool()] for h in self.hidden_states(ids, mask)], number)


class Gzip(Peer):
    """h5py as people write it: a dataset a layer, shuffle and gzip."""

    def run(self, sequences):
        import h5py
        rows, width = sum(map(len, sequences)), self.model.config.hidden_size
        with h5py.File(self.out + ".h5", "w") as file:
            self.sets = [file.create_dataset(f"layer_{i}", (rows, width), dtype="i2", shuffle=True,
                                             chunks=(min(512, rows), width), compression="gzip",
                                             compression_opts=1) for i in range(self.n_layers)]
            self.at = 0
            return super().run(sequences)

    def batch(self, number, ids, mask):
        n = int(mask.sum())
        for dataset, hidden in zip(self.sets, self.hidden_states(ids, mask)):
            rows = hidden[mask.bool()].bfloat16().view(self.torch.int16).numpy()
            dataset[self.at:self.at + n] = rows
        self.at += n


class Lens(Peer):
    """TransformerLens over the same weights."""
    stop = False

    def setup(self):
        from importlib.metadata import version
        from transformer_lens.model_bridge import TransformerBridge
        self.versions += ", transformer-lens " + version("transformer-lens")
        self.bridge = TransformerBridge.boot_transformers(
            "HuggingFaceTB/SmolLM2-135M", hf_model=self.model, tokenizer=self.tokenizer,
            dtype=self.torch.float32, device="cpu").eval()

    def wanted(self, name):
        return name.endswith("hook_resid_post")

    def batch(self, number, ids, mask):
        _, cache = self.bridge.run_with_cache(ids, attention_mask=mask, names_filter=self.wanted)
        self.save([cache[name][mask.bool()] for name in cache.keys()], number)


class LensStop(Lens):
    """One layer, and nothing behind it."""

    def batch(self, number, ids, mask):
        name = f"blocks.{self.layer}.hook_resid_post"
        _, cache = self.bridge.run_with_cache(ids, attention_mask=mask, stop_at_layer=self.layer + 1,
                                              names_filter=lambda n: n == name)
        self.save([cache[name][mask.bool()]], number)


class Nnsight(Peer):
    def setup(self):
        import nnsight
        self.versions += f", nnsight {nnsight.__version__}"
        self.wrapped = nnsight.LanguageModel(self.model, tokenizer=self.tokenizer)

    def batch(self, number, ids, mask):
        import nnsight
        wrapped, n = self.wrapped, self.n_layers
        with wrapped.trace({"input_ids": ids, "attention_mask": mask}):
            layers = nnsight.save([wrapped.model.layers[i].output for i in range(n)])
        rows = [(h[0] if isinstance(h, tuple) else h)[mask.bool()] for h in layers]
        self.save(rows, number)


class Generate(Peer):
    """All prompts as one batch; tokens are those generated."""
    keep = False

    def run(self, sequences):
        prompts = self.prompts if sequences is self.sequences else sequences
        ids, mask = padded(self.torch, prompts, left=True)
        with self.torch.inference_mode():
            out = self.model.generate(input_ids=ids, attention_mask=mask, do_sample=False,
                                      max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
                                      return_dict_in_generate=True, pad_token_id=0,
                                      output_hidden_states=self.keep)
        if self.keep:
            self.torch.save([[h.bfloat16() for h in step] for step in out.hidden_states],
                            self.out + ".gen.pt")
        return len(prompts) * NEW_TOKENS


class GenerateSave(Generate):
    keep = True


PEERS = {"hf": Forward, "hf-pt": TorchSave, "hf-h5": Gzip, "tl": Lens, "tl-stop": LensStop,
         "nnsight": Nnsight, "gen": Generate, "gen-pt": GenerateSave}


def answer(value):
    print(json.dumps(value), flush=True)


def remove_files(out):
    for path in glob.glob(out + ".*"):
        os.remove(path)


def main():
    folder, workload, out, threads, name = sys.argv[1:]
    with open(workload) as file:
        work = json.load(file)
    try:
        peer = PEERS[name](folder, work, out, int(threads))
        if not isinstance(peer, Generate):
            peer.run(sorted(work["dump"], key=len)[:2])
    except ImportError as error:
        answer({"missing": str(error)})
        return
    answer({"ready": peer.versions})
    for _ in sys.stdin:
        remove_files(out)
        begin = time.perf_counter()
        tokens = peer.run(peer.sequences)
        seconds = time.perf_counter() - begin
        size = sum(os.path.getsize(path) for path in glob.glob(out + ".*"))
        answer({"tokens": tokens, "seconds": seconds, "bytes": size})
    remove_files(out)


main()
