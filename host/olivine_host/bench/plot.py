"""Utilisation over the time of a job, as a picture."""

from pathlib import Path

import numpy as np
from olivine.control.job import Stall

from .perfetto import PRODUCTS, activities

__all__ = ["RATES", "shares", "write_plot"]

BINS = 200

COLOURS = {Stall.NONE: "#4c956c", Stall.LANE: "#e07a5f", Stall.ROW: "#f2cc8f", Stall.DRAIN: "#81b3d2",
           Stall.OUTPUT: "#9d79bc", Stall.DONE: "#cccccc", Stall.SOFTMAX: "#5c5470"}

VALUES = "#2c6e49"
"""Steps of P V, apart from those of Q K^T."""


RATES = {"read bus": "read_beat", "write bus": "write_beat", "softmax": "exp", "output": "output"}
"""Curves of the lower picture, and their fields of `Activity`; the last two are of attention."""

RATE_COLOURS = ("#33658a", "#d1495b", "#5c5470", "#edae49")


def shares(trace, bins=BINS):
    """Shares of every bin of a job's time.

    Returns
    -------
    edges : int64 [bins + 1]
        Cycles between which a bin lies.
    array : dict of Stall to float [bins]
        Share of the bin's cycles in which the array took a step (`Stall.NONE`) or did not for a cause.
    rates : dict of str to float [bins]
        Share of the bin's cycles with a beat, by ``"read bus"`` and ``"write bus"``, with a word of
        probabilities by ``"softmax"`` and of results by ``"output"``.
    values : float [bins]
        Share of the bin's cycles in which the array took a step of P V.
    """
    first, cycles = int(trace.starts[0]), trace.cycles
    bins = min(bins, cycles - first)
    edges = np.linspace(first, cycles, bins + 1).astype(np.int64)
    lengths = np.diff(edges)

    def share(active):
        return np.add.reduceat(active.astype(np.int64), edges[:-1] - first) / lengths

    states = np.repeat(trace.array_state(), trace.lengths)
    array = {cause: share(states == cause.value) for cause in activities()}
    rates = {name: share(trace.per_cycle(field)) for name, field in RATES.items()}
    return edges, array, rates, share(trace.per_cycle("step") & trace.per_cycle("values"))


def write_plot(path, trace, title, attention=False):
    """Write the picture of one job; the ending of ``path`` names its kind (``.png``, ``.svg``, ``.pdf``)."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    edges, array, rates, values = shares(trace)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(11, 6), height_ratios=(3, 2),
                                             layout="constrained")
    names = activities(attention)
    areas = [(names[cause], COLOURS[cause], share) for cause, share in array.items() if share.any()]
    if attention:
        areas = [(PRODUCTS[1], VALUES, values), (PRODUCTS[0], COLOURS[Stall.NONE], array[Stall.NONE] - values),
                 *(area for area in areas if area[0] != names[Stall.NONE])]
    # A step is drawn up to the next point: the last bin needs one more.
    above.stackplot(edges, *(np.append(share, share[-1]) for _, _, share in areas), step="post",
                    colors=[colour for _, colour, _ in areas], labels=[label for label, _, _ in areas])
    above.set(ylabel="array, share of cycles", ylim=(0, 1), title=title)
    for (name, share), colour in zip(rates.items(), RATE_COLOURS):
        if attention or name.endswith("bus"):
            below.step(edges, np.append(share, share[-1]), where="post", color=colour, linewidth=1.2, label=name)
    below.set(ylabel="words per cycle", ylim=(0, 1.05), xlabel="cycle", xlim=(edges[0], edges[-1]))
    for axes in (above, below):
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        axes.grid(alpha=.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
