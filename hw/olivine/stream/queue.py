"""A first-in first-out queue."""

from amaranth.hdl import Module, Shape, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Queue"]

_BLOCK_BITS = 1024
"""From this many bits on, and `_BLOCK_DEPTH` entries, a queue lives in block RAM."""

_BLOCK_DEPTH = 32


class Queue(wiring.Component):
    """First-in first-out queue of streams.

    Small queues live in LUT RAM with an asynchronous read. From 32 entries and 1024 bits on they live
    in block RAM behind a register that is counted in ``depth``. Either has 2**n rows, of which ``depth`` are used.

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
        # Pointers have one bit more than a row's number: they differ in it alone when every row is taken.
        bits = ceil_log2(self.depth)
        m.submodules.memory = memory = Memory(shape=unsigned(self.width), depth=1 << bits, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        produce, consume = Signal(bits + 1), Signal(bits + 1)
        filled, enters, leaves = Signal(bits + 1), Signal(), Signal()
        m.d.comb += [
            filled.eq(produce - consume), enters.eq(self.i.valid & self.i.ready),
            write.addr.eq(produce[:bits]), write.data.eq(self.i.payload),
            # That something comes is known late. What is written before stands in a row that nobody reads yet.
            write.en.eq(self.i.ready), read.addr.eq(consume[:bits]),
        ]
        produce_after, consume_after = Signal.like(produce), Signal.like(consume)
        m.d.comb += [produce_after.eq(produce + 1), consume_after.eq(consume + 1)]
        # What moves is known late: it enables counters, and carries into none.
        with m.If(enters):
            m.d.sync += produce.eq(produce_after)
        with m.If(leaves):
            m.d.sync += consume.eq(consume_after)
        if not self.in_block_ram:
            # Both ends of a queue begin long paths, so what they say are registers.
            some, full, only, fills = Signal(), Signal(), Signal(), Signal()
            m.d.comb += [
                only.eq(consume_after == produce),
                fills.eq((produce_after ^ consume) == 1 << bits if self.depth == 1 << bits else
                         filled == self.depth - 1),
                self.o.valid.eq(some), leaves.eq(some & self.o.ready), self.o.payload.eq(read.data),
                self.i.ready.eq(~full), self.level.eq(filled),
            ]
            # A gate each: what enters and leaves is known late.
            m.d.sync += [some.eq(enters | some & ~(leaves & only)), full.eq(~leaves & (full | enters & fills))]
            return m
        # Written so that synthesis sees that a row is never read and written at once: what a block RAM would read then
        # is undefined, and to define it costs a LUT and more for each bit.
        word, held = Signal(self.width, reset_less=True), Signal()
        level = Signal(bits + 2)
        m.d.comb += [
            level.eq(filled + held), self.level.eq(level), self.i.ready.eq(level < self.depth),
            leaves.eq((produce != consume) & (~held | self.o.ready)),
            self.o.valid.eq(held), self.o.payload.eq(word),
        ]
        with m.If(leaves):
            m.d.sync += [word.eq(read.data), held.eq(1)]
        with m.Elif(self.o.ready):
            m.d.sync += held.eq(0)
        return m

    def _elaborate_count(self, m):
        """Payloads without bits: a counter is the whole queue, and there is no memory of width 0."""
        level = Signal.like(self.level)
        m.d.comb += [self.level.eq(level), self.i.ready.eq(level != self.depth), self.o.valid.eq(level != 0)]
        m.d.sync += level.eq(level + (self.i.valid & self.i.ready) - (self.o.valid & self.o.ready))
        return m
