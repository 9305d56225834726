"""A first-in first-out queue."""

from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Queue"]

_BLOCK_BITS = 1024
"""From this many bits on, and `_BLOCK_DEPTH` entries, a queue lives in block RAM."""

_BLOCK_DEPTH = 32


class Queue(wiring.Component):
    """First-in first-out queue of streams.

    Small queues live in LUT RAM with an asynchronous read. From 32 entries and 1024 bits on they live
    in block RAM behind a register that is counted in ``depth``.

    Both ways one payload a cycle is sustained from a depth of 2 on; a queue of depth 1 moves one every
    other cycle, because ``i.ready`` never depends on ``o.ready``. ``o.valid`` never depends on ``o.ready``.

    Parameters
    ----------
    shape : shape-like
        Of the payload. It may have no bits: then only places are counted.
    depth : int
        Entries that fit when nothing is taken, at least 1.

    Attributes
    ----------
    latency : int
        Cycles from a transfer into an empty queue to ``o.valid``: 1, in block RAM 2.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Entries held. A payload counts from the cycle after it entered to the cycle in which it leaves.
    """

    def __init__(self, shape, depth):
        if not isinstance(depth, int) or isinstance(depth, bool):
            raise TypeError(f"queue depth must be a positive integer, not {depth!r}")
        if depth < 1:
            raise ValueError(f"queue depth must be at least 1, not {depth!r}")
        self.shape, self.depth = shape, depth
        self.width = Shape.cast(shape).width
        self.in_block_ram = depth >= _BLOCK_DEPTH and depth * self.width >= _BLOCK_BITS
        self.latency = 2 if self.in_block_ram else 1
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "level": Out(range(depth + 1))})

    def elaborate(self, platform):
        m = Module()
        if self.width == 0:
            return self._elaborate_count(m)
        kind = fifo.SyncFIFOBuffered if self.in_block_ram else fifo.SyncFIFO
        m.submodules.fifo = store = kind(width=self.width, depth=self.depth)
        m.d.comb += [
            store.w_data.eq(self.i.payload), store.w_en.eq(self.i.valid), self.i.ready.eq(store.w_rdy),
            self.o.payload.eq(store.r_data), self.o.valid.eq(store.r_rdy), store.r_en.eq(self.o.ready),
            self.level.eq(store.level),
        ]
        return m

    def _elaborate_count(self, m):
        """Payloads without bits: a counter is the whole queue, and there is no memory of width 0."""
        level = Signal.like(self.level)
        m.d.comb += [self.level.eq(level), self.i.ready.eq(level != self.depth), self.o.valid.eq(level != 0)]
        m.d.sync += level.eq(level + (self.i.valid & self.i.ready) - (self.o.valid & self.o.ready))
        return m
