"""Encoder of lane operands: two fixed-point values become a pair in a lane format.

The caches store keys and values with it. Values come requantized with one fractional bit, in half
units of the format's step: a half unit holds every decision point of every format exactly, so the
choice of the nearest code needs no second rounding.

* A normal takes the nearest code; where two are equally near, the greater value (round half up).
* An element of 9.5 or more in magnitude (OVP4_INT), 20 or more (OVP4_FLINT), is an outlier: the
  point halfway between the largest normal and the smallest outlier, and halfway is an outlier.
* An outlier takes the nearest E2M1 code, again the greater value of two. Its neighbour becomes the
  victim. Of two outliers the larger magnitude survives, the first of equals.
* What would round beyond the largest code takes the largest, and is counted.

Source: OliVe, ISCA'23. Its paper lets the larger outlier survive, its published code the even one.
"""

from amaranth.hdl import Cat, Const, EnableInserter, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..numerics.rounding import rsh, sat, saturates
from .formats import FLINT4_MAGNITUDES, IDENTIFIER, LaneFormat

__all__ = ["PairEncoder", "SerialPairEncoder"]

# Decision points in half units.
INT_OUTLIER, FLINT_OUTLIER = 19, 40
FLINT_NORMALS = (1, 3, 5, 7, 10, 14, 24)
"""From which on the magnitude is 1, 2, 3, 4, 6, 8, 16."""

E2M1 = (7, 10, 14, 20, 28, 40, 56)
"""In quarters of the half units of bias 2: from which on the code is 2 .. 7, and saturated."""

FLINT_CODES = tuple(FLINT4_MAGNITUDES.index(magnitude) for magnitude in sorted(FLINT4_MAGNITUDES))


def _at_least(value, point):
    """``value >= point`` for a constant, as gates: comparators would each take a carry chain."""
    bits = point.bit_length()
    result = Const(1, 1)
    for index, bit in enumerate(value[:bits]):
        result = bit & result if point >> index & 1 else bit | result
    return result | value[bits:].any()


def _thermometer(value, points):
    """How many of the ascending ``points`` lie at or below ``value``, as one bit each."""
    return Cat(_at_least(value, point) for point in points)


def _lookup(reached, codes):
    """``codes[number of ones]`` of a thermometer."""
    result = Const(codes[0], max(codes).bit_length())
    for bit, code in zip(reached, codes[1:], strict=True):
        result = Mux(bit, code, result)
    return result


class PairEncoder(wiring.Component):
    """Encode a pair every cycle.

    ``latency`` 3 cycles in which `en` is high, one pair a cycle. Cost on an ECP5 at a width of 16:
    about 280 LUT4 and 40 carry cells, no multiplier, no memory.

    Parameters
    ----------
    width : int
        Bits of an input element, 10 to 32.
    first_wins : bool
        Of two outliers the first survives whatever the magnitudes, as in the OliVe authors' code.

    Members
    -------
    en : In(1), initially 1
        The pipeline moves.
    i : In(struct)
        ``first``, ``second``: signed, in half units; ``format``: LaneFormat.
    o : Out(struct)
        ``codes``: a byte with the first element in its high nibble, or in INT8 two bytes, the first
        element the low one. ``saturated``: how many of the stored elements were out of range, 0 to 2.
    """

    latency = 3

    def __init__(self, width=16, first_wins=False):
        if not isinstance(width, int) or isinstance(width, bool):
            raise TypeError(f"width must be int, not {width!r}")
        if not 10 <= width <= 32:
            raise ValueError(f"width is {width}: allowed is 10 to 32")
        if not isinstance(first_wins, bool):
            raise TypeError(f"first_wins must be True or False, not {first_wins!r}")
        self.width, self.first_wins = width, first_wins
        super().__init__({
            "en": In(1, init=1),
            "i": In(data.StructLayout({"first": signed(width), "second": signed(width),
                                       "format": LaneFormat})),
            "o": Out(data.StructLayout({"codes": unsigned(16), "saturated": range(3)})),
        })

    def elaborate(self, platform):
        m = Module()
        sync = m.d.sync

        # Cycle 0 -> 1: x = v, or ~v = |v| - 1 where v is negative. As ties go to the greater value, x
        # reaches a decision point exactly if v rounds away from zero there.
        format_1 = Signal(2)
        sync += format_1.eq(self.i.format.as_value())
        elements = [_Element(name, self.width) for name in ("first", "second")]
        for element in elements:
            value = self.i[element.name]
            sync += [element.negative.eq(value[-1]),
                     element.x.eq(value[:-1] ^ value[-1].replicate(self.width - 1))]

        # Cycle 1 -> 2: every element as each kind of code; which of two outliers would survive.
        format_2, first_larger = Signal(2), Signal()
        sync += format_2.eq(format_1)
        for element in elements:
            element.encode(sync, format_1)
        first, second = elements
        sync += first_larger.eq(1 if self.first_wins else first.magnitude >= second.magnitude)

        # Cycle 2 -> 3: the pair.
        codes, saturated = _pair(first, second, first_larger, format_2)
        sync += [self.o.codes.eq(Mux(format_2.all(), Cat(first.integer, second.integer), codes)),
                 self.o.saturated.eq(saturated)]
        return EnableInserter(self.en)(m)


class SerialPairEncoder(wiring.Component):
    """Encode pairs of which the first elements come first: those of up to ``pairs`` pairs, then the second ones.

    `latency` 3 cycles, an element a cycle. The same bytes as `PairEncoder`. Cost on an ECP5: 230 LUTs for four pairs
    of 16 bits (`PairEncoder`: 320), one element's circuits and a memory of ``pairs`` first elements, encoded (LUT RAM).

    Parameters
    ----------
    pairs : int
        Pairs that may be begun at once.
    width : int
        Bits of an input element, 10 to 32.

    Members
    -------
    i_valid : In(1), i : In(struct)
        ``value``: signed, in half units; ``second`` of its pair; ``pair``: where the first waits; ``format``:
        LaneFormat.
    o : Out(struct)
        ``code``: in INT8 the element's byte, else with the second element the pair's. ``saturated``: how many of the
        elements that it stores were out of range, 0 to 2.
    """

    latency = 3

    def __init__(self, pairs, width=16):
        self.pairs, self.width = pairs, width
        super().__init__({
            "i_valid": In(1),
            "i": In(data.StructLayout({"value": signed(width), "second": 1, "pair": range(max(pairs, 2)),
                                       "format": LaneFormat})),
            "o": Out(data.StructLayout({"code": unsigned(8), "saturated": range(3)})),
        })

    def elaborate(self, platform):
        m = Module()
        sync, width = m.d.sync, self.width
        stage = [Signal(data.StructLayout({"valid": 1, "second": 1, "pair": self.i.pair.shape(), "format": 2}),
                        name=f"stage_{cycle}") for cycle in range(3)]
        m.d.comb += [stage[0].valid.eq(self.i_valid), stage[0].format.eq(self.i.format.as_value()),
                     *(getattr(stage[0], name).eq(self.i[name]) for name in ("second", "pair"))]
        sync += [after.eq(before) for before, after in zip(stage, stage[1:])]

        element = _Element("second", width)
        magnitude = Signal(width)
        sync += [element.negative.eq(self.i.value[-1]),
                 element.x.eq(self.i.value[:-1] ^ self.i.value[-1].replicate(width - 1)),
                 magnitude.eq(element.magnitude)]
        element.encode(sync, stage[1].format)

        # Cycle 2: a first element is kept, a second one meets it.
        layout = data.StructLayout({"outlier": 1, "outlier_code": 4, "outlier_saturates": 1, "integer": 4,
                                    "normal_saturates": 1, "magnitude": width})
        m.submodules.firsts = firsts = Memory(shape=unsigned(layout.size), depth=self.pairs, init=[])
        write, read = firsts.write_port(), firsts.read_port(domain="comb")
        kept, first, fmt = Signal(layout), layout(read.data), stage[2].format
        m.d.comb += [
            *(kept[name].eq(getattr(element, name)) for name in layout.members if name != "magnitude"),
            kept.magnitude.eq(magnitude), write.data.eq(kept), write.addr.eq(stage[2].pair),
            read.addr.eq(stage[2].pair), write.en.eq(stage[2].valid & ~stage[2].second),
        ]
        code, saturated = _pair(first, element, first.magnitude >= magnitude, fmt)
        sync += [self.o.code.eq(Mux(fmt.all(), element.integer, code)),
                 self.o.saturated.eq(Mux(fmt.all(), element.normal_saturates, saturated))]
        return m


def _pair(first, second, first_larger, fmt):
    """The byte of an encoded pair in 4 bit, and how many of the elements that it stores saturated, in any format."""
    # Without an outlier both elements are stored. An outlier is always larger than a normal.
    ovp = ~fmt[1]
    keep_first = ovp & first.outlier & first_larger
    keep_second = ovp & second.outlier & ~keep_first
    high = Mux(keep_second, IDENTIFIER, Mux(keep_first, first.outlier_code, first.integer[:4]))
    low = Mux(keep_first, IDENTIFIER, Mux(keep_second, second.outlier_code, second.integer[:4]))
    # Normals saturate in the plain formats only, so a victim does not.
    saturated = [Mux(keep, element.outlier_saturates, element.normal_saturates)
                 for element, keep in ((first, keep_first), (second, keep_second))]
    return Cat(low, high), saturated[0] + saturated[1]


class _Element:
    """Registers of one element on its way through the encoder."""

    def __init__(self, name, width):
        self.name = name
        self.x = Signal(width - 1, name=f"{name}_x")
        self.negative = Signal(name=f"{name}_negative")
        self.outlier = Signal(name=f"{name}_outlier")
        self.outlier_code = Signal(4, name=f"{name}_outlier_code")
        self.outlier_saturates = Signal(name=f"{name}_outlier_saturates")
        self.integer = Signal(8, name=f"{name}_integer")
        self.normal_saturates = Signal(name=f"{name}_normal_saturates")

    @property
    def magnitude(self):
        return self.x + self.negative

    def encode(self, sync, fmt):
        """Compute the codes of ``x``; ``fmt`` is the two bits of a LaneFormat."""
        flint, int8 = fmt[0], fmt.all()
        ovp = ~fmt[1]
        x, negative = self.x, self.negative

        def beyond(point):
            # The threshold of outliers is symmetric: |v| >= point.
            return _at_least(x, point) | (negative & _at_least(x, point - 1))

        # Bias 3 doubles every decision point of bias 2, and all of those are multiples of four.
        reached = _thermometer(Mux(flint, x >> 3, x >> 2), E2M1)
        sync += [self.outlier.eq(Mux(flint, beyond(FLINT_OUTLIER), beyond(INT_OUTLIER))),
                 self.outlier_code.eq(Cat(_lookup(reached[:-1], range(1, 8)), negative)),
                 self.outlier_saturates.eq(reached[-1])]

        # Integers: -8 is OVP4_INT's identifier. A normal lies within +-9 there, so it never wraps.
        rounded = rsh(Cat(x ^ negative.replicate(len(x)), negative).as_signed(), 1)
        nibble = sat(rounded, 4)
        nibble = Cat(nibble[0] | (ovp & (nibble == -8)), nibble[1:])
        # A flint4 normal lies below its outliers' threshold. There is no negative zero: it is the identifier.
        reached = _thermometer(x[:(FLINT_OUTLIER - 1).bit_length()], FLINT_NORMALS)
        flint4 = Cat(_lookup(reached, FLINT_CODES), negative & reached[0])
        sync += [self.integer.eq(Mux(int8, sat(rounded, 8), Mux(ovp & flint, flint4, nibble))),
                 self.normal_saturates.eq(~ovp & Mux(int8, saturates(rounded, 8), saturates(rounded, 4)))]
