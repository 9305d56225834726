"""What every engine reports when a job ends: a code, where it went wrong, and its counters."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = ["StatusCode", "COUNTERS", "TALLIES", "JobStatus", "Stall", "EVENT_BITS", "Activity",
           "Window", "command", "span"]


class StatusCode(enum.Enum, shape=8):
    """Why a job ended. Anything but OK leaves what lies outside its destination as it was."""

    OK = 0
    BAD_FIELD = 1
    """A descriptor field holds a value that is not allowed; ``detail`` is the field's index."""
    GUARD_READ = 2
    """A read outside the windows was refused; ``address`` is its first byte."""
    GUARD_WRITE = 3
    """A write outside the windows was refused; ``address`` is its first byte."""
    READ_SLVERR = 4
    READ_DECERR = 5
    """The bus answered a read with an error; ``address`` is the beat's address."""
    WRITE_SLVERR = 6
    WRITE_DECERR = 7
    """The bus answered a write burst with an error; ``address`` is the burst's first address."""
    TIMEOUT = 8
    """The bus was silent for the configured number of cycles while something was outstanding."""
    BAD_ENTRY = 9
    """An entry of the job's table holds a value that is not allowed; ``detail`` is the field's index,
    ``address`` the entry's."""
    BAD_BASE = 10
    """A page does not start at a whole beat below the end of the address space; ``address`` is the page's."""
    BAD_SEGMENT = 11
    """A segment names places that its sequence does not have or has not written, or holds a value that is not allowed;
    ``detail`` is the field's index, ``address`` the segment's."""
    BAD_ROW = 12
    """A row of an append job names a place that its sequence did not reserve, or writes heads out of order; ``detail``
    is the field's index, ``address`` the row's."""
    REFUSED = 13
    """An operation on the cache was refused; ``detail`` is its `CacheStatus`. Nothing changed."""
    ABORTED = 14
    """The job was given up, by the host or because a job that it waited for failed."""


COUNTERS = {
    "cycles": "from the descriptor's acceptance to the last write response, cycles",
    "array_busy": "cycles in which the array took a step",
    "array_useful": "multiplies whose row and lane were valid",
    "beats_read": "beats taken on R",
    "beats_written": "beats given on W",
    "stall_lane": "cycles without a step for want of lane operands (weights)",
    "stall_row": "cycles without a step for want of row operands (activations)",
    "stall_drain": "cycles without a step because the shadow accumulators were still draining",
    "stall_output": "cycles without a step for want of room for results",
    "stall_softmax": "cycles without a step because the softmax still owes probabilities or factors",
}
"""Counters of a job, 48 bits each, by name."""

TALLIES = {
    "sat_row": "row operands outside 12 bits, saturated",
    "sat_sum": "finished sums outside 36 bits, saturated",
    "sat_output": "results outside their format, saturated",
    "illegal": "illegal outlier-victim bytes decoded as (0, 0)",
    "sat_score": "attention scores outside 16 bits, saturated",
}
"""Sticky event counts of a job, 32 bits each, saturating, by name: bad calibration must show."""

JobStatus = data.StructLayout({
    "code": StatusCode,
    "detail": unsigned(8),
    "address": unsigned(48),
    **{name: unsigned(48) for name in COUNTERS},
    **{name: unsigned(32) for name in TALLIES},
})


class Stall(enum.Enum, shape=3):
    """What keeps the array from taking a step in a cycle of a running job."""

    NONE = 0
    LANE = 1
    ROW = 2
    DRAIN = 3
    OUTPUT = 4
    DONE = 5
    """No step is left; results are on their way out."""
    SOFTMAX = 6
    """The softmax has not the probabilities yet that the step needs, or the factors of its page."""


EVENT_BITS = 16
"""Of what is counted in a cycle."""

Activity = data.StructLayout({
    "busy": unsigned(1),
    "step": unsigned(1),
    "stall": Stall,
    "drain": unsigned(1),
    "read_beat": unsigned(1),
    "write_beat": unsigned(1),
    "values": unsigned(1),
    "exp": unsigned(1),
    "output": unsigned(1),
    **{name: unsigned(EVENT_BITS) for name in ("useful", *TALLIES)},
})
"""What an engine does this cycle, for traces and for the core's counters: a job runs, the array takes a step (or why
not), the shadow accumulators drain, a beat moves on R, on W. Of attention: the step is of P V and not of Q K^T, the
softmax writes a word of probabilities, a word of results leaves. Then useful multiplies, and how many of each tally."""


def Window(addr_width):
    """One window of memory that the host opened: first and last byte, and what is allowed there."""
    return data.StructLayout({"first": unsigned(addr_width), "last": unsigned(addr_width),
                              "readable": unsigned(1), "writable": unsigned(1)})


def command(addr_width):
    """A transfer of ``bytes`` >= 1 consecutive bytes from ``addr``."""
    return data.StructLayout({"addr": unsigned(addr_width), "bytes": unsigned(32)})


def span(addr_width):
    """A transfer of the bytes from ``addr`` to ``last``, both among them: a `command` that was checked."""
    return data.StructLayout({"addr": unsigned(addr_width), "last": unsigned(addr_width)})
