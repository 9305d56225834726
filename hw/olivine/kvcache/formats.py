"""Operations on the block pool and its answers, for gateware, golden and host."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

__all__ = ["BLOCK_BITS", "PoolOp", "PoolStatus", "PoolCommand", "PoolAnswer"]

BLOCK_BITS = 16
"""Bits of a block number, whatever the size of the pool, so that a number too large arrives as it is."""


class PoolOp(enum.Enum, shape=2):
    ALLOC = 0
    """Hand out the block that has been free the longest, with a count of 1."""
    RETAIN = 1
    """One more user of a block, such as a sequence that shares its prefix with another."""
    RELEASE = 2
    """One user less; with the last one the block is free again."""


class PoolStatus(enum.Enum, shape=3):
    """How an operation ended. Anything but OK changed nothing."""

    OK = 0
    NO_BLOCK = 1
    """No block is free."""
    NOT_HELD = 2
    """The block is free: there is nothing to retain or to release."""
    COUNT_FULL = 3
    """The count is the largest that there is: no further user."""
    BAD_BLOCK = 4
    """No such block, or no such operation."""


PoolCommand = data.StructLayout({"op": PoolOp, "block": unsigned(BLOCK_BITS)})
"""``block`` means nothing to ALLOC."""

PoolAnswer = data.StructLayout({"status": PoolStatus, "block": unsigned(BLOCK_BITS), "freed": unsigned(1)})
"""``block`` is what ALLOC hands out (0 if nothing), else the command's. ``freed``: the release was the last."""
