"""Utilisation over the time of a job, as a picture."""

from pathlib import Path

import numpy as np
from olivine.control.job import Stall

from .perfetto import ACTIVITIES

__all__ = ["shares", "write_plot"]

BINS = 200

COLOURS = {Stall.NONE: "#4c956c", Stall.LANE: "#e07a5f", Stall.ROW: "#f2cc8f", Stall.DRAIN: "#81b3d2",
           Stall.OUTPUT: "#9d79bc", Stall.DONE: "#cccccc"}


def shares(trace, bins=BINS):
    """Shares of every bin of a job's time.

    Returns
    -------
    edges : int64 [bins + 1]
        Cycles between which a bin lies.
    array : dict of Stall to float [bins]
        Share of the bin's cycles in which the array took a step (`Stall.NONE`) or did not for a cause.
    buses : dict of str to float [bins]
        Share of the bin's cycles with a beat, by ``"read"`` and ``"write"``.
    """
    first, cycles = int(trace.starts[0]), trace.cycles
    bins = min(bins, cycles - first)
    edges = np.linspace(first, cycles, bins + 1).astype(np.int64)
    lengths = np.diff(edges)

    def share(active):
        return np.add.reduceat(active.astype(np.int64), edges[:-1] - first) / lengths

    states = np.repeat(trace.array_state(), trace.lengths)
    array = {cause: share(states == cause.value) for cause in ACTIVITIES}
    buses = {name: share(trace.per_cycle(f"{name}_beat")) for name in ("read", "write")}
    return edges, array, buses


def write_plot(path, trace, title):
    """Write the picture of one job; the ending of ``path`` names its kind (``.png``, ``.svg``, ``.pdf``)."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    edges, array, buses = shares(trace)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(11, 6), height_ratios=(3, 2),
                                             layout="constrained")
    seen = {cause: share for cause, share in array.items() if share.any()}
    # A step is drawn up to the next point: the last bin needs one more.
    above.stackplot(edges, *(np.append(share, share[-1]) for share in seen.values()), step="post",
                    colors=[COLOURS[cause] for cause in seen], labels=[ACTIVITIES[cause] for cause in seen])
    above.set(ylabel="array, share of cycles", ylim=(0, 1), title=title)
    for (name, share), colour in zip(buses.items(), ("#33658a", "#d1495b")):
        below.step(edges, np.append(share, share[-1]), where="post", color=colour, linewidth=1.2,
                   label=f"{name} bus")
    below.set(ylabel="bus, beats per cycle", ylim=(0, 1.05), xlabel="cycle", xlim=(edges[0], edges[-1]))
    for axes in (above, below):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        axes.grid(alpha=.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
