"""Packets of elements from words of one length to words of another."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .queue import Queue

__all__ = ["Gearbox", "word"]

ROWS = 4
"""Rows of the store. Three would do for full rate (see `Gearbox`), a power of two is free to address."""

PACKETS = 4
"""Packet ends that the store may hold. Every one that is waiting makes a word ready, so that at full
rate there are never more than two."""


def word(element, length):
    """Layout of a word: ``count`` elements are valid, from element 0 on; ``last`` ends a packet."""
    return data.StructLayout({"data": data.ArrayLayout(element, length), "count": range(length + 1),
                              "last": unsigned(1)})


class Gearbox(wiring.Component):
    """Cuts packets of elements into words of another length.

    The elements of the input words (the first ``count`` of each, at least one, in the middle of a packet
    too) form a packet that ``last`` ends. They leave in words of ``take`` elements; the last word of
    a packet has the rest, and ``last``. Packets never share a word. Elements that are not used are 0.

    ::

             rotate to        banks, one a lane           rotate to      mask   register
        i -> the write  ->  [0][1][2] ... [lanes-1]  ->   element 0  ->  rest ->  o
             pointer        4 rows each                   (read pointer)
                            queue of packet ends   ->  elements left in the packet

    **Throughput**: one output word a cycle as long as there are elements, and one input word a cycle if
    ``take >= inputs``. The next packet enters while the last one leaves, with no bubble between them.
    The store takes a word when ``inputs`` elements are free; for the rates above it needs
    ``take + inputs - 1 + max(take, inputs)`` elements, which is below three rows.

    **Stalls**: ``i.ready`` depends on registers only; ``o`` is a register; so there is no combinational
    path between the two sides.

    **Cost**: two rotators of ``lanes`` elements, ``lanes`` memories of 4 elements with asynchronous read (LUT RAM),
    one word of registers. `synth_ecp5` on bytes: 553 LUTs for 8 to 8 elements, 1,567 for 8 to 16, 1,765 for 16 to 16.

    Parameters
    ----------
    element : shape-like
        Of an element; a byte by default.
    inputs, outputs : int
        Elements in an input word and in an output word, at least 1.

    Attributes
    ----------
    latency : int
        Cycles from the transfer that completes a word to its ``o.valid``: 2.
    lanes : int
        Elements in a row of the store: the larger of the two, rounded up to a power of two.
    capacity : int
        Elements in the store.

    Members
    -------
    i : In(stream) of `word` (element, inputs)
    o : Out(stream) of `word` (element, outputs)
    take : In(range(outputs + 1))
        Elements in an output word, 1 to ``outputs``. Constant from a packet's first word at ``i`` to
        its last at ``o``.
    """

    latency = 2

    def __init__(self, element=unsigned(8), inputs=8, outputs=8):
        for name, value in (("inputs", inputs), ("outputs", outputs)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"gearbox {name} must be a positive integer, not {value!r}")
            if value < 1:
                raise ValueError(f"gearbox {name} must be at least 1, not {value!r}")
        if Shape.cast(element).width == 0:
            raise ValueError(f"gearbox element must have bits, not {element!r}")
        self.element, self.inputs, self.outputs = element, inputs, outputs
        self.lanes = 1 << ceil_log2(max(inputs, outputs))
        self.capacity = ROWS * self.lanes
        super().__init__({
            "i": In(stream.Signature(word(element, inputs))),
            "o": Out(stream.Signature(word(element, outputs))),
            "take": In(range(outputs + 1)),
        })
        # Pointers count elements; one bit more than the store needs tells a full one from an empty one.
        self._head, self._tail = Signal(range(2 * self.capacity)), Signal(range(2 * self.capacity))
        self._level = Signal(range(self.capacity + 1))

    def elaborate(self, platform):
        m = Module()
        head, tail, level = self._head, self._tail, self._level
        m.submodules.ends = ends = Queue(head.shape(), PACKETS)

        # In: a word enters as soon as any word would fit, whatever leaves in the same cycle.
        enter = Signal()
        after = Signal.like(tail)
        m.d.comb += [
            self.i.ready.eq((level <= self.capacity - self.inputs) & ends.i.ready),
            enter.eq(self.i.valid & self.i.ready),
            after.eq(tail + self.i.payload.count),
            ends.i.payload.eq(after),
            ends.i.valid.eq(enter & self.i.payload.last),
        ]
        with m.If(enter):
            m.d.sync += tail.eq(after)

        # Out: a word is complete when `take` elements are there, or the rest of a packet.
        left = Signal.like(head)
        final = Signal()
        number = Signal(range(self.outputs + 1))
        leave = Signal()
        m.d.comb += [
            left.eq(ends.o.payload - head),
            final.eq(ends.o.valid & (left <= self.take)),
            number.eq(Mux(final, left, self.take)),
            leave.eq((final | (level >= self.take)) & (self.o.ready | ~self.o.valid)),
            ends.o.ready.eq(leave & final),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        elements = self._store(m, enter)
        with m.If(leave):
            m.d.sync += [
                head.eq(head + number),
                self.o.valid.eq(1),
                self.o.payload.count.eq(number),
                self.o.payload.last.eq(final),
                *(out.eq(Mux(index < number, element, 0))
                  for index, (out, element) in enumerate(zip(self._split(self.o.payload.data), elements))),
            ]
        m.d.sync += level.eq(level + Mux(enter, self.i.payload.count, 0) - Mux(leave, number, 0))
        return m

    @property
    def width(self):
        """Bits of an element."""
        return Shape.cast(self.element).width

    def _split(self, row):
        """The elements of a row, as plain values."""
        row = Value.cast(row)
        return [row.word_select(index, self.width) for index in range(len(row) // self.width)]

    def _store(self, m, enter):
        """Write the input word at the tail; return a row's worth of elements from the head on.

        Element n of all that ever entered lies in bank n mod lanes, so that a word that starts anywhere
        touches every bank at most once.
        """
        head, tail, shift = self._head, self._tail, ceil_log2(self.lanes)
        written, row = Signal(self.lanes * self.width), Signal(self.lanes * self.width)
        m.d.comb += written.eq(self.i.payload.data)
        written = self._split(_rotate(m, written, tail[:shift], self.width))
        for lane, out in enumerate(self._split(row)):
            m.submodules[f"bank{lane}"] = bank = memory.Memory(shape=self.width, depth=ROWS, init=[])
            write, read = bank.write_port(), bank.read_port(domain="comb")
            index = Signal(range(self.lanes), name=f"index{lane}")  # Of the element that this lane gets.
            m.d.comb += [
                index.eq(lane - tail[:shift]),
                write.en.eq(enter & (index < self.i.payload.count)),
                write.data.eq(written[lane]),
                # Lanes before the pointer's own hold elements of the next row.
                write.addr.eq(tail[shift:] + (lane < tail[:shift])),
                read.addr.eq(head[shift:] + (lane < head[:shift])),
                out.eq(read.data),
            ]
        return self._split(_rotate(m, row, -head[:shift], self.width))


def _rotate(m, row, amount, width):
    """Rotate a row upwards by ``amount`` elements of ``width`` bits: a stage of two-way choices a bit of it."""
    lanes = len(row) // width
    for stage in range(ceil_log2(lanes)):
        turned = Signal.like(row, name=f"turned{stage}")
        m.d.comb += turned.eq(Mux(amount[stage], row.rotate_left(width << stage), row))
        row = turned
    return row
