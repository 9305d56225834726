"""What the key-value cache knows of a sequence, and what it answers: handles, policies, answers, moves, state."""

from dataclasses import dataclass, field
from typing import NamedTuple

from olivine.kvcache.descriptor import CachePolicy, CacheStatus

__all__ = ["Handle", "Policy", "window", "heavy", "Copy", "Place", "Answer", "Sequence"]


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

    @property
    def size(self):
        """The member ``size`` of a command: window, or heavy."""
        return self.heavy if self.kind is CachePolicy.HEAVY else self.window


def window(positions):
    """Policy: a query sees the latest ``positions`` up to its own; blocks before them return to the pool."""
    return Policy(CachePolicy.WINDOW, window=positions)


def heavy(heavy, recent, chunk):
    """Policy: keep ``heavy`` keys by their sums and the ``recent`` newest; a step has at most ``chunk`` tokens."""
    return Policy(CachePolicy.HEAVY, heavy=heavy, recent=recent, chunk=chunk)


class Copy(NamedTuple):
    """The first ``places`` places of a block, from one byte address to another; ``zero``: the others become zeros.

    As `olivine.kvcache.moves.MoveCommand`, of kind COPY."""

    source: int
    target: int
    places: int
    zero: int


class Place(NamedTuple):
    """One place of the block at byte address ``source`` to one of the block at ``target``.

    As `olivine.kvcache.moves.MoveCommand`, of kind PLACE."""

    source: int
    target: int
    source_place: int
    target_place: int


@dataclass(frozen=True)
class Answer:
    """What an operation did, each list in the order in which it is done. All but ``status`` is for OK only, and
    ``address`` for FAULT.

    Attributes
    ----------
    handle : Handle or None
        Of a new sequence.
    granted, released : tuple of int
        Blocks taken from the pool; blocks given back to it (not those that another sequence still holds).
    copies : tuple of Copy
        APPEND, SWAP_OUT, SWAP_IN.
    moves : tuple of Place
        COMMIT of a path.
    address : int
        What the mover said.
    """

    status: CacheStatus
    handle: Handle | None = None
    granted: tuple = ()
    released: tuple = ()
    copies: tuple = ()
    moves: tuple = ()
    address: int = 0


@dataclass
class Sequence:
    """One open sequence.

    Attributes
    ----------
    policy : Policy
    table : list
        Block of each L positions (heavy: of each L cells), None for a hole. While swapped out, -1 where a block was.
    length, reserved : int
        Committed places, and those of the step.
    appended, summed : int
        Heads whose keys and values of the step are written; whose sums have taken it up.
    before, filled : int
        Heavy hitters: cells ever used before the step, and with it. Else 0.
    touched, broken, swapped : bool
        A job is adding to the sums; one failed while it did; the contents are in host memory.
    host : int
        Where the contents were last swapped out to.
    """

    policy: Policy
    table: list = field(default_factory=list)
    length: int = 0
    reserved: int = 0
    appended: int = 0
    summed: int = 0
    before: int = 0
    filled: int = 0
    touched: bool = False
    broken: bool = False
    swapped: bool = False
    host: int = 0

    @property
    def is_heavy(self):
        return self.policy.kind is CachePolicy.HEAVY

    @property
    def used(self):
        """Heavy hitters: cells that hold a committed token."""
        return min(self.length, self.policy.heavy + self.policy.recent)

    @property
    def holes(self):
        """Entries given up, the first of the table."""
        return sum(block is None for block in self.table)

    def complaint(self, lanes, counts):
        """The invariant that does not hold, or None. ``counts``: users of each block of the pool."""
        holes = [index for index, block in enumerate(self.table) if block is None]
        if holes != list(range(len(holes))) or holes and self.policy.kind is not CachePolicy.WINDOW:
            return f"has holes {holes}"
        if any((block == -1) != self.swapped for block in self.table[len(holes):]) or self.swapped and self.reserved:
            return "is neither swapped out nor here"
        if self.is_heavy:
            low, high = self.used + self.reserved, sum(self.policy.sizes)
            if not low <= self.filled <= high or self.reserved and self.before > self.filled:
                return f"has {self.before} and {self.filled} cells filled, of {low} to {high}"
        places = self.filled if self.is_heavy else self.length + self.reserved
        if len(self.table) != -(-places // lanes):
            return f"has {len(self.table)} blocks for {places} places"
        if self.reserved and any(counts[block] != 1 for block in self.table[self.length // lanes:]):
            return "shares a block with reserved places"
        return None
