"""What the key-value cache knows of a sequence, and what it answers: handles, policies, answers, state."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from olivine.kvcache.descriptor import CachePolicy, CacheStatus

__all__ = ["Handle", "Policy", "window", "heavy", "Answer", "Sequence"]


class Handle(NamedTuple):
    """Name of a sequence; it dies with the sequence."""

    slot: int
    generation: int


class Policy(NamedTuple):
    """What a sequence forgets; by default nothing. See `window` and `heavy`."""

    kind: CachePolicy = CachePolicy.NONE
    window: int = 0
    heavy: int = 0
    recent: int = 0
    chunk: int = 0

    @property
    def sizes(self):
        """The numbers that belong to the kind."""
        return {CachePolicy.NONE: (), CachePolicy.WINDOW: (self.window,),
                CachePolicy.HEAVY: (self.heavy, self.recent, self.chunk)}[self.kind]


def window(positions):
    """Policy: a query sees the latest ``positions`` up to its own; blocks before them return to the pool."""
    return Policy(CachePolicy.WINDOW, window=positions)


def heavy(heavy, recent, chunk):
    """Policy: keep ``heavy`` keys by their sums and the ``recent`` newest; a step has at most ``chunk`` tokens."""
    return Policy(CachePolicy.HEAVY, heavy=heavy, recent=recent, chunk=chunk)


@dataclass(frozen=True)
class Answer:
    """What an operation did, each list in the order in which it is done.

    Attributes
    ----------
    handle : Handle or None
        Of a new sequence.
    granted, released : tuple of int
        Blocks taken from the pool; blocks given back to it (not those that another sequence still holds).
    copies : tuple of (int, int)
        APPEND: source and target block; the committed places of the source are copied. SWAP_OUT: block and host
        place; SWAP_IN: host place and block.
    moves : tuple of (int, int)
        Places (``block * L + place``) from and to.
    dropped : tuple of tuple of int
        For each layer and KV head the cells that were evicted.
    """

    status: CacheStatus
    handle: Handle | None = None
    granted: tuple = ()
    released: tuple = ()
    copies: tuple = ()
    moves: tuple = ()
    dropped: tuple = ()


@dataclass
class Sequence:
    """One open sequence. ``table``: block of each L positions (heavy: of each L cells), None for a hole; while
    swapped out, ``stored`` lists the host places of the entries that are no hole, and ``mask`` what they hold."""

    policy: Policy
    table: list = field(default_factory=list)
    length: int = 0
    reserved: int = 0
    broken: bool = False
    swapped: bool = False
    hitters: tuple = ()
    stored: list = field(default_factory=list)
    mask: np.ndarray | None = None
