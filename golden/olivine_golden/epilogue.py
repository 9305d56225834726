"""Golden model of the epilogue: what happens to a sum once it leaves the array."""

from typing import NamedTuple

import numpy as np
from olivine.config import REQUANT_BITS

from .rounding import rsh, sat

__all__ = ["scale_run", "Requantized", "requantize"]


def scale_run(acc, multiplier, group_shift):
    """What a run's sums add to the partial sums.

    Parameters
    ----------
    acc : int array
    multiplier : int array or None
        Group multipliers, unsigned 8 bit; None when scales are per channel.
    group_shift : int
    """
    acc = np.asarray(acc, np.int64)
    return acc if multiplier is None else rsh(acc * np.asarray(multiplier, np.int64), group_shift)


class Requantized(NamedTuple):
    """Results int64, and where the finished sum and the result saturated."""

    y: np.ndarray
    sum_saturated: np.ndarray
    output_saturated: np.ndarray


def requantize(psum, bias, mult, shift, bits):
    """Finish partial sums: ``sat(rsh(sat36(psum + bias) * mult, shift), bits)``.

    Parameters
    ----------
    psum : int array
    bias, mult, shift : int arrays
        Of the channels: int32, unsigned 16 bit, 0 to 63.
    bits : int
        Width of a result.
    """
    bias, mult, shift = (np.asarray(value).astype(np.int64) for value in (bias, mult, shift))
    total = psum + bias
    finished = sat(total, REQUANT_BITS)
    scaled = rsh(finished * mult, shift)
    y = sat(scaled, bits)
    return Requantized(y, finished != total, y != scaled)
