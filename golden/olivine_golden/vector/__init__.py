"""Golden models of the vector unit: `norm`, `activation`, `residual`, and the `rsqrt` below them."""

from .activation import activate, gate
from .norm import NormJob, normalise_rows
from .residual import add, requantize

__all__ = ["NormJob", "normalise_rows", "activate", "gate", "add", "requantize"]
