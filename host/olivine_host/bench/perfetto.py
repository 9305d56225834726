"""Activity as a trace that Perfetto and Chrome's tracing page show: one microsecond is one cycle."""

import json
from pathlib import Path

import numpy as np
from olivine.control.job import Stall

__all__ = ["PRODUCTS", "TRACKS", "SLICES", "activities", "array_names", "trace_events", "write_trace"]

_ACTIVITIES = {Stall.NONE: "step", Stall.LANE: "no weights", Stall.ROW: "no rows", Stall.DRAIN: "draining",
               Stall.OUTPUT: "no room for results", Stall.DONE: "results on their way",
               Stall.SOFTMAX: "softmax at work"}

_WAITS = {Stall.LANE: "no page", Stall.ROW: "no queries", Stall.DONE: "no chunk"}
"""What the array waits for in attention, where that is not what it waits for in linear layers."""

PRODUCTS = {0: "QK", 1: "PV"}
"""What the array's track says of a step of attention: queries with keys, or probabilities with values."""

TRACKS = {"job": None, "array": None, "drain": "drain", "softmax": "exp", "output": "output",
          "read bus": "read_beat", "write bus": "write_beat"}
"""Tracks from the top down, and the field of `Activity` that some of them show."""

SLICES = {"drain": "drain", "softmax": "probabilities", "output": "results", "read bus": "beats",
          "write bus": "beats"}
"""What the slices of these tracks are called."""

WINDOWS = 400
"""Points of the utilisation curves, at most."""


def _slice(track, name, start, length):
    return {"name": name, "cat": track, "ph": "X", "ts": start, "dur": length, "pid": 1,
            "tid": list(TRACKS).index(track) + 1}


def activities(attention=False):
    """What the array's track says, by the cause of the stall."""
    return _ACTIVITIES | _WAITS if attention else _ACTIVITIES


def array_names(trace, attention=False):
    """`ActivityTrace.array_state`, of attention with the two products apart, and what the array's track says for
    each state."""
    state = trace.array_state()
    names = {cause.value: name for cause, name in activities(attention).items()}
    if attention:
        step = len(Stall) + trace.field("values")
        state = np.where(state == Stall.NONE.value, step, state)
        names |= {len(Stall) + values: name for values, name in PRODUCTS.items()}
    return state, names


def trace_events(trace, title, attention=False):
    """Events of one job.

    Slices on the tracks `TRACKS`: the job, what the array does or why it does nothing, the drain of the
    shadow accumulators, of attention the softmax and results that leave it, beats on either bus; and curves
    of the utilisation of array and buses.

    Parameters
    ----------
    trace : ActivityTrace
    title : str
    attention : bool
        The job is one of attention.

    Returns
    -------
    list of dict
    """
    events = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": title}}]
    for number, track in enumerate(TRACKS, 1):
        if not attention and track in ("softmax", "output"):
            continue
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": track}})
        events.append({"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": number,
                       "args": {"sort_index": number}})
    events.append(_slice("job", title, 0, trace.cycles))
    state, names = array_names(trace, attention)
    events += [_slice("array", names[value], start, length)
               for start, length, value in trace.slices(state) if value >= 0]
    for track, name in SLICES.items():
        events += [_slice(track, name, start, length)
                   for start, length, value in trace.slices(trace.field(TRACKS[track])) if value]
    window = max(1, -(-trace.cycles // WINDOWS))
    for name, field in (("array", "step"), ("read bus", "read_beat"), ("write bus", "write_beat")):
        active = trace.per_cycle(field)
        edges = np.arange(0, len(active), window)
        share = np.add.reduceat(active, edges) / np.diff(edges, append=len(active))
        events += [{"name": f"{name} in use", "ph": "C", "ts": int(edge + trace.starts[0]), "pid": 1,
                    "args": {"share": round(float(value), 3)}} for edge, value in zip(edges, share)]
    return events


def write_trace(path, trace, title, attention=False):
    """Write the trace of one job, see `trace_events`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"traceEvents": trace_events(trace, title, attention), "displayTimeUnit": "ns",
                                "otherData": {"unit": "1 us is 1 cycle"}}) + "\n")
