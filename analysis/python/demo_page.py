"""The page of demo_report.py: SVG drawings in one HTML file that loads nothing."""
import html
import os

import numpy as np

STOPS = [(246, 248, 251), (212, 228, 243), (140, 190, 221), (55, 135, 192), (8, 48, 107)]
INK, QUIET, LINE, ACCENT = "#1b2733", "#5c6b7a", "#d7dee6", "#e4572e"
SERIES = ["#2868a8", "#d1762b", "#3a8f62", "#8a5aa8", "#7a7a7a"]
WORDS = {
    "attention": "On a run of {} tokens, and the same again (prompt {}). Each row is a token, and shows "
                 "how it spreads its attention over the tokens before it. In the second run the weight "
                 "lies on the token after the earlier occurrence.",
    "scores": "Mean attention from the tokens of the second run to the token after their first "
              "occurrence; the strongest head is framed.",
    "norms": "Length of the residual stream (<code>resid_post</code>), median over tokens; the thin line "
             "spans the 10th to the 90th percentile.",
}
STYLE = f"""
body {{ margin: 0; background: #f6f8fa; color: {INK};
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }}
main {{ max-width: 900px; margin: 0 auto; padding: 32px 20px 48px; }}
h1 {{ font-size: 28px; line-height: 1.2; margin: 0 0 8px; }}
h2 {{ font-size: 19px; margin: 0 0 4px; }}
section {{ background: #fff; border: 1px solid {LINE}; border-radius: 8px; padding: 20px 22px;
  margin: 20px 0; }}
p {{ margin: 0 0 12px; max-width: 70ch; }}
.quiet {{ color: {QUIET}; font-size: 14px; }}
code {{ font: 0.92em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }}
svg {{ display: block; width: 100%; height: auto; font-family: inherit; }}
svg text {{ fill: {INK}; }}
svg .mono {{ font-family: ui-monospace, "DejaVu Sans Mono", monospace; }}
svg .quiet {{ fill: {QUIET}; }}
"""


def shade(value):
    """Colour of a value in 0..1, white to dark blue."""
    at = min(max(float(value), 0.0), 1.0) * (len(STOPS) - 1)
    i = min(int(at), len(STOPS) - 2)
    mixed = (round(a + (b - a) * (at - i)) for a, b in zip(STOPS[i], STOPS[i + 1]))
    return "#%02x%02x%02x" % tuple(mixed)


def text(x, y, content, size=12, anchor="start", kind="", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'class="{kind}" {more}>{html.escape(str(content))}</text>')


def rect(x, y, width, height, fill, title="", more=""):
    inside = f"<title>{html.escape(title)}</title>" if title else ""
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" '
            f"{more}>{inside}</rect>")


def line(x1, y1, x2, y2, colour=LINE, width=1.0, more=""):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}" {more}/>')


def drawing(width, height, parts, label):
    return (f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{html.escape(label)}">'
            + "".join(parts) + "</svg>")


def shown(piece):
    """A token's text as a label: spaces and line ends visible, not longer than 12 characters."""
    piece = piece.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    return piece if len(piece) <= 12 else piece[:11] + "…"


def colour_bar(x, y, width, label):
    steps = 64
    parts = [rect(x + i * width / steps, y, width / steps + 0.5, 10, shade(i / (steps - 1)))
             for i in range(steps)]
    parts.append(rect(x, y, width, 10, "none", more=f'stroke="{LINE}"'))
    parts += [text(x + v * width, y + 24, f"{v:g}", 11, "middle", "quiet") for v in (0, 0.5, 1)]
    return parts + [text(x + width / 2, y - 7, label, 11, "middle", "quiet")]


def heat_map(found):
    """[T, T] cells, tokens along both sides, the place of induction between two lines."""
    n, size, left, top = len(found.pattern), 720, 118, 96
    cell = size / n
    label = min(11.0, cell * 0.85)
    corners = f"{left},{top} {left + size},{top + size} {left},{top + size}"
    parts = [f'<polygon points="{corners}" fill="{shade(0)}"/>']
    for q in range(n):
        parts.append(text(left - 6, top + (q + 0.5) * cell + label * 0.35, shown(found.pieces[q]), label,
                          "end", "mono"))
        x, y = left + (q + 0.65) * cell, top - 6
        parts.append(text(x, y, shown(found.pieces[q]), label, "start", "mono",
                          f'transform="rotate(-60 {x:.1f} {y:.1f})"'))
        for k in range(q + 1):
            value = found.pattern[q, k]
            if value >= 0.01:
                title = f"{shown(found.pieces[q])} looks at {shown(found.pieces[k])} ({k}): {value:.2f}"
                parts.append(rect(left + k * cell, top + q * cell, cell, cell, shade(value), title))
    half = found.period * cell
    parts += [line(left, top + half, left + half, top + half, QUIET, 1, 'stroke-dasharray="2 3"'),
              *induction_lines(found.period, n, cell, left, top),
              rect(left, top, size, size, "none", more=f'stroke="{LINE}"'),
              text(left + size - 12, top + 22, "key: the token looked at →", 12, "end", "quiet"),
              text(left + size - 12, top + 40, "↓ query: the token that looks", 12, "end", "quiet"),
              *colour_bar(left + size - 212, top + 84, 200, "attention"),
              line(left + size - 212, top + 134, left + size - 182, top + 134, ACCENT, 1.5),
              text(left + size - 174, top + 138, "what followed last time", 12, "start", "quiet")]
    return drawing(left + size + 20, top + size + 10, parts, "Attention of the strongest induction head")


def induction_lines(period, n, cell, left, top):
    """Two lines along the cells (query q, key q - period + 1) of the second run."""
    parts = []
    for side in (0, 1):
        x1, y1 = left + 2 * side * cell, top + period * cell
        x2, y2 = left + (n - period + 2 * side) * cell, top + n * cell
        parts.append(line(x1, y1, x2, y2, ACCENT, 1.5))
    return parts


def score_grid(found):
    """One block of layers x heads for every kind of repeated prompt."""
    width, left, cell_h, gap = 860, 70, 34, 40
    kinds = list(found.scores.items())
    block = (width - left - gap * (len(kinds) - 1)) / len(kinds)
    parts = []
    for b, (kind, scores) in enumerate(kinds):
        x0, cell_w = left + b * (block + gap), block / scores.shape[1]
        parts.append(text(x0, 14, kind, 13, more='font-weight="600"'))
        for h in range(scores.shape[1]):
            parts.append(text(x0 + (h + 0.5) * cell_w, 36, f"head {h}", 11, "middle", "quiet"))
        for i, row in enumerate(scores):
            for h, value in enumerate(row):
                best = (found.layers[i], h) == (found.layer, found.head)
                border = f'stroke="{ACCENT if best else "#fff"}" stroke-width="2"'
                parts.append(rect(x0 + h * cell_w + 2, 44 + i * cell_h + 2, cell_w - 4, cell_h - 4,
                                  shade(0.04 + 0.96 * value), more=border))
                ink = "#fff" if value > 0.5 else INK
                parts.append(text(x0 + (h + 0.5) * cell_w, 44 + (i + 0.5) * cell_h + 4, f"{value:.2f}",
                                  12, "middle", more=f'style="fill:{ink}"'))
    for i, layer in enumerate(found.layers):
        parts.append(text(left - 10, 44 + (i + 0.5) * cell_h + 4, f"layer {layer}", 12, "end", "quiet"))
    return drawing(width, 50 + len(found.layers) * cell_h, parts, "Induction score of every head")


def ticks_to(top):
    """About five round numbers from 0 to beyond top."""
    step = 10.0 ** np.floor(np.log10(top / 4))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if m * step * 5 >= top)
    return np.arange(0, top + step * 0.999, step)


def norm_bars(found):
    """Per layer a bar for every kind of prompt: the median, and the middle 80 % as a line."""
    width, height, left, bottom, top = 860, 300, 60, 44, 34
    layers = len(next(iter(found.norms.values())))
    ticks = ticks_to(max(np.max(n) for n in found.norms.values()))
    y_of = lambda v: height - bottom - (height - bottom - top) * v / ticks[-1]
    parts = []
    for t in ticks:
        parts += [line(left, y_of(t), width, y_of(t)),
                  text(left - 8, y_of(t) + 4, f"{t:g}", 11, "end", "quiet")]
    group = (width - left) / layers
    bar = min(46.0, group * 0.7 / len(found.kinds))
    for k, kind in enumerate(found.kinds):
        for i, (low, middle, high) in enumerate(found.norms[kind]):
            x = left + (i + 0.5) * group + (k - len(found.kinds) / 2) * bar
            parts += [rect(x + 2, y_of(middle), bar - 4, y_of(0) - y_of(middle), SERIES[k % len(SERIES)],
                           f"{kind}, layer {i}: median {middle:.2f}, {low:.2f} to {high:.2f}"),
                      line(x + bar / 2, y_of(low), x + bar / 2, y_of(high), INK, 1.5),
                      text(x + bar / 2, y_of(high) - 5, f"{middle:.1f}", 11, "middle")]
        parts += [rect(left + k * 170, 4, 12, 12, SERIES[k % len(SERIES)]),
                  text(left + k * 170 + 18, 14, kind, 12)]
    for i in range(layers):
        parts.append(text(left + (i + 0.5) * group, height - bottom + 20, f"after layer {i}", 12,
                          "middle"))
    parts.append(text(14, (height - bottom + top) / 2, "L2 norm", 12, "middle", "quiet",
                      f'transform="rotate(-90 14 {(height - bottom + top) / 2:.0f})"'))
    return drawing(width, height, parts, "Residual norm after each layer")


def section(title, words, picture):
    return f"<section><h2>{title}</h2><p class=\"quiet\">{words}</p>{picture}</section>"


def page(found):
    best = {kind: s[found.layers.index(found.layer), found.head] for kind, s in found.scores.items()}
    scores = " and ".join(f"{value:.2f} on {html.escape(kind)}" for kind, value in best.items())
    name = html.escape(os.path.basename(str(found.model)) or "the model")
    head = f"head {found.head} of layer {found.layer}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>sonde: what the demo found</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><main>
<h1>What sonde found in {name}</h1>
<p>The strongest induction head is <strong>{head}</strong>: a token that occurred before looks at what
followed it then, with a mean attention of {scores}. Everything below was read from
<code>{html.escape(found.path)}</code>: {found.rows:,} rows of {found.n_points} hook points,
{len(found.sequences)} prompts.</p>
{section(f"Attention of {head}", WORDS["attention"].format(found.period, found.example),
         heat_map(found))}
{section("Induction score of every head", WORDS["scores"], score_grid(found))}
{section("Residual norm after each layer", WORDS["norms"], norm_bars(found))}
</main></body></html>
"""
