"""Golden model of the residual stream: what is added to it, and its requantization for the next layer.

Both are exact but for one rounding: at most half a step of the result.
"""

from typing import NamedTuple

import numpy as np
from olivine.config import REQUANT_BITS
from olivine.vector.formats import RESIDUAL_BITS

from ..rounding import rsh, sat

__all__ = ["Added", "Requantized", "add", "requantize"]


class Added(NamedTuple):
    """The new residuals int64, and where the addend and the sum saturated."""

    residual: np.ndarray
    addend_saturated: np.ndarray
    sum_saturated: np.ndarray


class Requantized(NamedTuple):
    """int64 results, and where they saturated."""

    y: np.ndarray
    saturated: np.ndarray


def add(residual, x, mult, shift):
    """``sat24(residual + rsh(sat36(x) * mult, shift))``.

    Parameters
    ----------
    residual : int array
    x : int array
        Results of a linear layer, up to 40 bits.
    mult, shift : int or int arrays
        Unsigned 16 bit, 0 to 63.
    """
    x = np.asarray(x, np.int64)
    operand = sat(x, REQUANT_BITS)
    total = np.asarray(residual, np.int64) + rsh(operand * np.asarray(mult, np.int64), shift)
    result = sat(total, RESIDUAL_BITS)
    return Added(result, operand != x, result != total)


def requantize(residual, mult, shift, bits):
    """``sat(rsh(residual * mult, shift), bits)``"""
    rounded = rsh(np.asarray(residual, np.int64) * np.asarray(mult, np.int64), shift)
    y = sat(rounded, bits)
    return Requantized(y, y != rounded)
