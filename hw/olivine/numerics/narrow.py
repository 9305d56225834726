"""Right shifts whose result has few bits: shifters that narrow on their way, and the rounding behind them."""

from amaranth.hdl import Cat, Const, Mux, Value

from .rounding import saturates

__all__ = ["shift_right", "shifted", "rounded", "plus"]


def shift_right(value, amount, bits):
    """``rsh(value, amount)`` but for its addition, of a signed value.

    Returns
    -------
    floor : Value
        signed(bits), what ``value >> amount`` is if it fits.
    half : Value
        The last bit shifted out: 1 if the rounded result is one more than the floor.
    beyond : Value
        1 if the floor does not fit; its sign is that of ``value``.

    Large distances come first, and after each only the bits remain that the smaller ones can bring to the result: about
    a third fewer selects than a shifter as wide as the value.
    """
    floor, half, beyond = _shift_right(value, amount, bits)
    return floor, half, beyond.any()


def _shift_right(value, amount, bits):
    """As `shift_right`, but ``beyond`` has a bit for each stage."""
    value = Value.cast(value)
    sign, value, beyond = value[-1], Cat(Const(0, 1), value).as_signed(), []
    for place in reversed(range(len(amount))):
        step = 1 << place
        kept = bits + step

        def outside(bits_of, kept=kept):
            above = bits_of[kept - 1:]
            return ~(above.all() | ~above.any()) if len(bits_of) > kept else Const(0, 1)

        moved = value >> step if step < len(value) else sign.replicate(2).as_signed()
        beyond.append(Mux(amount[place], outside(moved), outside(value)))
        value = Mux(amount[place], moved, value)[:kept].as_signed()
    if len(value) <= bits:
        value = Cat(value, sign.replicate(bits + 1 - len(value))).as_signed()
    return value[1:].as_signed(), value[0], Cat(beyond)


def shifted(value, shift, bits):
    """First half of ``sat(rsh(value, shift), bits)``, combinational; `rounded` is the second, behind a register maybe.

    Returns
    -------
    (Value, Value, Value)
        ``bits + 2`` signed bits, the last of them below the point; not 0 if the number is beyond these, so that they
        mean nothing (a bit for each of the shifter's stages: the last ones are known late); its sign.
    """
    floor, half, beyond = _shift_right(value, shift, bits + 1)
    return Cat(half, floor).as_signed(), beyond, Value.cast(value)[-1]


def rounded(here, beyond, sign, bits):
    """Second half, from what `shifted` gave for ``bits`` or more: the rounded number, and whether it is outside
    ``bits``, where only its sign counts."""
    whole = here[1:].as_signed() + here[0]
    return whole, Value.cast(beyond).any() | saturates(whole, bits)


def plus(left, right, carry):
    """``left + right + carry`` of signed values in one chain of carries."""
    bits = max(len(left), len(right)) + 1
    wide = [Cat(extra, Value.cast(value), value[-1].replicate(bits - len(value)))
            for value, extra in ((left, Const(1, 1)), (right, carry))]
    return (wide[0] + wide[1])[1:bits + 1].as_signed()
