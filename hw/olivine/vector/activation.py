"""The straight lines of activation functions."""

from math import erfc, exp, floor, pi, sqrt

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from .formats import FUNCTION_FRACTION

__all__ = ["STEP_BITS", "GUARD_BITS", "LINE", "ACTIVATION_LINES"]

STEP_BITS = 8
GUARD_BITS = 4
"""Bits of the argument that go along a line, and extra bits of the lines' values."""

LINE = data.StructLayout({"base": unsigned(15), "slope": signed(12)})


def _silu_tail(a):
    return a / (1 + exp(a))


def _gelu_tanh_tail(a):
    return a / (1 + exp(2 * sqrt(2 / pi) * (a + 0.044715 * a ** 3)))


def _gelu_erf_tail(a):
    return a * erfc(a / sqrt(2)) / 2


def _line(tail, i):
    """Line ``i`` of what the function is below max(v, 0), at |v| from i/16 on, in units of 2**-16.

    It lies half of the chord's largest miss above or below the chord; the first starts at 0.
    """
    unit = 1 << FUNCTION_FRACTION + GUARD_BITS
    left, middle, right = tail(i / 16), tail((i + 0.5) / 16), tail((i + 1) / 16)
    bow = (middle - (left + right) / 2) / 2 if i else 0
    return {"base": floor(unit * (left + bow) + 0.5), "slope": floor(unit * (right - left) + 0.5)}


ACTIVATION_LINES = tuple(_line(tail, i) for tail, count in (
    (_silu_tail, 256), (_gelu_tanh_tail, 128), (_gelu_erf_tail, 128)) for i in range(count))
