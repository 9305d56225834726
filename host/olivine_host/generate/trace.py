"""What the core does in every cycle of its programs, for Perfetto: the log of its activity, and the events."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from olivine.control.instruction import Unit
from olivine.control.job import Stall
from olivine.core.activity import CoreActivity

__all__ = ["ARRAY", "CoreTrace", "read_core_activity", "trace_events", "write_trace"]

ARRAY = {Stall.LANE: "no weights or keys", Stall.ROW: "no rows", Stall.DRAIN: "draining",
         Stall.OUTPUT: "no room for results", Stall.DONE: "results on their way", Stall.SOFTMAX: "softmax at work"}
"""Why the array takes no step, in the words of the array's track."""

STEPS = {0: "linear", 1: "attention"}
"""Whose step it is, by the field ``attends``."""

WINDOWS = 400
"""Points of the curves, at most."""


@dataclass(frozen=True)
class CoreTrace:
    """Activity as runs of equal cycles.

    Parameters
    ----------
    starts, values : int64 [runs]
        First cycle and `CoreActivity` of each run.
    marks : list of int
        Cycles in which a step of the batch was handed over.
    """

    starts: np.ndarray
    values: np.ndarray
    marks: list

    @property
    def lengths(self):
        """Cycles of every run; of the last, after which nothing changed any more, 1."""
        return np.diff(self.starts, append=self.starts[-1] + 1) if len(self.starts) else self.starts

    def field(self, name):
        """One field of every run, int64 [runs]."""
        place = CoreActivity[name]
        return self.values >> place.offset & (1 << place.width) - 1

    def slices(self, values):
        """(start, length, value) of neighbouring runs of equal ``values`` [runs] together."""
        if not len(values):
            return
        first = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
        ends = np.append(self.starts[first[1:]], self.starts[-1] + 1)
        yield from zip(self.starts[first].tolist(), (ends - self.starts[first]).tolist(), values[first].tolist())


def read_core_activity(path):
    """The `CoreTrace` of a log that `SimulatedCore` left."""
    starts, values, marks = [], [], []
    with open(path) as log:
        for line in log:
            word, rest = line.split()
            if word == "mark":
                marks.append(int(rest))
            else:
                starts.append(int(word))
                values.append(int(rest, 16))
    return CoreTrace(np.array(starts, np.int64), np.array(values, np.int64), marks)


def trace_events(trace, title):
    """Events: tracks for programs and steps of the batch, each unit, the array, either bus; curves of their use."""
    tracks = ["programs", *(unit.name.lower() for unit in Unit), "array", "read bus", "write bus"]
    events = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": title}}]
    for number, track in enumerate(tracks, 1):
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": track}})
        events.append({"name": "thread_sort_index", "ph": "M", "pid": 1, "tid": number,
                       "args": {"sort_index": number}})

    def show(track, values, names):
        for start, length, value in trace.slices(values):
            if value in names:
                events.append({"name": names[value], "cat": track, "ph": "X", "ts": start, "dur": length, "pid": 1,
                               "tid": tracks.index(track) + 1})

    programs = [(start, length) for start, length, running in trace.slices(trace.field("running")) if running]
    # A step's program is the first that starts after its mark.
    steps = dict(zip(np.searchsorted([start for start, _ in programs], trace.marks).tolist(), range(len(trace.marks))))
    for number, (start, length) in enumerate(programs):
        name = f"step {steps[number]}" if number in steps else "other program"
        events.append({"name": name, "cat": "programs", "ph": "X", "ts": start, "dur": length, "pid": 1, "tid": 1})
    for number, mark in enumerate(trace.marks):
        events.append({"name": f"step {number}", "ph": "i", "s": "p", "ts": mark, "pid": 1, "tid": 1})
    units, ready = trace.field("units"), trace.field("ready")
    for unit in Unit:
        at_work = units >> unit.value & 1
        show(unit.name.lower(), at_work | (at_work & ready >> unit.value & 1) << 1, {1: "waits for rows", 3: "at work"})
    step, stall = trace.field("step"), trace.field("stall")
    state = np.where(step != 0, len(Stall) + trace.field("attends"), stall)
    show("array", state, {cause.value: name for cause, name in ARRAY.items()}
         | {len(Stall) + owner: name for owner, name in STEPS.items()})
    for track, name in (("read bus", "read_beat"), ("write bus", "write_beat")):
        show(track, trace.field(name), {1: "beats"})
    events += _curves(trace)
    return events


def _curves(trace):
    if not len(trace.starts):
        return []
    begin, end = int(trace.starts[0]), int(trace.starts[-1]) + 1
    edges = np.linspace(begin, end, min(WINDOWS, end - begin) + 1).astype(np.int64)
    events = []
    for name, field in (("array", "step"), ("read bus", "read_beat"), ("write bus", "write_beat")):
        active = trace.field(field)
        # Active cycles up to each edge, by linear interpolation between changes: exact, the value is constant there.
        done = np.interp(edges, np.append(trace.starts, end), np.append(0, np.cumsum(active * trace.lengths)))
        events += [{"name": f"{name} in use", "ph": "C", "ts": int(at), "pid": 1, "args": {"share": round(share, 3)}}
                   for at, share in zip(edges, (np.diff(done) / np.diff(edges)).tolist())]
    return events


def write_trace(path, trace, title):
    """Write `trace_events` as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"traceEvents": trace_events(trace, title), "displayTimeUnit": "ns",
                                "otherData": {"unit": "1 us is 1 cycle"}}) + "\n")
