"""What the cache's controller asks of the mover: contents of blocks, copied on the bus."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = ["MoveKind", "MoveCommand", "MoveAnswer"]


class MoveKind(enum.Enum, shape=1):
    COPY = 0
    """The first ``places`` places of a block, in all its pages."""
    PLACE = 1
    """One place, in all pages of a block."""


MoveCommand = data.StructLayout({
    "kind": MoveKind,
    "zero": unsigned(1),            # COPY: the other places become zeros, they are not left as they are
    "source": unsigned(48), "target": unsigned(48),     # first bytes of blocks
    "places": unsigned(16),         # COPY: 0 to L
    "source_place": unsigned(16), "target_place": unsigned(16),     # PLACE
})

MoveAnswer = data.StructLayout({
    "ok": unsigned(1),              # all write responses are in, without an error
    "address": unsigned(48),        # of the first read or write that failed
})
