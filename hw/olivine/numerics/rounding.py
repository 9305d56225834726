"""The one rounding rule and the one saturation rule of the accelerator.

``rsh(x, n) = floor(x / 2**n + 1/2)``: round half up; a shift by 0 is the identity.
``sat(x, bits)`` clamps to the signed range of ``bits``.
"""

from amaranth.hdl import Cat, Const, Mux, Value

__all__ = ["rsh", "sat", "saturates"]


def rsh(value, shift):
    """Arithmetic right shift with round-half-up, combinational, as wide as ``value``.

    Parameters
    ----------
    value : Value
        Signed or unsigned.
    shift : Value or int
        Unsigned amount, any width; past the width of ``value`` the result is 0 or, when ``value``
        is unsigned and the shift is exactly its width, its top bit.
    """
    value = Value.cast(value)
    if isinstance(shift, int) and shift < 0:
        raise ValueError(f"shift is {shift}: must be 0 or more")
    # One bit below the point, so that the rounding carry is the last bit shifted out.
    extended = Cat(Const(0, 1), value)
    extended = extended.as_signed() if value.shape().signed else extended
    shifted = (extended >> shift)
    rounded = (shifted >> 1) + shifted[0]
    return rounded[:len(value)].as_signed() if value.shape().signed else rounded[:len(value)]


def _check(function, value, bits):
    value = Value.cast(value)
    if not value.shape().signed:
        raise TypeError(f"{function}() is defined on signed values, not on {value.shape()!r}")
    if bits < 1:
        raise ValueError(f"bits is {bits}: must be 1 or more")
    return value


def saturates(value, bits):
    """1 where the signed ``value`` lies outside ``bits`` signed bits."""
    value = _check("saturates", value, bits)
    if len(value) <= bits:
        return Const(0, 1)
    top = value[bits - 1:]
    return ~(top.all() | ~top.any())


def sat(value, bits):
    """Clamp the signed ``value`` to ``bits`` signed bits, combinational."""
    value = _check("sat", value, bits)
    if len(value) <= bits:
        return value
    limit = Cat((~value[-1]).replicate(bits - 1), value[-1])
    return Mux(saturates(value, bits), limit, value[:bits]).as_signed()
