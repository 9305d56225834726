"""Golden models of the vector unit: `norm` on `rsqrt`, `activation`, `residual`, `rotary`, `largest`."""

from .activation import activate, gate
from .largest import largest
from .norm import NormJob, normalise_rows
from .residual import add, requantize
from .rotary import rotate

__all__ = ["NormJob", "normalise_rows", "activate", "gate", "add", "requantize", "rotate", "largest"]
