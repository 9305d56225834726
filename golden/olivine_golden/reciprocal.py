"""Reciprocal and quotient of the softmax normaliser, twins of `olivine.numerics.reciprocal` and `.quotient`.

The reciprocal of a mantissa in [1, 2) is a chain of 256 straight lines. Each lies between the chord
and the curve, so that its largest error above and below is the same.
"""

import math

import numpy as np

from .rounding import rsh, sat

__all__ = ["normalize", "reciprocal", "scale", "quotient", "BASE", "SLOPE", "MIN_EXPONENT",
           "PLAIN_SHIFT"]

RECIPROCAL_BITS = 17
"""The reciprocal is in units of 2**-17."""

GUARD_BITS = 4
"""More fractional bits of the lines than of the result."""

INDEX_BITS = 8
STEP_BITS = 12
"""Bits of the mantissa that choose the line, and the next ones, that go along it."""

MIN_EXPONENT = 15
"""A row that saw a key has l >= 1026 << 5 = 32832: the key nearest to its page's integer maximum
lies less than an octave below it."""

NUMERATOR_BITS = 25
RESULT_BITS = 16
FRACTION_BITS = 7

PLAIN_SHIFT = RECIPROCAL_BITS + MIN_EXPONENT - FRACTION_BITS


def _lines():
    unit = 1 << RECIPROCAL_BITS + GUARD_BITS
    base, slope = [], []
    for i in range(1 << INDEX_BITS):
        left, right = 1 + i / (1 << INDEX_BITS), 1 + (i + 1) / (1 << INDEX_BITS)
        fall = unit / left - unit / right
        # The chord is furthest above 1/x at sqrt(left * right).
        sag = unit * (1 / math.sqrt(left) - 1 / math.sqrt(right)) ** 2
        # Bits below the step are cut off: on average half a step is missing.
        base.append(math.floor(unit / left - sag / 2 - fall / (2 << STEP_BITS) + 0.5))
        slope.append(math.floor(fall + 0.5))
    # 1/1 itself needs one bit more: the first line starts at the largest result instead.
    base[0] = min(base[0], unit - (1 << GUARD_BITS - 1) - 1)
    return np.array(base), np.array(slope)


BASE, SLOPE = _lines()


def normalize(value):
    """``(exponent, mantissa)`` of 0 <= value < 2**32: ``mantissa = value << (31 - exponent)`` >= 2**31.

    0 gives (0, 0).
    """
    value = np.asarray(value)
    if value.dtype.kind not in "iu":
        raise TypeError(f"value must be integers, not {value.dtype}")
    if value.size and not (value.min() >= 0 and value.max() < 1 << 32):
        raise ValueError(f"value ranges from {value.min()} to {value.max()}: allowed is 0 to 2**32 - 1")
    value = value.astype(np.int64)
    exponent = np.maximum(np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1, 0)
    return exponent, value << 31 - exponent


def reciprocal(mantissa):
    """``2**17 / (mantissa / 2**31)`` for 2**31 <= mantissa < 2**32; an int64 array, 2**16 to 2**17 - 1.

    Within 1.01, or 0.82 past the first line; the relative error is at most 0.292 * 2**-15. Where two lines
    meet the result may rise by 1.
    """
    mantissa = np.asarray(mantissa, dtype=np.int64)
    index = mantissa >> 31 - INDEX_BITS & (1 << INDEX_BITS) - 1
    step = mantissa >> 31 - INDEX_BITS - STEP_BITS & (1 << STEP_BITS) - 1
    return rsh((BASE[index] << STEP_BITS) - SLOPE[index] * step, STEP_BITS + GUARD_BITS)


def scale(numerator, exponent, factor, shift=PLAIN_SHIFT, bits=RESULT_BITS):
    """``sat(numerator * factor / 2**(shift + exponent - 15))`` in the steps of the hardware.

    With the plain reciprocal for factor, the default shift gives 7 fractional bits.

    Returns the result and whether it saturated.
    """
    shifted = rsh(np.asarray(numerator), np.maximum(np.asarray(exponent) - MIN_EXPONENT, 0))
    operand = sat(shifted, NUMERATOR_BITS)
    rounded = rsh(operand * np.asarray(factor), shift)
    result = sat(rounded, bits)
    return result, ((result != rounded) | (operand != shifted)).astype(np.int64)


def quotient(numerator, denominator):
    """``sat16(numerator / denominator * 2**7)`` within 0.8 of exact division; int64 array.

    Parameters
    ----------
    numerator : int array
        Signed 40 bits: O.
    denominator : int array
        l: 2**15 or more, or 0, an empty row, whose numerator is 0 and which gives 0.
    """
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    if ((denominator < 1 << MIN_EXPONENT) & (denominator != 0)).any():
        raise ValueError(f"denominator is {denominator[denominator != 0].min()}: must be "
                         f"{1 << MIN_EXPONENT} or more, or 0")
    if (numerator[denominator == 0] != 0).any():
        raise ValueError("a denominator of 0 needs a numerator of 0: the row saw no key")
    exponent, mantissa = normalize(denominator)
    return scale(numerator, exponent, reciprocal(mantissa))[0]
