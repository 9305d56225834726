"""What ``olivine run --cache-demo`` shows on a terminal: a line for each head, and the policies beside each other."""

from collections import Counter

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from .policies import LAST

__all__ = ["survivor_lines", "favourites", "policy_table"]

HEIGHTS = " ▁▂▃▄▅▆▇█"
"""How many of a column's keys are kept as heavy hitters, none to all."""

RECENT = "░"
HEAVY_STYLE, RECENT_STYLE = "yellow", "blue"

MARGIN = len("head 00 ▕▏ 0.00")


def survivor_lines(run, shares, width):
    """A `rich.text.Text` for each head: the text from left to right, and which of its keys are still there.

    Parameters
    ----------
    run : policies.Run
        Of heavy hitters.
    shares : float [heads]
        Written at the end of each line.
    width : int
        Of a line, characters.
    """
    kept = ~np.isnan(run.sums)
    tokens = kept.shape[1]
    edges = np.linspace(0, tokens, min(max(width - MARGIN, 1), tokens) + 1).astype(int)
    lines = []
    for head, row in enumerate(kept):
        line = Text(f"head {head:2} ▕", no_wrap=True)
        for start, end in zip(edges, edges[1:]):
            if end > tokens - run.recent:
                line.append(RECENT, RECENT_STYLE)
            else:
                line.append(HEIGHTS[-(-(len(HEIGHTS) - 1) * int(row[start:end].sum()) // (end - start))], HEAVY_STYLE)
        lines.append(line.append(f"▏ {shares[head]:.2f}"))
    return lines


def favourites(run, tokens, count=8):
    """The tokens that most heads keep as heavy hitters: list of (token, heads)."""
    heavy = ~np.isnan(run.sums)[:, :len(tokens) - run.recent]
    heads = Counter()
    for row in heavy:
        heads.update({tokens[position] for position in np.flatnonzero(row)})
    return sorted(heads.items(), key=lambda item: (-item[1], item[0]))[:count]


def policy_table(runs, reference, mass):
    """The policies as a `rich.table.Table`; the first run is what the others' bytes are compared with.

    ``reference`` is the float context [T, hidden], ``mass`` what `policies.full` gives.
    """
    cut = max(run.keys for run in runs[1:])
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
                  title=f"Errors are of the attention's output, relative to float attention to all keys: mean from "
                        f"token {cut} on, where keys are missing, and of the last {LAST}")
    table.add_column("policy", no_wrap=True)
    for name in ("keys a\ntoken sees", "attention\nkept", "error", f"error,\nlast {LAST}", "bytes read\na step",
                 "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        errors = run.errors(reference)
        table.add_row(run.name, str(run.keys), f"{run.attention_kept(mass)[:, cut:].mean():.3f}",
                      f"{errors[cut:].mean():.4f}", f"{errors[-LAST:].mean():.4f}", f"{run.bytes_read:,}",
                      f"{run.bytes_read / runs[0].bytes_read:.3f}")
    return table
