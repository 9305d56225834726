"""What would lie in the cache's memory: blocks with a value for each place and head, filled with poison when granted.

Stands for the mover: does its copies on values instead of bytes, and fails when it is told to.
"""

from olivine_golden.kv_sequence import Copy

__all__ = ["POISON", "FAULT_ADDRESS", "Contents"]

POISON = -1
"""Another sequence's data."""

FAULT_ADDRESS = 0xBAD_0000


class Contents:
    """Values ``[L][heads]`` of blocks, in the pool and in host memory, by address.

    Attributes
    ----------
    fail_at : int or None
        Which of the next operation's moves fails, counting from 0.
    moves : list of Copy or Place
        All that were asked for since `begin`.
    """

    def __init__(self, cache):
        self.cache, self.lanes, self.heads = cache, cache.lanes, cache.heads
        self.memory = {}
        self.fail_at, self.moves = None, []
        cache.mover = self.move

    def begin(self, fail_at=None):
        """An operation begins. What it is granted is poison, so everything free is made so now."""
        self.fail_at, self.moves = fail_at, []
        for block in self.cache.free:
            self.memory[self.address(block)] = self.poison()

    def poison(self):
        return [[POISON] * self.heads for _ in range(self.lanes)]

    def address(self, block):
        return self.cache.base + block * self.cache.block_bytes

    def place(self, block, place):
        """The values of a place, one for each head, to read or change."""
        return self.memory[self.address(block)][place]

    def move(self, move):
        self.moves.append(move)
        fails = len(self.moves) - 1 == self.fail_at
        if isinstance(move, Copy):
            target = self.memory.setdefault(move.target, self.poison())
            source = self.memory[move.source]
            # A copy that fails may have done half of it.
            for place in range(move.places // 2 if fails else move.places):
                target[place] = list(source[place])
            for place in range(move.places, self.lanes if move.zero and not fails else 0):
                target[place] = [0] * self.heads
        else:
            values = self.memory[move.source][move.source_place]
            half = self.heads // 2 if fails else self.heads
            self.memory[move.target][move.target_place][:half] = values[:half]
        return FAULT_ADDRESS + 16 * len(self.moves) if fails else None
