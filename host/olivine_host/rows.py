"""Activations as integers: what the host sends to the array, and reads back."""

import numpy as np
from olivine.linear.descriptor import RowFormat

__all__ = ["quantize_rows", "symmetric_scale"]


def quantize_rows(x, scale, row_format):
    """Integers [M, K] of float rows: to the nearest step of ``scale``, saturated to the format."""
    limit = 1 << (RowFormat(row_format).bits - 1)
    return np.clip(np.rint(np.asarray(x, np.float64) / scale), -limit, limit - 1).astype(np.int64)


def symmetric_scale(largest, row_format):
    """The scale that maps the magnitude ``largest`` to the format's largest value; 1 for all zeros."""
    return float(largest) / ((1 << (RowFormat(row_format).bits - 1)) - 1) if largest else 1.0
