"""What an engine did in each cycle of a job, from the harness's activity log."""

from dataclasses import dataclass

import numpy as np
from olivine.control.job import Activity, Stall

__all__ = ["ActivityTrace", "read_activity"]


@dataclass(frozen=True)
class ActivityTrace:
    """Activity as runs of equal cycles.

    Parameters
    ----------
    starts : int64 [runs]
        First cycle of each run; cycle 0 accepts the descriptor.
    values : int64 [runs]
        The `Activity` word of each run.
    cycles : int
        Cycle in which the status was taken.
    """

    starts: np.ndarray
    values: np.ndarray
    cycles: int

    def field(self, name):
        """One field of every run, int64 [runs]."""
        field = Activity[name]
        return self.values >> field.offset & (1 << field.width) - 1

    @property
    def lengths(self):
        """Cycles of every run, int64 [runs]."""
        return np.diff(self.starts, append=self.cycles)

    def per_cycle(self, name):
        """One field for each cycle, from `starts` [0] on."""
        return np.repeat(self.field(name), self.lengths)

    def array_state(self):
        """What the array does in every run, int64 [runs].

        `Stall.NONE` where it takes a step, another `Stall` where it does not for that cause, and -1
        where there is no cause: before and after the job.
        """
        stall = self.field("stall")
        waiting = np.where((self.field("busy") != 0) & (stall != Stall.NONE.value), stall, -1)
        return np.where(self.field("step") != 0, Stall.NONE.value, waiting)

    def slices(self, values):
        """Merge neighbouring runs of equal ``values`` [runs]: yields (start, length, value)."""
        if not len(values):
            return
        edges = np.flatnonzero(np.diff(values)) + 1
        first = np.concatenate([[0], edges])
        starts = self.starts[first]
        lengths = np.diff(starts, append=self.cycles)
        yield from zip(starts.tolist(), lengths.tolist(), values[first].tolist(), strict=True)


def read_activity(path):
    """The traces of a log, one for each job that ended. What an engine counts in a cycle lies above what is traced."""
    traces, starts, values = [], [], []
    traced = (1 << Activity["useful"].offset) - 1
    for line in open(path):
        word, _, rest = line.partition(" ")
        if word == "job":
            starts, values = [], []
        elif word == "end":
            traces.append(ActivityTrace(np.array(starts, np.int64), np.array(values, np.int64), int(rest)))
        else:
            starts.append(int(word))
            values.append(int(rest, 16) & traced)
    return traces
