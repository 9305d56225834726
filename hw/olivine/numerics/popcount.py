"""Number of ones, as a balanced tree of adders."""

from amaranth.hdl import Value

__all__ = ["popcount"]


def popcount(value):
    """Unsigned number of ones in ``value``, combinational, depth log2 of its width."""
    parts = list(Value.cast(value))
    while len(parts) > 1:
        parts = [sum(parts[i:i + 2][1:], parts[i]) for i in range(0, len(parts), 2)]
    return parts[0]
