"""Reciprocal square root of a wide integer by 192 straight lines, twin of `olivine.vector.rsqrt`.

``value = m * 4**exponent`` with m in [1, 4). Each line lies between the chord and the curve ``1 / sqrt(m)``, so that
its largest errors above and below are the same.
"""

import math

import numpy as np
from olivine.vector.formats import RSQRT_BITS, VALUE_BITS

from ..rounding import rsh

__all__ = ["BASE", "SLOPE", "normalize", "rsqrt"]

INDEX_BITS = 8
STEP_BITS = 12
GUARD_BITS = 4
"""Bits of the mantissa that choose the line (two before its point), those that go along it, extra bits of the lines."""


def _lines():
    unit, parts = 1 << RSQRT_BITS + GUARD_BITS, 1 << INDEX_BITS - 2
    base, slope = [0] * parts, [0] * parts
    for index in range(parts, 4 * parts):
        left, right = index / parts, (index + 1) / parts
        fall = 1 / math.sqrt(left) - 1 / math.sqrt(right)
        # The chord is furthest above the curve where that falls as fast.
        furthest = (1 / (2 * parts * fall)) ** (2 / 3)
        sag = 1 / math.sqrt(left) - fall * (furthest - left) * parts - 1 / math.sqrt(furthest)
        # Bits below the step are cut off: on average half a step is missing.
        base.append(math.floor(unit * (1 / math.sqrt(left) - sag / 2 - fall / (2 << STEP_BITS)) + 0.5))
        slope.append(math.floor(unit * fall + 0.5))
    # 1/1 itself needs one bit more: the first line starts at the largest result instead.
    base[parts] = min(base[parts], unit - (1 << GUARD_BITS - 1) - 1)
    return np.array(base), np.array(slope)


BASE, SLOPE = _lines()


def normalize(value):
    """``(exponent, mantissa)`` of an integer 0 <= value < 2**72: ``mantissa = value * 4**(35 - exponent) >= 2**70``.

    0 gives (0, 0).
    """
    if not 0 <= value < 1 << VALUE_BITS:
        raise ValueError(f"value is {value}: allowed is 0 to 2**{VALUE_BITS} - 1")
    exponent = max(value.bit_length() - 1, 0) // 2
    return exponent, value << VALUE_BITS - 2 - 2 * exponent


def rsqrt(value):
    """``(exponent, r)`` with ``r = 2**17 / sqrt(value / 4**exponent)`` for an integer 0 < value < 2**72.

    r is 2**16 to 2**17 - 1; its relative error is at most 2**-15.9. 0 gives (0, 0).
    """
    exponent, mantissa = normalize(value)
    index = mantissa >> VALUE_BITS - INDEX_BITS
    step = mantissa >> VALUE_BITS - INDEX_BITS - STEP_BITS & (1 << STEP_BITS) - 1
    return exponent, rsh((int(BASE[index]) << STEP_BITS) - int(SLOPE[index]) * step, STEP_BITS + GUARD_BITS)
