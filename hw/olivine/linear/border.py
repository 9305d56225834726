"""The border of the array: of a word of L bytes, what each of L lanes multiplies by."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..olive.decoder import decoded, element_term, form_layout, identifiers, lane_code, modes
from ..olive.element import lane_shape
from ..olive.formats import LaneFormat

__all__ = ["Border", "DecodedBorder"]


class Border(wiring.Component):
    """Chooses for each lane what it multiplies by in a step: combinational, or ``staged``. With element ``folded`` it
    is decoded where the array is, once for all who use it (`SharedArray`).

    Parameters
    ----------
    lanes : int
    element : str
    across : bool
        Pairs may lie across lanes, as those of cached values do; not with element ``exponent``.
    staged : bool
        A register between the choice of what a lane looks at and its code: ``o`` is of what came the cycle before,
        ``illegal`` of what comes now. ``weight_format``, at which every lane looks, comes a cycle before the rest. Not
        with element ``exponent``. 9 flip-flops a lane.

    Members
    -------
    word : In(8 * lanes), weight_format : In(LaneFormat)
    odd : In(1)
        In 4 bit, take the second element of every byte. Without ``across``, high in INT8.
    half : In(1)
        ``exponent`` with INT8 only, where a byte takes two lanes: which half of the channels.
    pairs_across : In(1)
        With ``across`` only, in 4 bit: lane l takes element l % 2 of byte l // 2, and with ``odd`` of the
        word's upper half.
    o : Out(ArrayLayout(lane_code, lanes))
    form : Out(form_layout)
        How ``o`` is decoded: ``staged`` in the cycle before. Not driven with element ``exponent``.
    illegal : Out(lanes)
        Bytes that are no legal outlier-victim pair.
    """

    def __init__(self, lanes, element, across=False, staged=False):
        for wanted, what in ((across, "pairs across lanes need"), (staged, "a border with a register needs")):
            if wanted and element != "folded":
                raise ValueError(f"element is {element!r}: {what} 'folded'")
        self.lanes, self.element, self.across, self.staged = lanes, element, across, staged
        super().__init__({
            "word": In(8 * lanes), "weight_format": In(LaneFormat), "odd": In(1), "half": In(1),
            **({"pairs_across": In(1)} if across else {}),
            "o": Out(data.ArrayLayout(lane_code(element), lanes)), "form": Out(form_layout), "illegal": Out(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        int8 = self.weight_format == LaneFormat.INT8
        bytes_ = [self.word.word_select(lane, 8) for lane in range(self.lanes)]
        if self.element == "exponent":
            for lane, byte in enumerate(bytes_):
                # Two neighbouring lanes share a byte of INT8: its high and its low nibble.
                shared = Mux(self.half, bytes_[(self.lanes + lane) // 2], bytes_[lane // 2])
                term, illegal = element_term(Mux(int8, shared, byte), Mux(int8, lane % 2, self.odd),
                                             self.weight_format)
                m.d.comb += [self.o[lane].exponent.eq(term.exponent), self.o[lane].integer.eq(term.integer),
                             self.illegal[lane].eq(illegal)]
            return m

        # What a lane looks at: its own byte's first element or its second, or across lanes one of two bytes' first in
        # even lanes, second in odd ones. Nibbles are chosen, not bytes, and of their neighbours only what matters.
        form = tuple(self._held(m, Cat(modes(self.weight_format)), "form"))
        flags = [identifiers(byte, form) for byte in bytes_]
        second = self.odd | form[2] if self.across else self.odd
        m.d.comb += self.form.eq(Cat(form))
        for lane, byte in enumerate(bytes_):
            def of(index, second):
                """Nibble of a byte, and whether its neighbour is the identifier."""
                return Cat(bytes_[index][:4] if second else bytes_[index][4:], flags[index][0 if second else 1])

            choice, illegal = Mux(second, of(lane, 1), of(lane, 0)), flags[lane][2]
            if self.across:
                upper, lower = (self.lanes + lane) // 2, lane // 2
                choice = Mux(self.pairs_across,
                             Mux(self.odd, of(upper, lane % 2), of(lower, lane % 2)), choice)
                illegal = Mux(self.pairs_across, Mux(self.odd, flags[upper][2], flags[lower][2]), illegal)
            code = self._held(m, Cat(choice, byte[4:]), f"code_{lane}")
            m.d.comb += [self.o[lane].eq(code), self.illegal[lane].eq(illegal)]
        return m

    def _held(self, m, value, name):
        """``value``, if staged in a register."""
        if not self.staged:
            return value
        held = Signal(len(value), name=name, reset_less=True)
        m.d.sync += held.eq(value)
        return held


class DecodedBorder(wiring.Component):
    """A `Border` with the decoders behind it: for tests, and to synthesize it alone.

    Parameters are those of `Border`, and so are the members, but for ``form``, and ``o``: Out(ArrayLayout(lane_shape,
    lanes)).
    """

    def __init__(self, lanes, element, **options):
        self.border, self.element = Border(lanes, element, **options), element
        members = {name: member for name, member in self.border.signature.members.items() if name not in ("o", "form")}
        super().__init__({**members, "o": Out(data.ArrayLayout(lane_shape(element), lanes))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.border = border = self.border
        for name, member in self.signature.members.items():
            if member.flow is In:
                m.d.comb += getattr(border, name).eq(getattr(self, name))
        form = Signal.like(border.form)
        m.d["sync" if border.staged else "comb"] += form.eq(border.form)
        m.d.comb += [self.illegal.eq(border.illegal),
                     *(lane.eq(decoded(border.element, code, form)) for lane, code in zip(self.o, border.o))]
        return m
