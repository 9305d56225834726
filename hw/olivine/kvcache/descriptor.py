"""The key-value cache's operations and what they answer."""

from amaranth.lib import enum

__all__ = ["GENERATION_BITS", "CacheOp", "CachePolicy", "CacheStatus"]

GENERATION_BITS = 16
"""A handle is a sequence's slot and the slot's generation, which counts closed sequences and wraps."""


class CacheOp(enum.Enum, shape=3):
    """Operations on a sequence."""

    OPEN = 0
    APPEND = 1
    """Reserve places for the tokens of a step."""
    FORK = 2
    TRUNCATE = 3
    COMMIT = 4
    """End a step: keep reserved places, release the others."""
    CLOSE = 5
    SWAP_OUT = 6
    SWAP_IN = 7


class CachePolicy(enum.Enum, shape=2):
    """What a sequence forgets."""

    NONE = 0
    WINDOW = 1
    """Blocks whose places have all left the window."""
    HEAVY = 2
    """Keys with the smallest sums of probabilities, apart from the most recent ones."""


class CacheStatus(enum.Enum, shape=4):
    """An operation's answer. Anything but OK leaves everything as it was."""

    OK = 0
    NO_BLOCK = 1
    """Too few free blocks for the whole operation."""
    NO_SEQUENCE = 2
    """No slot is free for one more sequence, or the handle names a slot that does not exist or was not opened in
    this generation."""
    STALE_HANDLE = 3
    """The handle's sequence was closed: the slot is in another generation."""
    OVER_LENGTH = 4
    """The sequence would be longer than the configured largest length."""
    CROSSES_EVICTION = 5
    """The shorter sequence would need keys that its policy has already given up."""
    NOT_FORKABLE = 6
    """A heavy-hitter sequence cannot be shared: each would evict the other's keys."""
    BROKEN = 7
    """A step of this heavy-hitter sequence ended in a fault; it can only be closed."""
    NOTHING_RESERVED = 8
    """The operation ends a step, and none was begun."""
    RESERVED = 9
    """Not while places are reserved: commit first."""
    BAD_COUNT = 10
    """A number that is not allowed: of places, a length, a path, a policy's size, a window of host memory."""
    SWAPPED = 11
    """The contents are in host memory: swap in first."""
    NOT_SWAPPED = 12
    """The contents are not in host memory."""
