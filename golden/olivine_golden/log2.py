"""Binary logarithm with 8 fractional bits, twin of `olivine.numerics.log2`."""

import numpy as np

from .reciprocal import normalize

__all__ = ["TABLE", "log2_q8"]

INDEX_BITS = 10

_MIDDLES = 1 + (np.arange(1 << INDEX_BITS) + 0.5) / (1 << INDEX_BITS)

TABLE = np.floor(256 * np.log2(_MIDDLES) + 0.5).astype(np.int64)
"""``round(256 * log2(x))`` in the middle of each 1024th of [1, 2): 0 to 256."""


def log2_q8(value):
    """``256 * log2(value)`` for 1 <= value < 2**32, within 0.68; an int64 array, 0 to 8192.

    The exponent, and a table over the ten bits below the leading one: half a table step is 0.18, the
    table's rounding 0.5. Powers of two are exact. 0 gives 0: the caller knows an empty sum.
    """
    exponent, mantissa = normalize(value)
    index = mantissa >> 31 - INDEX_BITS & (1 << INDEX_BITS) - 1
    return (exponent << 8) + TABLE[index]
