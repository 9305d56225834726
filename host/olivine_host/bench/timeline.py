"""A job cycle by cycle, as a picture: one lane for each part of the engine, one bar for what it does."""

from pathlib import Path

import numpy as np
from olivine.control.job import Stall

from .perfetto import PRODUCTS, SLICES, TRACKS, activities, array_names
from .plot import COLOURS, RATE_COLOURS, VALUES

__all__ = ["LANES", "bars", "cycle_range", "write_timeline"]

LANES = ("read bus", "array", "drain", "softmax", "output", "write bus")
"""From the top down, in the order in which a page goes through them."""

ATTENTION_LANES = ("softmax", "output")

LANE_COLOURS = {"read bus": RATE_COLOURS[0], "drain": COLOURS[Stall.DRAIN], "softmax": RATE_COLOURS[2],
                "output": RATE_COLOURS[3], "write bus": RATE_COLOURS[1]}

RASTERIZED = 2000
"""From this many bars of a kind on they are pixels, in vector formats too."""


def cycle_range(text):
    """``(first, last)`` of ``FIRST:LAST``; what is left out is None.

    Raises
    ------
    ValueError
        If it is no range.
    """
    first, colon, last = text.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (first, last)):
        raise ValueError(f"cycles is {text!r}: must be FIRST:LAST, either may be left out")
    first, last = (int(part) if part else None for part in (first, last))
    if last is not None and last <= (first or 0):
        raise ValueError(f"cycles is {text!r}: LAST must be above FIRST")
    return first, last


def bars(trace, attention=False, cycles=(None, None)):
    """What every lane does, and when.

    Parameters
    ----------
    trace : ActivityTrace
    attention : bool
        Tell steps of Q K^T from those of P V.
    cycles : (int or None, int or None)
        First cycle that is of interest, and first that is no more.

    Returns
    -------
    list of (str, str, int, int)
        Lane, what it does, first cycle and number of cycles, cut at the ends of ``cycles``. The array's are its
        steps, and why it takes none.

    Raises
    ------
    ValueError
        If the job has none of the cycles.
    """
    first, last = _within(trace, cycles)
    state, names = array_names(trace, attention)
    found = []
    for lane in LANES:
        if not attention and lane in ATTENTION_LANES:
            continue
        runs = state if lane == "array" else np.where(trace.field(TRACKS[lane]) != 0, 0, -1)
        of_lane = names if lane == "array" else {0: SLICES[lane]}
        for start, length, value in trace.slices(runs):
            begin, end = max(start, first), min(start + length, last)
            if value >= 0 and end > begin:
                found.append((lane, of_lane[value], begin, end - begin))
    return found


def _within(trace, cycles):
    """The part of a job that ``cycles`` asks for, as two numbers."""
    first, last = cycles
    first = 0 if first is None else first
    last = trace.cycles if last is None else min(last, trace.cycles)
    if first >= last:
        raise ValueError(f"cycles begins at {first}: the job has {trace.cycles}")
    return first, last


def _colours(attention):
    """Colours by lane and what it does, steps first."""
    colours = {("array", PRODUCTS[0]): COLOURS[Stall.NONE], ("array", PRODUCTS[1]): VALUES}
    colours |= {("array", name): COLOURS[cause] for cause, name in activities(attention).items()}
    return colours | {(lane, SLICES[lane]): colour for lane, colour in LANE_COLOURS.items()}


def write_timeline(path, trace, title, attention=False, cycles=(None, None)):
    """Draw `bars`; the ending of ``path`` names the kind of picture (``.png``, ``.svg``, ``.pdf``).

    A bar reaches from its first cycle to the one after its last. Bars that are narrower than a pixel mix
    their colours: choose fewer cycles, or see `olivine_host.bench.plot` for shares.
    """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    found, (first, last) = bars(trace, attention, cycles), _within(trace, cycles)
    lanes = [lane for lane in LANES if attention or lane not in ATTENTION_LANES]
    colours = _colours(attention)
    spans = {}
    for lane, what, start, length in found:
        spans.setdefault((lane, what), []).append((start, length))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of identifiers in the file follow from this, so that the same trace gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "olivine"}):
        figure, axes = pyplot.subplots(figsize=(11, .4 * len(lanes) + 1), layout="constrained")
        for (lane, what), of_kind in spans.items():
            axes.broken_barh(of_kind, (len(lanes) - lanes.index(lane) - .9, .8), color=colours[lane, what],
                             linewidth=0, rasterized=len(of_kind) > RASTERIZED)
        axes.set(xlim=(first, last), ylim=(0, len(lanes)), xlabel="cycle",
                 yticks=[len(lanes) - index - .5 for index in range(len(lanes))], yticklabels=lanes)
        axes.set_title(title, fontsize="medium")
        axes.grid(axis="x", alpha=.3)
        kinds = sorted((key for key in spans if key[0] == "array"), key=list(colours).index)
        axes.legend(handles=[Patch(color=colours[key], label=key[1]) for key in kinds], title="array",
                    loc="upper left", bbox_to_anchor=(1, 1), fontsize="small")
        figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
        pyplot.close(figure)
