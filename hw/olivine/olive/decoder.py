"""Decoder of lane operands: a byte of a lane format becomes what the array multiplies by.

It stands at the border of the array, once per lane, so it is written as gates on the code bits and
not as a table. Two forms, for the two kinds of processing element (OliVe, ISCA'23):

exponent
    Each 4-bit element is <exponent, integer>, worth ``integer << exponent``, integer signed 5 bits,
    exponent at most 6. An INT8 byte is <4, high signed nibble>, <0, low unsigned nibble>, whose
    values add up; each takes a lane of its own.
folded
    Each element is a signed 9-bit integer. An INT8 byte, sign-extended, is both elements.

Illegal bytes (two identifiers, or an identifier beside a zero code) decode to (0, 0) and are flagged.
"""

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .element import ELEMENTS, INTEGER_BITS, lane_shape
from .formats import FLINT4_MAGNITUDES, LaneFormat

__all__ = ["Term", "PairTerms", "FoldedPair", "modes", "pair_terms", "identifiers", "folded_code", "folded_pair",
           "element_term", "folded_element", "form_layout", "lane_code", "decoded", "PairDecoder"]

form_layout = data.StructLayout({"ovp": 1, "flint": 1, "int8": 1})
"""What a `LaneFormat` says, as flags: see `modes`."""


def lane_code(element):
    """What is chosen of a word for a lane: ``folded`` the arguments of `folded_code`; ``exponent`` the decoded term."""
    if element == "folded":
        return data.StructLayout({"code": 4, "outlier": 1, "high": 4})
    return lane_shape(element)


def decoded(element, code, form):
    """A lane's operand, of a `lane_code` and, if that is not decoded yet, a `form_layout`; combinational."""
    if element == "folded":
        return folded_code(code.code, code.outlier, code.high, (form.ovp, form.flint, form.int8))
    return code


class Term(NamedTuple):
    """An element as ``integer << exponent``: unsigned 3 bits, at most 6, and signed 5 bits."""

    exponent: Value
    integer: Value


class PairTerms(NamedTuple):
    """Both elements of a byte, and whether the byte is illegal."""

    first: Term
    second: Term
    illegal: Value


class FoldedPair(NamedTuple):
    """Both elements of a byte as signed 9-bit integers, and whether the byte is illegal."""

    first: Value
    second: Value
    illegal: Value


def modes(fmt):
    """``(outlier-victim format, flint4 normals or bias 3, INT8)`` from the two bits of a LaneFormat; these three as
    they are."""
    if isinstance(fmt, tuple):
        return fmt
    low, high = Value.cast(fmt)
    return ~high, low & ~high, low & high


def _term(code, outlier, fmt):
    """<exponent, integer> of one nibble; ``outlier``: its neighbour is the identifier."""
    ovp, flint, _ = modes(fmt)
    b0, b1, b2, sign = code
    some = b0 | b1 | b2

    # Sign and magnitude: E2M1 (hidden one, b0) << (b2b1 + bias), and flint4, whose magnitudes are
    # b1b0 below 4, then 11x -> {1, b0} << 1, 101 -> 1 << 3, 100 -> 1 << 4. Codes x000 are zero in both.
    m1 = Mux(outlier, some, b1)
    m0 = b0 | (b2 & ~b1 & ~outlier)
    biased = Cat(b1, b2) + Mux(flint, Const(3, 2), Const(2, 2))
    exponent = Mux(outlier, Mux(some, biased, 0),
                   Mux(flint & b2, Cat(b1 | b0, ~b1 & b0, ~b1 & ~b0), 0))
    # Negating 0..3 in two's complement: bit 1 flips where a one lies below it, all above are the sign.
    negative = sign & some
    magnitude = Cat(m0, m1 ^ (sign & m0), negative.replicate(INTEGER_BITS - 2))

    # Two's complement; in an outlier-victim format the code 1000 is the identifier and reads 0.
    plain = Cat(code[:3], (sign & (some | ~ovp)).replicate(INTEGER_BITS - 3))
    return Term(exponent[:3], Mux(outlier | flint, magnitude, plain).as_signed())


def _nibbles(byte, fmt):
    """High nibble, low nibble, whether each is an outlier, and whether the byte is illegal."""
    high_is, low_is, illegal = identifiers(byte, fmt)
    return byte[4:], byte[:4], low_is, high_is, illegal


def _four_bit_terms(byte, fmt):
    high, low, high_outlier, low_outlier, illegal = _nibbles(byte, fmt)
    return PairTerms(_term(high, high_outlier, fmt), _term(low, low_outlier, fmt), illegal)


def pair_terms(byte, fmt):
    """Decode one byte into two terms, combinational.

    Parameters
    ----------
    byte : Value, 8 bits
    fmt : LaneFormat or its two bits

    Returns
    -------
    PairTerms
        In INT8: <4, high signed nibble> and <0, low unsigned nibble>.
    """
    byte = Value.cast(byte)
    _, _, int8 = modes(fmt)
    first, second, illegal = _four_bit_terms(byte, fmt)
    # The high nibble is read as plain int4 already; the low one only loses its sign extension.
    first = Term(first.exponent | Cat(Const(0, 2), int8), first.integer)
    second = Term(second.exponent, Cat(second.integer[:4], second.integer[4] & ~int8).as_signed())
    return PairTerms(first, second, illegal)


def _bit(code, table):
    """Bit of a nibble's 16-entry table: one LUT4."""
    return Const(table, 16).bit_select(code, 1)


def _bits(code, value_of, bits):
    """``bits`` bits of the signed value that each of the 16 codes has."""
    return Cat(_bit(code, sum((value_of(index) >> bit & 1) << index for index in range(16))) for bit in range(bits))


def _flint(code):
    magnitude = FLINT4_MAGNITUDES[code & 7]
    return -magnitude if code & 8 else magnitude


def _outlier(code):
    """E2M1 with bias 0."""
    magnitude = (2 + (code & 1)) << (code >> 1 & 3) if code & 7 else 0
    return -magnitude if code & 8 else magnitude


def folded_code(code, outlier, high, fmt):
    """Decode one nibble into a signed 9-bit integer, combinational.

    Parameters
    ----------
    code : Value, 4 bits
        In INT8 the byte's low nibble.
    outlier : Value, 1 bit
        Its neighbour is the identifier; 0 in formats that have none.
    high : Value, 4 bits
        In INT8 the byte's high nibble.
    fmt : LaneFormat or its two bits, or the three of `modes`

    About 33 LUTs: every bit of flint4, and of an outlier without its bias, is a table of the code's four bits.
    """
    ovp, flint, int8 = modes(fmt)
    sign = code[3] & (code[:3].any() | ~ovp)
    small, large = _bits(code, _flint, 5), _bits(code, _outlier, 5)
    upper = [Mux(int8, high[bit], sign) for bit in range(4)]
    return Cat(
        code[0] & ~outlier & ~(flint & code[2]),
        ~outlier & Mux(flint, small[1], code[1]),
        Mux(outlier, ~flint & large[0], Mux(flint, small[2], code[2])),
        Mux(outlier, Mux(flint, large[0], large[1]), Mux(flint, small[3], Mux(int8, code[3], sign))),
        Mux(outlier, Mux(flint, large[1], large[2]), Mux(flint, small[4], upper[0])),
        Mux(outlier, Mux(flint, large[2], large[3]), upper[1]),
        Mux(outlier, Mux(flint, large[3], large[4]), upper[2]),
        Mux(outlier & flint, large[4], upper[3]),
        upper[3],
    ).as_signed()


def identifiers(byte, fmt):
    """Of an outlier-victim format: whether the high and the low nibble are identifiers, and whether the byte is
    illegal."""
    byte, (ovp, _, _) = Value.cast(byte), modes(fmt)
    high, low = byte[4:], byte[:4]
    high_zero, low_zero = ~high[:3].any(), ~low[:3].any()
    return (ovp & high_zero & high[3], ovp & low_zero & low[3],
            ovp & high_zero & low_zero & (high[3] | low[3]))


def folded_pair(byte, fmt):
    """Decode one byte into two signed 9-bit integers, combinational.

    Parameters
    ----------
    byte : Value, 8 bits
    fmt : LaneFormat or its two bits

    Returns
    -------
    FoldedPair
        In 4-bit formats the elements of the even and the odd step; in INT8 twice the byte.
    """
    byte, (_, _, int8) = Value.cast(byte), modes(fmt)
    high, low, illegal = identifiers(byte, fmt)
    return FoldedPair(folded_code(Mux(int8, byte[:4], byte[4:]), low, byte[4:], fmt),
                      folded_code(byte[:4], high, byte[4:], fmt), illegal)


def _chosen_term(byte, odd, fmt):
    high, low, high_outlier, low_outlier, illegal = _nibbles(byte, fmt)
    return _term(Mux(odd, low, high), Mux(odd, low_outlier, high_outlier), fmt), illegal


def element_term(byte, odd, fmt):
    """Decode one element of a byte, combinational: half of `pair_terms`, where a lane takes one at a time.

    Parameters
    ----------
    byte : Value, 8 bits
    odd : Value, 1 bit
        Decode the second element, in INT8 the low nibble.
    fmt : LaneFormat or its two bits

    Returns
    -------
    (Term, Value)
        The element, and whether the byte is illegal.
    """
    _, _, int8 = modes(fmt)
    term, illegal = _chosen_term(byte, odd, fmt)
    integer = Cat(term.integer[:4], term.integer[4] & ~(int8 & odd)).as_signed()
    return Term(term.exponent | Cat(Const(0, 2), int8 & ~odd), integer), illegal


def folded_element(byte, odd, fmt):
    """Decode one element of a byte, combinational: half of `folded_pair`, where a lane takes one at a time.

    Parameters
    ----------
    byte : Value, 8 bits
    odd : Value, 1 bit
        Decode the second element; in INT8 both are the byte.
    fmt : LaneFormat or its two bits

    Returns
    -------
    (Value, Value)
        The element, signed 9 bits, and whether the byte is illegal.
    """
    byte, (_, _, int8) = Value.cast(byte), modes(fmt)
    high, low, illegal = identifiers(byte, fmt)
    second = odd | int8
    return folded_code(Mux(second, byte[:4], byte[4:]), Mux(second, high, low), byte[4:], fmt), illegal


class PairDecoder(wiring.Component):
    """One decoder behind a register: for tests, and to synthesize it alone.

    ``latency`` 1 cycle, one byte a cycle, never stalls.

    Parameters
    ----------
    element : str
        The form, ``"folded"`` or ``"exponent"``.

    Members
    -------
    i : In(struct)
        ``byte``, and its ``format``, a LaneFormat.
    o : Out(struct)
        ``first`` and ``second``: folded, signed 9 bits; else structs of ``exponent``, unsigned 3
        bits, and ``integer``, signed 5 bits. And ``illegal``.
    """

    latency = 1

    def __init__(self, element="folded"):
        if element not in ELEMENTS:
            raise ValueError(f"element is {element!r}: allowed are {', '.join(map(repr, ELEMENTS))}")
        self.element = element
        shape = lane_shape(element)
        super().__init__({
            "i": In(data.StructLayout({"byte": 8, "format": LaneFormat})),
            "o": Out(data.StructLayout({"first": shape, "second": shape, "illegal": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        if self.element == "folded":
            pair = folded_pair(self.i.byte, self.i.format)
            m.d.sync += [self.o.first.eq(pair.first), self.o.second.eq(pair.second)]
        else:
            pair = pair_terms(self.i.byte, self.i.format)
            for out, term in ((self.o.first, pair.first), (self.o.second, pair.second)):
                m.d.sync += [out.exponent.eq(term.exponent), out.integer.eq(term.integer)]
        m.d.sync += self.o.illegal.eq(pair.illegal)
        return m
