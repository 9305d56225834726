"""Number formats of the vector unit, for gateware, golden and host."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

__all__ = [
    "RESIDUAL_BITS", "RESIDUAL_FRACTION", "CONTAINER_BITS", "LINEAR_BITS", "FACTOR_BITS", "SHIFT_BITS",
    "MAX_CHANNELS", "SUM_BITS", "SQUARES_BITS", "RECIPROCAL_SHIFT", "EPSILON_BITS", "MEAN_FRACTION", "NORMAL_BITS",
    "NORMAL_FRACTION", "BETA_FRACTION", "VALUE_BITS", "RSQRT_BITS", "NormRow", "Function", "FUNCTION_FRACTION",
    "FUNCTION_BITS", "ANGLE_FRACTION", "word_place", "word",
]

RESIDUAL_BITS = 24
RESIDUAL_FRACTION = 10
"""The residual stream: signed fixed point, -8192 to 8192 in steps of 2**-10."""

CONTAINER_BITS = 32
"""Of a residual in memory."""

LINEAR_BITS = 16
"""Result of a linear layer, signed fixed point; its fraction is the job's."""

FACTOR_BITS = 16
SHIFT_BITS = 6
"""A requantization: an unsigned multiplier and a right shift."""

MAX_CHANNELS = 4096
"""Longest row that is normalised."""

SUM_BITS = RESIDUAL_BITS + 12
SQUARES_BITS = 2 * RESIDUAL_BITS - 1 + 12
"""Signed sum and unsigned sum of squares of `MAX_CHANNELS` residuals, exact."""

RECIPROCAL_SHIFT = 53
"""A job's reciprocal is ``round(2**53 / channels)``: 54 bits, the fewest that leave means of equal
residuals exact."""

EPSILON_BITS = 32
"""A job's epsilon is ``round(eps * 2**20 * channels**2)``."""

MEAN_FRACTION = 18
"""Bits of a mean below those of a residual."""

NORMAL_BITS = 25
NORMAL_FRACTION = 18
"""A normalised residual: no larger than sqrt(4096) = 64."""

BETA_FRACTION = 4
"""Bits of beta below an output step."""

VALUE_BITS, RSQRT_BITS = 72, 17
"""Of a reciprocal square root: its argument, and its result in units of 2**-17."""

NormRow = data.StructLayout({
    "mean": signed(RESIDUAL_BITS + MEAN_FRACTION),
    "factor": unsigned(17),
    "pre": unsigned(5),
    "post": unsigned(4),
})
"""What the statistics of a row leave for its normalisation: ``rsh(rsh(x - mean, pre) * factor, post)``."""


class Function(enum.Enum, shape=3):
    """Activation functions."""

    IDENTITY = 0
    RELU = 1
    GELU_TANH = 2
    GELU_ERF = 3
    SILU = 4


FUNCTION_FRACTION = 12
FUNCTION_BITS = 20
"""Argument and value of an activation function: -128 to 128 in steps of 2**-12."""

ANGLE_FRACTION = 14
"""Fraction of the signed 16-bit cosines and sines of rotary positions."""


def word_place(config):
    """What travels with a part of a word: whether that word is the ``last`` of its group of rows, and which of the
    part's rows are ``counted``."""
    return data.StructLayout({"valid": 1, "last": 1, "counted": config.vector_lanes})


def word(config, shape, **more):
    """A part of a word: `vector_lanes` rows of a channel, and what else comes with it, all in the same cycle."""
    return data.StructLayout({
        "place": word_place(config), "data": data.ArrayLayout(shape, config.vector_lanes), **more})
