"""Golden model of layer norm and RMS norm over rows of the residual stream.

::

    S1 = sum x, S2 = sum x**2                                  exact: signed 36 bits, unsigned 59 bits
    V  = channels * S2 - S1**2 (RMS norm: channels * S2)       exact: channels**2 times the variance
    M  = sign(S1) * rsh(|S1| * reciprocal, 35) (RMS norm: 0)   the mean, 18 more fractional bits
    2**exponent * sqrt(m) = sqrt(V + epsilon)
    d  = sat25(rsh((x << 18) - M, pre))
    n  = sat25(rsh(d * factor, post))                          normalised, 18 fractional bits
    y  = sat(rsh(rsh(n * gamma, shift) + beta, 4), bits)

With ``octave = floor(log2(channels))`` and ``scaled = channels << (12 - octave)``::

    factor = rsh(scaled * rsqrt(m), 13)
    pre    = max(exponent - octave + 1, 0)
    post   = min(exponent - octave + 16, 15)

No step before the last one can saturate: no residual is further from the mean than 64 standard deviations.

Error: with ``deviation = sqrt(V + epsilon) / channels``, in steps of the residual, n is within
``2**-15 * |n| + 2**-16.6 + 2**-18 / deviation`` of exact arithmetic on the same integers. A row that is not constant
has a deviation of 1/64 at least. So n's rms error is below 2**-11 of its rms, as long as that is 2**-5 or more: below,
epsilon outweighs the variance a thousand times. The two last roundings add half a step and a 32nd to the result.
"""

from typing import NamedTuple

import numpy as np
from olivine.vector.formats import (
    BETA_FRACTION,
    EPSILON_BITS,
    MAX_CHANNELS,
    MEAN_FRACTION,
    NORMAL_BITS,
    RECIPROCAL_SHIFT,
    RESIDUAL_BITS,
    RESIDUAL_FRACTION,
)

from ..rounding import rsh, sat
from .rsqrt import rsqrt

__all__ = ["NormJob", "NormRows", "Normalised", "sums", "statistics", "normal", "normalise", "normalise_rows"]


class NormJob(NamedTuple):
    """What one job's rows have in common: ``centred`` is layer norm, else RMS norm."""

    channels: int
    reciprocal: int
    epsilon: int
    centred: bool

    @classmethod
    def of(cls, channels, eps, centred):
        """From an epsilon in units of the squared residual."""
        epsilon = round(eps * (1 << 2 * RESIDUAL_FRACTION) * channels ** 2)
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"channels is {channels}: allowed is 1 to {MAX_CHANNELS}")
        if not 0 <= epsilon < 1 << EPSILON_BITS:
            raise ValueError(f"eps is {eps}: {channels} channels allow 0 to "
                             f"{((1 << EPSILON_BITS) - 1) / (1 << 2 * RESIDUAL_FRACTION) / channels ** 2:.3g}")
        return cls(channels, ((2 << RECIPROCAL_SHIFT) // channels + 1) // 2, epsilon, bool(centred))


class NormRows(NamedTuple):
    """int64 [rows] each: the fields of `olivine.vector.formats.NormRow`."""

    mean: np.ndarray
    factor: np.ndarray
    pre: np.ndarray
    post: np.ndarray


class Normalised(NamedTuple):
    """int64 results, and where they saturated."""

    y: np.ndarray
    saturated: np.ndarray


def sums(x):
    """Sum and sum of squares of each row of residuals [rows, channels], as lists of integers."""
    x = np.asarray(x, np.int64)
    if x.size and (sat(x, RESIDUAL_BITS) != x).any():
        raise ValueError(f"residuals range from {x.min()} to {x.max()}: allowed are {RESIDUAL_BITS} bits")
    return x.sum(1).tolist(), (x * x).sum(1).tolist()


def _row(job, total, squares):
    variance = job.channels * squares - (total ** 2 if job.centred else 0)
    exponent, root = rsqrt(variance + job.epsilon)
    octave = job.channels.bit_length() - 1
    mean = rsh(abs(total) * job.reciprocal, RECIPROCAL_SHIFT - MEAN_FRACTION) if job.centred else 0
    return (-mean if total < 0 else mean, rsh((job.channels << 12 - octave) * root, 13),
            max(exponent - octave + 1, 0), min(exponent - octave + 16, 15))


def statistics(job, total, squares):
    """`NormRows` of rows from their sums."""
    return NormRows(*np.array([_row(job, *row) for row in zip(total, squares)], np.int64).reshape(-1, 4).T)


def normal(x, rows):
    """Normalised residuals [rows, channels], 18 fractional bits."""
    mean, factor, pre, post = (value[:, None] for value in rows)
    d = sat(rsh((np.asarray(x, np.int64) << MEAN_FRACTION) - mean, pre), NORMAL_BITS)
    return sat(rsh(d * factor, post), NORMAL_BITS)


def normalise(x, rows, gamma, beta, shift, bits):
    """Results [rows, channels]; gamma and beta int16 [channels], which fold the output's scale.

    A gamma of 1 is one output step for each standard deviation at a shift of 14. beta is in 16ths of a step.
    """
    scaled = rsh(normal(x, rows) * np.asarray(gamma, np.int64), shift)
    rounded = rsh(scaled + np.asarray(beta, np.int64), BETA_FRACTION)
    y = sat(rounded, bits)
    return Normalised(y, y != rounded)


def normalise_rows(x, job, gamma, beta, shift, bits):
    """Layer norm or RMS norm of rows of residuals [rows, channels]."""
    return normalise(x, statistics(job, *sums(x)), gamma, beta, shift, bits)
