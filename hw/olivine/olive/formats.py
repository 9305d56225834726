"""Number formats of the lane operand (weights, keys, values).

In the 4-bit formats a byte holds a pair, its first element in the high nibble. Outlier-victim pairs
(OliVe, ISCA'23) mark the victim with an identifier, the one code that the normal type does not use;
the other nibble is then an outlier in E2M1 with an adaptive bias.
"""

from amaranth.lib import enum

__all__ = ["LaneFormat", "IDENTIFIER", "OUTLIER_BIAS", "FLINT4_MAGNITUDES"]


class LaneFormat(enum.Enum, shape=2):
    OVP4_INT = 0
    OVP4_FLINT = 1
    INT4 = 2
    INT8 = 3

    @property
    def bits(self):
        """Bits of one element in memory."""
        return 8 if self is LaneFormat.INT8 else 4


IDENTIFIER = 0b1000
"""Nibble that marks a victim: int4's unused -8, flint4's unused -0."""

OUTLIER_BIAS = {LaneFormat.OVP4_INT: 2, LaneFormat.OVP4_FLINT: 3}
"""E2M1 bias: the smallest for which the smallest outlier is above the largest normal (7, 16)."""

FLINT4_MAGNITUDES = (0, 1, 2, 3, 16, 8, 4, 6)
"""Magnitude of a signed flint4 by its low three bits."""
