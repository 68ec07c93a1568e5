#!/usr/bin/env python3
"""Shows what `make demo` found, all of it out of the capture file.

    python3 demo_report.py CAPTURE.h5 [REPORT.html]

Draws the attention of the strongest induction head, the induction score of every head and the norm of
the residual stream after every layer: in the terminal, and as a page with inline SVG that loads nothing.
The capture needs `blocks.*.attn.pattern` and `blocks.*.resid_post` of prompts with the metadata `kind`,
some of which are one run of tokens, twice.
"""
import os
import re
import shutil
import sys

import numpy as np

import sonde

QUANTILES = (10, 50, 90)


class Found:
    """Numbers of the report.

    kinds       kinds of prompts, in order of appearance
    scores      {kind of repeated prompt: [layers, heads]}: mean attention of the second run's tokens
                to the token after their first occurrence
    layer, head where the mean of these is greatest
    example     input index of the prompt that is drawn; pieces its tokens, period the length of its run
    pattern     [T, T] attention of that head on it: [query, key]
    norms       {kind: [layers, 3]}: 10th, 50th and 90th percentile of the L2 norm of resid_post
    """

    def __init__(self, capture):
        self.path = capture.path
        self.model = capture.attrs.get("model", "")
        self.rows, self.n_points = capture.n_rows, len(capture.points)
        table = capture.sequences_table(pandas=False)
        self.sequences = [int(s) for s in table["sequence"]]
        self.kind_of = dict(zip(self.sequences, table.get("kind", ["all"] * len(self.sequences))))
        self.kinds = list(dict.fromkeys(self.kind_of.values()))
        self.periods = {s: period_of(capture.tokens(s)) for s in self.sequences}
        self.layers = layers_of(capture, "attn.pattern")
        self._find_scores(capture)
        self._choose_example(capture)
        self._find_norms(capture)

    def _find_scores(self, capture):
        found = {}
        for s in self.sequences:
            if self.periods[s]:
                score = [induction(capture.pattern(i, s), self.periods[s]) for i in self.layers]
                found.setdefault(self.kind_of[s], []).append(score)
        if not found:
            raise sonde.CaptureError(f"{self.path}: no prompt is one run of tokens, twice")
        self.scores = {kind: np.mean(scores, 0) for kind, scores in found.items()}
        mean = np.mean(list(self.scores.values()), 0)
        at, self.head = (int(v) for v in np.unravel_index(np.argmax(mean), mean.shape))
        self.layer = self.layers[at]

    def _choose_example(self, capture):
        """Of the kind on which the head is strongest, the prompt that is nearest to 40 tokens."""
        at = self.layers.index(self.layer), self.head
        kind = max(self.scores, key=lambda k: self.scores[k][at])

        def rank(s):
            return self.kind_of[s] != kind, abs(2 * self.periods[s] - 40)
        self.example = min((s for s in self.sequences if self.periods[s]), key=rank)
        self.pieces, self.period = capture.pieces(self.example), self.periods[self.example]
        self.pattern = capture.pattern(self.layer, self.example)[self.head]

    def _find_norms(self, capture):
        self.norms = {kind: [] for kind in self.kinds}
        sequence = capture.rows_table(pandas=False)["sequence"]
        kinds = np.array([self.kind_of[int(s)] for s in sequence])
        for layer in layers_of(capture, "resid_post"):
            norm = np.linalg.norm(capture.rows(f"blocks.{layer}.resid_post"), axis=-1)
            for kind in self.kinds:
                self.norms[kind].append(np.percentile(norm[kinds == kind], QUANTILES))


def layers_of(capture, part):
    found = (re.fullmatch(rf"blocks\.(\d+)\.{re.escape(part)}", name) for name in capture.points)
    layers = sorted(int(m[1]) for m in found if m)
    if not layers:
        raise sonde.CaptureError(f"{capture.path}: no point blocks.*.{part}")
    return layers


def period_of(tokens):
    """Length of the run when the tokens are one run, twice; else 0."""
    half = len(tokens) // 2
    return half if half and np.array_equal(tokens[:half], tokens[half:]) else 0


def induction(pattern, period):
    """[heads]: mean attention from tokens of the second run to the token after the first occurrence."""
    query = np.arange(period, 2 * period)
    return pattern[:, query, query - period + 1].mean(1)


# ---- terminal -----------------------------------------------------------------------------------

RAMP = [(13, 17, 38), (28, 62, 120), (31, 128, 160), (80, 190, 140), (200, 224, 90), (255, 250, 200)]
SHADES = " ░▒▓█"


def ramp(value):
    """Colour of a value in 0..1, dark to bright: readable on any background, since cells are filled."""
    at = min(max(float(value), 0.0), 1.0) * (len(RAMP) - 1)
    i = min(int(at), len(RAMP) - 2)
    return tuple(round(a + (b - a) * (at - i)) for a, b in zip(RAMP[i], RAMP[i + 1]))


def code_of(colour, ground):
    """Escape code that sets the foreground (38) or the background (48)."""
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "\x1b[{};2;{};{};{}m".format(ground, *colour)
    r, g, b = (round(c / 51) for c in colour)
    return f"\x1b[{ground};5;{16 + 36 * r + 6 * g + b}m"


def heat_lines(pattern, colours):
    """Two queries a line as half blocks in colour; else a line a query, darker for more."""
    n = len(pattern)
    if not colours:
        level = np.minimum((pattern * len(SHADES)).astype(int), len(SHADES) - 1)
        return ["".join(SHADES[level[q, k]] if k <= q else "·" for k in range(n)) for q in range(n)]
    padded = np.vstack([pattern, np.zeros((n % 2, n))])
    lines = []
    for q in range(0, n, 2):
        cells = (code_of(ramp(padded[q, k]), 38) + code_of(ramp(padded[q + 1, k]), 48) + "▀"
                 for k in range(n))
        lines.append("".join(cells) + "\x1b[0m")
    return lines


def print_heat_map(found, colours, out):
    n = len(found.pattern)
    print(f"\nAttention of head {found.layer}.{found.head} over {n} tokens: a run of "
          f"{found.period}, and the same again", file=out)
    print("(down: query, across: key; the stripe looks at what followed last time)", file=out)
    for line in heat_lines(np.nan_to_num(found.pattern), colours):
        print("  " + line, file=out)
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    if colours:
        print("  " + " ".join(f"{code_of(ramp(s), 48)}  \x1b[0m {s:.2f}" for s in steps), file=out)
    else:
        print("  " + "  ".join(f"{c if c != ' ' else 'blank'} {i / len(SHADES):.1f}"
                               for i, c in enumerate(SHADES)) + " and more", file=out)


def print_scores(found, out):
    print("\nInduction score of every head: mean attention to the token after the earlier occurrence",
          file=out)
    for kind, scores in found.scores.items():
        heads = "".join(f"{h:>7}" for h in range(scores.shape[1]))
        print(f"  {kind:<18} head {heads}", file=out)
        for layer, row in zip(found.layers, scores):
            print(f"    {'layer ' + str(layer):<21}" + "".join(f"{v:7.2f}" for v in row), file=out)


def print_norms(found, out, width=40):
    print("\nResidual norm after each layer (median over tokens; 10th to 90th percentile)", file=out)
    top = max(np.max(norms) for norms in found.norms.values())
    for kind, norms in found.norms.items():
        for layer, (low, middle, high) in enumerate(norms):
            bar = "█" * max(1, round(width * middle / top))
            print(f"  {kind if layer == 0 else '':<18} layer {layer} {bar:<{width}} "
                  f"{middle:7.2f}  ({low:.2f} to {high:.2f})", file=out)


def print_report(found, out=sys.stdout):
    colours = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    if len(found.pattern) + 4 <= shutil.get_terminal_size().columns:
        print_heat_map(found, colours, out)
    print_scores(found, out)
    print_norms(found, out)


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print("usage: demo_report.py CAPTURE.h5 [REPORT.html]", file=sys.stderr)
        return 2
    with sonde.open(arguments[0]) as capture:
        found = Found(capture)
    print_report(found)
    if len(arguments) == 2:
        import demo_page
        with open(arguments[1], "w", encoding="utf-8") as out:
            out.write(demo_page.page(found))
        print(f"\nThe same with labels, for a browser: {arguments[1]}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (sonde.CaptureError, KeyError, OSError) as error:
        sys.exit(f"demo_report: {error}")
