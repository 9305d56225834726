"""How engines ask the cache what a handle holds, and tell it what they have done."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from .descriptor import GENERATION_BITS, LENGTH_BITS, SLOT_BITS, CachePolicy, CacheStatus
from .formats import BLOCK_BITS

__all__ = ["LookupRequest", "LookupAnswer", "EventKind", "CacheEvent"]

LookupRequest = data.StructLayout({
    "slot": unsigned(SLOT_BITS), "generation": unsigned(GENERATION_BITS),
    "index": unsigned(16),              # entry of the block table
})

LookupAnswer = data.StructLayout({
    "status": CacheStatus,              # OK, NO_SEQUENCE, STALE_HANDLE, BROKEN or SWAPPED; of the others nothing holds
    "present": unsigned(1),             # the table has this entry, and it is no hole
    "block": unsigned(BLOCK_BITS),
    "policy": CachePolicy,
    "length": unsigned(LENGTH_BITS), "reserved": unsigned(LENGTH_BITS),
    "appended": unsigned(16),           # heads whose keys and values of this step are written
    "summed": unsigned(16),             # heads whose sums have taken up this step, and which dropped their keys
    "before": unsigned(LENGTH_BITS),    # heavy hitters: cells ever used before this step
    "filled": unsigned(LENGTH_BITS),    # and with it
    "size": unsigned(LENGTH_BITS),      # window, or heavy
    "recent": unsigned(LENGTH_BITS), "chunk": unsigned(LENGTH_BITS),
})


class EventKind(enum.Enum, shape=2):
    """What an engine has done."""

    APPENDED = 0
    """The next head's keys and values of the step lie in memory: write responses are in."""
    SUMMED = 1
    """The next head's sums, positions and free cells lie in memory."""
    TOUCHED = 2
    """A job begins to add to the sequence's sums: should it fail, they are half added."""
    ENDED = 3
    """The job that touched sequences ended. If it ``failed``, those that it touched are broken."""


CacheEvent = data.StructLayout({"kind": EventKind, "failed": unsigned(1), "slot": unsigned(SLOT_BITS)})
