"""Blocks of memory with counts of their users, twin of `olivine.kvcache.pool`."""

from collections import deque
from typing import NamedTuple

from olivine.kvcache.formats import PoolOp, PoolStatus

__all__ = ["Answer", "BlockPool"]


class Answer(NamedTuple):
    """What an operation gives back, as `olivine.kvcache.formats.PoolAnswer`."""

    status: PoolStatus
    block: int
    freed: int = 0


class BlockPool:
    """Blocks 0 to ``blocks - 1``; the block that has been free the longest goes first.

    Parameters
    ----------
    blocks : int
    counts_bits : int
        Bits of a count: at most ``2**counts_bits - 1`` users of a block.

    Attributes
    ----------
    counts : list of int
        Users of each block.
    """

    def __init__(self, blocks, counts_bits):
        self.most = (1 << counts_bits) - 1
        self.counts = [0] * blocks
        self._free = deque(range(blocks))

    @property
    def free(self):
        """Number of free blocks."""
        return len(self._free)

    def alloc(self):
        if not self._free:
            return Answer(PoolStatus.NO_BLOCK, 0)
        block = self._free.popleft()
        self.counts[block] = 1
        return Answer(PoolStatus.OK, block)

    def retain(self, block):
        if refused := self._refused(block):
            return refused
        if self.counts[block] == self.most:
            return Answer(PoolStatus.COUNT_FULL, block)
        self.counts[block] += 1
        return Answer(PoolStatus.OK, block)

    def release(self, block):
        if refused := self._refused(block):
            return refused
        self.counts[block] -= 1
        if self.counts[block]:
            return Answer(PoolStatus.OK, block)
        self._free.append(block)
        return Answer(PoolStatus.OK, block, 1)

    def do(self, op, block=0):
        """The operation ``op``, a `PoolOp`; ``block`` means nothing to ALLOC."""
        if op is PoolOp.ALLOC:
            return self.alloc()
        return self.retain(block) if op is PoolOp.RETAIN else self.release(block)

    def _refused(self, block):
        if not 0 <= block < len(self.counts):
            return Answer(PoolStatus.BAD_BLOCK, block)
        return None if self.counts[block] else Answer(PoolStatus.NOT_HELD, block)
