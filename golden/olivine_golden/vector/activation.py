"""Golden model of activation functions and of gates.

::

    v = x << (12 - fraction)                                     20 bits, steps of 2**-12
    f = v                                                        identity
    f = max(v, 0) - rsh((BASE[i] << 8) + SLOPE[i] * step, 12)    i, step: |v| in 16ths, and the 8 bits below
    y = sat(rsh(f * mult, shift), bits)

GELU and SiLU are ``max(v, 0) - h(|v|)`` with ``h(a) = a * P(-a)``: one straight line for each 16th, up to 8 for GELU
and 16 for SiLU. Beyond, h is taken as 0: it is less than 1e-14 and 2e-6 there. Of ReLU it is 0 everywhere.

Error of f: at most 2**-10.9 with GELU, 2**-11.4 with SiLU, for every argument; identity and ReLU are exact, and so
is the value at 0.
"""

import math
from typing import NamedTuple

import numpy as np
from olivine.vector.formats import FUNCTION_FRACTION, LINEAR_BITS, Function

from ..rounding import rsh, sat

__all__ = ["BASE", "SLOPE", "LINES", "Activated", "exact", "function", "activate", "gate"]

STEP_BITS = 8
GUARD_BITS = 4

LINES = {Function.SILU: (0, 256), Function.GELU_TANH: (256, 128), Function.GELU_ERF: (384, 128)}
"""Where the lines of a function start in the table, and their number."""


def _tail(function, a):
    """h(a)"""
    if function is Function.SILU:
        return a / (1 + math.exp(a))
    if function is Function.GELU_ERF:
        return a * math.erfc(a / math.sqrt(2)) / 2
    return a / (1 + math.exp(2 * math.sqrt(2 / math.pi) * (a + 0.044715 * a ** 3)))


def exact(function, x):
    """The function in double precision."""
    function = Function(function)
    x = np.asarray(x, np.float64)
    if function is Function.IDENTITY:
        return x
    relu = np.maximum(x, 0)
    if function is Function.RELU:
        return relu
    # The exponent of GELU's tanh form would overflow; h is 0 to the last bit from 12 on.
    limit = 500 if function is Function.SILU else 12
    return relu - np.array([_tail(function, min(a, limit)) for a in np.abs(x).ravel().tolist()]).reshape(x.shape)


def _lines():
    unit = 1 << FUNCTION_FRACTION + GUARD_BITS
    base, slope = np.zeros((2, 512), np.int64)
    for function, (start, count) in LINES.items():
        for i in range(count):
            left, middle, right = (_tail(function, a / 16) for a in (i, i + 0.5, i + 1))
            # Half of what the chord misses in its middle; but 0 stays 0.
            bow = (middle - (left + right) / 2) / 2 if i else 0
            base[start + i] = math.floor(unit * (left + bow) + 0.5)
            slope[start + i] = math.floor(unit * (right - left) + 0.5)
    return base, slope


BASE, SLOPE = _lines()


class Activated(NamedTuple):
    """int64 results, and where they saturated."""

    y: np.ndarray
    saturated: np.ndarray


def function(function, x, fraction):
    """Value of an activation function with 12 fractional bits.

    Parameters
    ----------
    function : Function
    x : int array
        int16 with ``fraction`` fractional bits.
    fraction : int
        8 to 12.
    """
    function, x = Function(function), np.asarray(x, np.int64)
    if (sat(x, LINEAR_BITS) != x).any():
        raise ValueError(f"x ranges from {x.min()} to {x.max()}: must be int16")
    if not 8 <= fraction <= FUNCTION_FRACTION:
        raise ValueError(f"fraction is {fraction}: allowed is 8 to {FUNCTION_FRACTION}")
    v = x << FUNCTION_FRACTION - fraction
    if function is Function.IDENTITY:
        return v
    relu = np.maximum(v, 0)
    if function is Function.RELU:
        return relu
    start, count = LINES[function]
    size = np.abs(v)
    near = size >> STEP_BITS < count
    index = start + np.where(near, size >> STEP_BITS, 0)
    step = size & (1 << STEP_BITS) - 1
    line = rsh((BASE[index] << STEP_BITS) + SLOPE[index] * step, STEP_BITS + GUARD_BITS)
    return relu - np.where(near, line, 0)


def activate(kind, x, fraction, mult, shift, bits):
    """Function and requantization of int16 ``x``; ``mult`` unsigned 16 bit, ``shift`` 0 to 63."""
    rounded = rsh(function(kind, x, fraction) * mult, shift)
    y = sat(rounded, bits)
    return Activated(y, y != rounded)


def gate(left, right, shift, bits):
    """``sat(rsh(left * right, shift), bits)`` of int16 operands; scales go into the multiplier of the activation."""
    rounded = rsh(np.asarray(left, np.int64) * np.asarray(right, np.int64), shift)
    y = sat(rounded, bits)
    return Activated(y, y != rounded)
