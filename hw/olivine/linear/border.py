"""The border of the array: a word of L bytes becomes L lane operands."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..olive.decoder import element_term, folded_element
from ..olive.element import lane_shape
from ..olive.formats import LaneFormat

__all__ = ["Border"]


class Border(wiring.Component):
    """Decodes a lane word for one step, combinational.

    Parameters
    ----------
    lanes : int
    element : str
    across : bool
        Pairs may lie across lanes, as those of cached values do; not with element ``exponent``.

    Members
    -------
    word : In(8 * lanes), weight_format : In(LaneFormat)
    odd : In(1)
        In 4 bit, take the second element of every byte.
    half : In(1)
        ``exponent`` with INT8 only, where a byte takes two lanes: which half of the channels.
    pairs_across : In(1)
        With ``across`` only, in 4 bit: lane l takes element l % 2 of byte l // 2, and with ``odd`` of the
        word's upper half.
    o : Out(ArrayLayout(lane_shape, lanes))
    illegal : Out(lanes)
        Bytes that are no legal outlier-victim pair.
    """

    def __init__(self, lanes, element, across=False):
        if across and element != "folded":
            raise ValueError(f"element is {element!r}: pairs across lanes need 'folded'")
        self.lanes, self.element, self.across = lanes, element, across
        super().__init__({
            "word": In(8 * lanes), "weight_format": In(LaneFormat), "odd": In(1), "half": In(1),
            **({"pairs_across": In(1)} if across else {}),
            "o": Out(data.ArrayLayout(lane_shape(element), lanes)), "illegal": Out(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        split = (self.weight_format == LaneFormat.INT8) if self.element == "exponent" else 0
        for lane in range(self.lanes):
            byte = self.word.word_select(lane, 8)
            if self.element == "folded":
                odd = self.odd
                if self.across:
                    other = Mux(self.odd, self.word.word_select((self.lanes + lane) // 2, 8),
                                self.word.word_select(lane // 2, 8))
                    byte, odd = Mux(self.pairs_across, other, byte), Mux(self.pairs_across, lane % 2, self.odd)
                operand, illegal = folded_element(byte, odd, self.weight_format)
                m.d.comb += self.o[lane].eq(operand)
            else:
                # Two neighbouring lanes share a byte of INT8: its high and its low nibble.
                shared = Mux(self.half, self.word.word_select(self.lanes // 2 + lane // 2, 8),
                             self.word.word_select(lane // 2, 8))
                term, illegal = element_term(Mux(split, shared, byte), Mux(split, lane % 2, self.odd),
                                             self.weight_format)
                m.d.comb += [self.o[lane].exponent.eq(term.exponent), self.o[lane].integer.eq(term.integer)]
            m.d.comb += self.illegal[lane].eq(illegal)
        return m
