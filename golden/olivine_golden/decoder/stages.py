"""The decoder's stages that look at one row at a time, on integers held as float64 (see `exact`).

Each class holds what can be computed once from a model's numbers, and is called with rows [rows, channels]. Its
results are those of the golden function that its docstring names, bit for bit.
"""

import numpy as np
from olivine.config import REQUANT_BITS, ROW_BITS
from olivine.linear.descriptor import Group, run_steps
from olivine.vector.formats import (
    BETA_FRACTION,
    LINEAR_BITS,
    MEAN_FRACTION,
    NORMAL_BITS,
    RECIPROCAL_SHIFT,
    RESIDUAL_BITS,
)

from ..linear import decode
from ..rounding import rsh
from ..vector import norm, rsqrt
from ..vector.activation import activate
from .exact import clamp, factor, rounded, scaled

__all__ = ["ActivationStage", "Embeddings", "LinearStage", "NormStage", "add"]


class Embeddings:
    """Two gathers and two additions: token and position."""

    def __init__(self, token, position):
        self._token, self._position = (scaled(table.table.astype(np.float64), factor(*table.add), RESIDUAL_BITS)
                                       for table in (token, position))

    def __call__(self, ids, positions):
        """Residuals of tokens [rows] at ``positions`` [rows]."""
        return clamp(self._token[ids] + self._position[positions], RESIDUAL_BITS)


def add(residual, y, by):
    """`olivine_golden.vector.residual.add` of int16 ``y``, in place."""
    residual += rounded(y * by)
    return clamp(residual, RESIDUAL_BITS)


class LinearStage:
    """`olivine_golden.linear.linear` with int16 results, of rows within int12."""

    def __init__(self, weights):
        values = decode(weights).astype(np.float64)
        run, self._group = len(values), None
        if weights.group is not Group.CHANNEL:
            multipliers = weights.multipliers.astype(np.float64)
            values *= np.repeat(multipliers, run_steps(weights.group), axis=0)[:len(values)]
            if weights.group_shift:
                run, self._group = run_steps(weights.group), factor(1, weights.group_shift)
        # Where nothing is rounded before the last run, the runs are one product: sums stay below 2**53.
        self._runs = [(slice(k, k + run), values[k:k + run]) for k in range(0, len(values), run)]
        self._bias = weights.bias.astype(np.float64)
        self._factor = factor(weights.mult, weights.shift)

    def __call__(self, x):
        total = None
        for steps, values in self._runs:
            psum = x[:, steps] @ values
            if self._group is not None:
                psum *= self._group
                rounded(psum)
            total = psum if total is None else np.add(total, psum, out=total)
        total += self._bias
        clamp(total, REQUANT_BITS)
        total *= self._factor
        return clamp(rounded(total), LINEAR_BITS)


class ActivationStage:
    """`olivine_golden.vector.activation.activate` to int12: a table of all arguments."""

    def __init__(self, kind, activation):
        half = 1 << LINEAR_BITS - 1
        # Index -1 is the last entry: the negative arguments lie in the second half.
        argument = np.concatenate([np.arange(half), np.arange(-half, 0)])
        self._table = activate(kind, argument, activation.fraction, activation.mult, activation.shift,
                               ROW_BITS).y.astype(np.float64)

    def __call__(self, x):
        return self._table[x.astype(np.int32)]


class NormStage:
    """`olivine_golden.vector.norm.normalise_rows` to int12."""

    def __init__(self, config, parameters):
        self._job = norm.NormJob.of(config.d_model, config.eps, config.centred)
        self._gamma = factor(parameters.gamma, parameters.shift)
        self._beta = parameters.beta.astype(np.float64)

    def __call__(self, residual):
        mean, by, pre, post = (np.asarray(value, np.float64)[:, None] for value in self._statistics(residual))
        x = residual * float(1 << MEAN_FRACTION)
        x -= mean
        x *= np.exp2(-pre)
        clamp(rounded(x), NORMAL_BITS)
        x *= by * np.exp2(-post)
        clamp(rounded(x), NORMAL_BITS)
        x *= self._gamma
        rounded(x)
        x += self._beta
        x *= 2.0 ** -BETA_FRACTION
        return clamp(rounded(x), ROW_BITS)

    def _statistics(self, residual):
        job, x = self._job, residual.astype(np.int64)
        total, squares = x.sum(1), np.einsum("rc,rc->r", x, x)
        # Rows near the stream's limits have variances of more bits than int64 holds.
        if job.channels * int(squares.max(initial=0)) + job.epsilon >= 1 << 62:
            return norm.statistics(job, total.tolist(), squares.tolist())
        variance = job.channels * squares + job.epsilon
        if job.centred:
            variance -= total ** 2
        exponent, root = _rsqrt(variance)
        octave = job.channels.bit_length() - 1
        # The product has up to 35 + 54 bits: in two parts, of which the lower one is rounded.
        size, places = np.abs(total), RECIPROCAL_SHIFT - MEAN_FRACTION
        high, low = job.reciprocal >> places, job.reciprocal & (1 << places) - 1
        mean = size * high + _rounded_product(size, low, places)
        return norm.NormRows(np.where(total < 0, -mean, mean) if job.centred else np.zeros_like(mean),
                             rsh((job.channels << 12 - octave) * root, 13),
                             np.maximum(exponent - octave + 1, 0), np.minimum(exponent - octave + 16, 15))


def _rounded_product(size, low, places):
    """``rsh(size * low, places)`` with ``low < 2**places``, 35 places, and sizes of up to 35 bits, in int64."""
    half = places // 2
    upper, lower = low >> half, low & (1 << half) - 1
    # size * low = upper * size * 2**half + lower * size
    carried = upper * size + (lower * size >> half)
    return rsh(carried, places - half)


def _rsqrt(value):
    """`olivine_golden.vector.rsqrt.rsqrt` of an array of integers 0 to 2**62."""
    bits = np.frexp(value.astype(np.float64))[1].astype(np.int64)
    # From 2**53 on the conversion may have rounded up to the next power of two.
    bits -= (value >> np.maximum(bits - 1, 0) == 0) & (bits > 0)
    exponent = np.maximum(bits - 1, 0) // 2
    places = rsqrt.INDEX_BITS + rsqrt.STEP_BITS
    down = 2 * exponent + 2 - places
    top = np.where(down > 0, value >> np.maximum(down, 0), value << np.maximum(-down, 0))
    index, step = top >> rsqrt.STEP_BITS, top & (1 << rsqrt.STEP_BITS) - 1
    line = (rsqrt.BASE[index] << rsqrt.STEP_BITS) - rsqrt.SLOPE[index] * step
    return exponent, rsh(line, rsqrt.STEP_BITS + rsqrt.GUARD_BITS)
