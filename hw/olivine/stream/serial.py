"""Packets of elements from words of one length to words of another, a pair of elements a cycle."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .gearbox import word

__all__ = ["SerialGearbox"]


class SerialGearbox(wiring.Component):
    """Does what `Gearbox` does, at a fraction of its speed and cost.

    ::

        i -> word -> choice of a pair -> into its place -> o

    **Throughput**: two elements a cycle where they lie in one pair (elements 2 n and 2 n + 1) of both words, else one.
    So words of P elements in one or two bytes each take at most P cycles. No bubbles between words or packets.

    **Stalls**: ``i.ready`` depends on ``o.ready``; ``o`` is a register. Whether a move is the input word's last is
    found a cycle ahead; of a word's first move it follows from ``count`` or, where words may begin later on, from what
    comes with it, as a comparison behind a block RAM would be late.

    **Cost**: a choice of one of ``inputs / 2`` pairs; registers of both words. 173 LUTs of ECP5 with 8 bytes each.

    Parameters
    ----------
    element : shape-like
        Of an element; a byte by default.
    inputs, outputs : int
        Elements in an input word and in an output word: even, at least 2.
    skips : bool
        Elements may be left out in front of a word.

    Attributes
    ----------
    latency : int
        Cycles from the transfer of a word of two elements, which completes a word, to ``o.valid``: 2.

    Members
    -------
    i : In(stream) of `word` (element, inputs)
    o : Out(stream) of `word` (element, outputs)
    take : In(range(outputs + 1))
        As of `Gearbox`.
    skip : In(range(inputs)), one_pair : In(1)
        With ``skips`` only. With each word at ``i``: so many of its ``count`` elements, in front, are left out, not all
        of them; and those that stay lie in one pair, ``skip // 2 == (count - 1) // 2``.
    idle : Out(1)
        Nothing is inside.
    """

    latency = 2

    def __init__(self, element=unsigned(8), inputs=8, outputs=8, skips=False):
        for name, value in (("inputs", inputs), ("outputs", outputs)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"gearbox {name} must be an even integer, not {value!r}")
            if value < 2 or value % 2:
                raise ValueError(f"gearbox {name} must be even and at least 2, not {value!r}")
        if Shape.cast(element).width == 0:
            raise ValueError(f"gearbox element must have bits, not {element!r}")
        if not isinstance(skips, bool):
            raise TypeError(f"gearbox skips must be True or False, not {skips!r}")
        self.element, self.inputs, self.outputs, self.skips = element, inputs, outputs, skips
        super().__init__({
            "i": In(stream.Signature(word(element, inputs))),
            "o": Out(stream.Signature(word(element, outputs))),
            "take": In(range(outputs + 1)), "idle": Out(1),
            **({"skip": In(range(inputs)), "one_pair": In(1)} if skips else {}),
        })

    def elaborate(self, platform):
        m = Module()
        out = Signal(self.o.payload.shape(), reset_less=True)
        m.d.comb += self.o.payload.eq(out)
        # Every bit of ``held`` waits for ``full``. ``free`` says the opposite to those who wait for nothing else; of
        # two registers that say the same synthesis would make one.
        held, full, free = Signal(self.i.payload.shape(), reset_less=True), Signal(), Signal(init=1)
        place, filled = Signal(range(self.inputs)), Signal(range(self.outputs))     # of the next element, in both words
        place_after, filled_after = Signal.like(held.count), Signal.like(out.count)
        moves, pair, word_in, word_out = Signal(), Signal(), Signal(), Signal()
        # Known a cycle ahead: the input word's last element, its last pair, and whether a pair fits the output word.
        one_left, two_left, room = Signal(), Signal(), Signal()
        m.d.comb += [
            moves.eq(full & (~self.o.valid | self.o.ready)),
            # At even places there are two elements, and room for two, unless the rest is one.
            pair.eq(~place[0] & ~one_left & room),
            place_after.eq(_on(place, pair)), filled_after.eq(_on(filled, pair)),
            word_in.eq(one_left | two_left & room),
            word_out.eq((filled_after == self.take) | word_in & held.last),
            self.i.ready.eq(free | (~self.o.valid | self.o.ready) & word_in),
            self.idle.eq(~full & ~self.o.valid & (filled == 0)),
        ]
        count = self.i.payload.count
        if self.skips:
            first = self.skip
            one_first, two_first = self.one_pair & (first[0] ^ count[0]), self.one_pair & ~first[0] & ~count[0]
        else:
            first, one_first, two_first = 0, count == 1, count == 2
        with m.If(~full | moves & word_in):
            m.d.sync += [held.eq(self.i.payload), place.eq(first), one_left.eq(one_first), two_left.eq(two_first)]
        with m.Elif(moves):
            m.d.sync += [place.eq(place_after), one_left.eq(_one_more(place_after) == held.count), two_left.eq(
                (_one_more(place_after[1:]) == held.count[1:]) & ~place_after[0] & ~held.count[0])]
        with m.If(self.i.ready):
            m.d.sync += [full.eq(self.i.valid), free.eq(~self.i.valid)]
        with m.If(moves):
            m.d.sync += [self.o.valid.eq(word_out), out.count.eq(filled_after), out.last.eq(word_in & held.last),
                         filled.eq(Mux(word_out, 0, filled_after))]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def fits(filled):
            return ~filled[0] & (filled[1:] != self.take[1:])

        m.d.sync += room.eq(Mux(moves, Mux(word_out, self.take[1:] != 0, fits(filled_after)), fits(filled)))

        width = Shape.cast(self.element).width
        low_high = Value.cast(held.data).word_select(place[1:], 2 * width)
        high = low_high[width:]
        single = Mux(place[0], high, low_high[:width])      # of a pair the lower one, its place is even
        data = Value.cast(out.data)
        for index in range(self.outputs):
            lane, odd = data.word_select(index, width), index % 2
            here = filled[1:] == index // 2
            if odd:
                here &= filled[0] | pair
            else:
                here &= ~filled[0]
            # What a word does not fill reads 0. (In this order it is a reset, and costs nothing.)
            with m.If(moves & (filled == 0) & ~here):
                m.d.sync += lane.eq(0)
            with m.Elif(moves & here):
                m.d.sync += lane.eq(Mux(filled[0], single, high) if odd else single)
        return m


def _one_more(value):
    """``value`` + 1, as gates: it is too short for a carry chain."""
    return Cat(*(bit ^ value[:index].all() for index, bit in enumerate(value)), value.all())


def _on(value, pair):
    """``value`` + 1, or + 2 with ``pair``, which it has at even values only."""
    return Cat(~value[0] & ~pair, Mux(value[0] | pair, _one_more(value[1:]), value[1:]))
