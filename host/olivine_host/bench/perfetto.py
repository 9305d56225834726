"""Activity as a trace that Perfetto and Chrome's tracing page show: one microsecond is one cycle."""

import json
from pathlib import Path

import numpy as np
from olivine.control.job import Stall

__all__ = ["ACTIVITIES", "trace_events", "write_trace"]

ACTIVITIES = {Stall.NONE: "step", Stall.LANE: "no weights", Stall.ROW: "no rows", Stall.DRAIN: "draining",
              Stall.OUTPUT: "no room for results", Stall.DONE: "results on their way"}
"""What the array's track says, by the cause of the stall."""

TRACKS = ("job", "array", "drain", "read bus", "write bus")

WINDOWS = 400
"""Points of the utilisation curves, at most."""


def _slice(track, name, start, length):
    return {"name": name, "cat": track, "ph": "X", "ts": start, "dur": length, "pid": 1,
            "tid": TRACKS.index(track) + 1}


def trace_events(trace, title):
    """Events of one job.

    Slices on the tracks `TRACKS`: the job, what the array does or why it does nothing, the drain of the
    shadow accumulators, beats on either bus; and curves of the utilisation of array and buses.

    Parameters
    ----------
    trace : ActivityTrace
    title : str

    Returns
    -------
    list of dict
    """
    events = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": title}}]
    for number, track in enumerate(TRACKS, 1):
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": track}})
        events.append({"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": number,
                       "args": {"sort_index": number}})
    events.append(_slice("job", title, 0, trace.cycles))
    events += [_slice("array", ACTIVITIES[Stall(value)], start, length)
               for start, length, value in trace.slices(trace.array_state()) if value >= 0]
    for track, field in (("drain", "drain"), ("read bus", "read_beat"), ("write bus", "write_beat")):
        events += [_slice(track, "drain" if track == "drain" else "beats", start, length)
                   for start, length, value in trace.slices(trace.field(field)) if value]
    window = max(1, -(-trace.cycles // WINDOWS))
    for name, field in (("array", "step"), ("read bus", "read_beat"), ("write bus", "write_beat")):
        active = trace.per_cycle(field)
        edges = np.arange(0, len(active), window)
        share = np.add.reduceat(active, edges) / np.diff(edges, append=len(active))
        events += [{"name": f"{name} in use", "ph": "C", "ts": int(edge + trace.starts[0]), "pid": 1,
                    "args": {"share": round(float(value), 3)}} for edge, value in zip(edges, share)]
    return events


def write_trace(path, trace, title):
    """Write the trace of one job, see `trace_events`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"traceEvents": trace_events(trace, title), "displayTimeUnit": "ns",
                                "otherData": {"unit": "1 us is 1 cycle"}}) + "\n")
