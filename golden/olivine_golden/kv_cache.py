"""Golden model of the key-value cache: the executable specification of block tables and their operations.

A *place* holds the key and value of one position, for all layers and KV heads. A *block* is L places. A sequence's
*table* lists its blocks; sequences share blocks by counts. Every operation answers a status first and is all or
nothing: where the status is not OK, nothing has changed.

What the host must not do raises `CacheError` instead: reading a place that its sequence did not write, writing
one that is not reserved, swapping out to host memory in use.

Where several statuses apply, the answer is the first of: the handle's (NO_SEQUENCE, STALE_HANDLE), BROKEN, SWAPPED
or NOT_SWAPPED, NOT_FORKABLE, RESERVED or NOTHING_RESERVED, BAD_COUNT, OVER_LENGTH or CROSSES_EVICTION, NO_SEQUENCE
for want of a slot, NO_BLOCK.
"""

from collections import Counter, deque

import numpy as np
from olivine.kvcache.descriptor import GENERATION_BITS, CachePolicy, CacheStatus

from .heavy_hitter import HeavyHitter
from .kv_sequence import Answer, Handle, Policy, Sequence

__all__ = ["CacheError", "KVCache"]

S = CacheStatus


class CacheError(RuntimeError):
    """The host, or this model, broke the cache's contract."""


class KVCache:
    """Pool of blocks, sequences in slots, and the operations.

    The pool grants the block that was freed longest ago. A new sequence takes the lowest free slot.

    Parameters
    ----------
    blocks : int
    lanes : int
        L, places of a block.
    sequences : int
        Slots.
    max_length : int
        Positions of the longest sequence.
    heads : int
        Layers times KV heads. An integer per head stands for a key and value.
    """

    def __init__(self, blocks, lanes, sequences, max_length, heads=1):
        for name, value in (("blocks", blocks), ("lanes", lanes), ("sequences", sequences),
                            ("max_length", max_length), ("heads", heads)):
            if value < 1:
                raise ValueError(f"{name} is {value}: must be 1 or more")
        self.lanes, self.max_length, self.heads = lanes, max_length, heads
        self.free = deque(range(blocks))
        self.counts = [0] * blocks
        self.slots = [None] * sequences
        self.generations = [0] * sequences
        self.contents = np.zeros((blocks, lanes, heads), np.int64)
        self.written = np.zeros((blocks, lanes, heads), bool)
        self.host = {}

    # Pool

    def _grant(self):
        block = self.free.popleft()
        self.counts[block] = 1
        # The contents stay: whoever reads them before writing is found out.
        self.written[block] = False
        return block

    def _release(self, blocks):
        """Give up references; returns the blocks that went back to the pool."""
        freed = []
        for block in blocks:
            self.counts[block] -= 1
            if not self.counts[block]:
                self.free.append(block)
                freed.append(block)
        return tuple(freed)

    def _blocks_for(self, places):
        return -(-places // self.lanes)

    # Handles

    def _find(self, handle):
        """(status, sequence) of a handle, whatever the sequence's state."""
        slot, generation = handle
        if not 0 <= slot < len(self.slots):
            return S.NO_SEQUENCE, None
        if generation != self.generations[slot]:
            return S.STALE_HANDLE, None
        seq = self.slots[slot]
        return (S.NO_SEQUENCE, None) if seq is None else (S.OK, seq)

    def _usable(self, handle):
        """The same; a broken or swapped-out sequence is refused."""
        status, seq = self._find(handle)
        if status is S.OK and (seq.broken or seq.swapped):
            status = S.BROKEN if seq.broken else S.SWAPPED
        return status, seq

    def _new(self, seq):
        slot = self.slots.index(None)
        self.slots[slot] = seq
        return Handle(slot, self.generations[slot])

    # Operations

    def open(self, policy=None):
        """A new, empty sequence."""
        policy = policy or Policy()
        cells = policy.heavy + policy.recent + policy.chunk
        if any(size < 1 for size in policy.sizes) or policy.kind is CachePolicy.HEAVY and cells > self.max_length:
            return Answer(S.BAD_COUNT)
        if None not in self.slots:
            return Answer(S.NO_SEQUENCE)
        hitters = ()
        if policy.kind is CachePolicy.HEAVY:
            hitters = tuple(HeavyHitter(cells, policy.heavy, policy.recent) for _ in range(self.heads))
        return Answer(S.OK, handle=self._new(Sequence(policy, hitters=hitters)))

    def append(self, handle, tokens):
        """Reserve places for ``tokens`` >= 1 positions after the committed length: a step begins.

        A last block that is partly filled and shared is replaced by a copy first.
        """
        status, seq = self._usable(handle)
        if status is S.OK:
            status = self._append_status(seq, tokens)
        if status is not S.OK:
            return Answer(status)
        held = seq.hitters[0].used if seq.hitters else seq.length
        entries = max(self._blocks_for(held + tokens) - len(seq.table), 0)
        rest = seq.length % self.lanes
        shared = not seq.hitters and rest and self.counts[seq.table[-1]] > 1
        if entries + bool(shared) > len(self.free):
            return Answer(S.NO_BLOCK)
        granted, copies = [], ()
        if shared:
            source, target = seq.table[-1], self._grant()
            self.contents[target, :rest] = self.contents[source, :rest]
            self.written[target, :rest] = self.written[source, :rest]
            self._release([source])
            seq.table[-1] = target
            granted, copies = [target], ((source, target),)
        fresh = [self._grant() for _ in range(entries)]
        seq.table += fresh
        seq.reserved = tokens
        for hitter in seq.hitters:
            hitter.fill(tokens)
        for offset in range(tokens):
            for head in range(self.heads):
                self.written[*self._place(seq, seq.length + offset, head), head] = False
        return Answer(S.OK, granted=(*granted, *fresh), copies=copies)

    def _append_status(self, seq, tokens):
        if seq.reserved:
            return S.RESERVED
        if tokens < 1 or seq.hitters and tokens > seq.policy.chunk:
            return S.BAD_COUNT
        return S.OVER_LENGTH if seq.length + tokens > self.max_length else S.OK

    def commit(self, handle, keep):
        """End a step: keep reserved places, release the others, apply the policy.

        ``keep`` is a number, of the first reserved places; or a path through a token tree, an ascending list of
        reserved offsets, whose places are moved together. A heavy-hitter sequence keeps all: its sums already
        hold what the step's queries added.
        """
        status, seq = self._usable(handle)
        path = list(range(keep)) if isinstance(keep, int) else list(keep)
        if status is S.OK and not seq.reserved:
            status = S.NOTHING_RESERVED
        if status is S.OK and not self._path_allowed(seq, keep, path):
            status = S.BAD_COUNT
        if status is not S.OK:
            return Answer(status)
        moves = []
        for target, source in enumerate(path):
            # In ascending order no move overwrites the source of a later one.
            if target != source:
                (b, i), (c, j) = (self._place(seq, seq.length + offset, 0) for offset in (source, target))
                self.contents[c, j], self.written[c, j] = self.contents[b, i], self.written[b, i]
                moves.append((b * self.lanes + i, c * self.lanes + j))
        seq.length += len(path)
        seq.reserved = 0
        released = self._pass_window(seq)
        dropped = []
        for head, hitter in enumerate(seq.hitters):
            cells = hitter.drop(hitter.excess)
            for cell in cells:
                self.written[seq.table[cell // self.lanes], cell % self.lanes, head] = False
            dropped.append(tuple(cells))
        if not seq.hitters:
            released += self._cut(seq)
        return Answer(S.OK, released=released, moves=tuple(moves), dropped=tuple(dropped))

    def _path_allowed(self, seq, keep, path):
        if isinstance(keep, int) and keep < 0 or any(a >= b for a, b in zip(path, path[1:])):
            return False
        if path and not 0 <= path[0] <= path[-1] < seq.reserved:
            return False
        return not seq.hitters or len(path) == seq.reserved

    def _pass_window(self, seq):
        """Release the blocks of which the next query, at the committed length, sees nothing."""
        if seq.policy.kind is not CachePolicy.WINDOW:
            return ()
        gone = max(seq.length - seq.policy.window + 1, 0) // self.lanes
        old = [index for index in range(min(gone, len(seq.table))) if seq.table[index] is not None]
        blocks = [seq.table[index] for index in old]
        for index in old:
            seq.table[index] = None
        return self._release(blocks)

    def _cut(self, seq):
        """Release the table's entries past the length."""
        entries = self._blocks_for(seq.length)
        seq.table, cut = seq.table[:entries], seq.table[entries:]
        return self._release([block for block in cut if block is not None])

    def fork(self, handle):
        """A new sequence with the same contents; every block is shared."""
        status, seq = self._usable(handle)
        if status is S.OK and seq.hitters:
            status = S.NOT_FORKABLE
        if status is S.OK and seq.reserved:
            status = S.RESERVED
        if status is S.OK and None not in self.slots:
            status = S.NO_SEQUENCE
        if status is not S.OK:
            return Answer(status)
        for block in seq.table:
            if block is not None:
                self.counts[block] += 1
        return Answer(S.OK, handle=self._new(Sequence(seq.policy, list(seq.table), seq.length)))

    def truncate(self, handle, length):
        """Back to the first ``length`` positions."""
        status, seq = self._usable(handle)
        if status is S.OK and seq.reserved:
            status = S.RESERVED
        if status is S.OK and not 0 <= length <= seq.length:
            status = S.BAD_COUNT
        if status is S.OK and self._crosses(seq, length):
            status = S.CROSSES_EVICTION
        if status is not S.OK:
            return Answer(status)
        seq.length = length
        for hitter in seq.hitters:
            if length < hitter.length:
                hitter.truncate(length)
        return Answer(S.OK, released=() if seq.hitters and seq.hitters[0].dropped else self._cut(seq))

    def _crosses(self, seq, length):
        if length == seq.length:
            return False
        if seq.hitters:
            return bool(seq.hitters[0].dropped)
        # The next query, at `length`, must find its whole window.
        holes = sum(block is None for block in seq.table)
        return bool(holes) and max(length - seq.policy.window + 1, 0) < holes * self.lanes

    def close(self, handle):
        """Release everything; the handle becomes stale. Allowed in every state."""
        status, seq = self._find(handle)
        if status is not S.OK:
            return Answer(status)
        released = self._release([block for block in seq.table if block is not None and not seq.swapped])
        for place in seq.stored:
            del self.host[place]
        self.slots[handle.slot] = None
        self.generations[handle.slot] = handle.generation + 1 & (1 << GENERATION_BITS) - 1
        return Answer(S.OK, released=released)

    def fault(self, handle):
        """A step ended in a fault. Its places stay reserved: commit none of them and repeat the step; but a
        heavy-hitter sequence, whose sums may hold half of the step, is broken."""
        status, seq = self._usable(handle)
        if status is S.OK and not seq.reserved:
            status = S.NOTHING_RESERVED
        if status is S.OK:
            seq.broken = bool(seq.hitters)
        return Answer(status)

    def swap_out(self, handle, first, count):
        """Move the contents to host memory and release all blocks.

        ``count`` host places of a block each, from ``first`` on, are offered; the table's blocks take them in
        order. Places that the sequence did not write, or no longer holds, leave as zeros.
        """
        status, seq = self._usable(handle)
        if status is S.OK and seq.reserved:
            status = S.RESERVED
        if status is S.OK and (first < 0 or sum(block is not None for block in seq.table) > count):
            status = S.BAD_COUNT
        if status is not S.OK:
            return Answer(status)
        blocks = [block for block in seq.table if block is not None]
        places = list(range(first, first + len(blocks)))
        if taken := self.host.keys() & set(places):
            raise CacheError(f"host places {sorted(taken)} hold another sequence")
        seq.mask = self._held(seq)
        for block, place, mask in zip(blocks, places, seq.mask, strict=True):
            self.host[place] = np.where(mask, self.contents[block], 0)
        seq.stored, seq.swapped = places, True
        # What remains of the table is where its holes are.
        seq.table = [None if block is None else -1 for block in seq.table]
        return Answer(S.OK, copies=tuple(zip(blocks, places)), released=self._release(blocks))

    def _held(self, seq):
        """bool [blocks, L, heads]: places of the table's blocks that the sequence wrote and still holds."""
        held = np.zeros((len(seq.table), self.lanes, self.heads), bool)
        cells = held.reshape(-1, self.heads)
        if seq.hitters:
            for head, hitter in enumerate(seq.hitters):
                used = np.flatnonzero(hitter.positions >= 0)
                cells[used, head] = True
        else:
            cells[:seq.length] = True
        present = [index for index, block in enumerate(seq.table) if block is not None]
        return held[present] & self.written[[seq.table[index] for index in present]]

    def swap_in(self, handle):
        """Fetch the contents back, into blocks of the sequence's own."""
        status, seq = self._find(handle)
        if status is S.OK and (seq.broken or not seq.swapped):
            status = S.BROKEN if seq.broken else S.NOT_SWAPPED
        if status is S.OK and len(seq.stored) > len(self.free):
            status = S.NO_BLOCK
        if status is not S.OK:
            return Answer(status)
        blocks = [self._grant() for _ in seq.stored]
        for block, place, mask in zip(blocks, seq.stored, seq.mask, strict=True):
            self.contents[block], self.written[block] = self.host.pop(place), mask
        copies = tuple(zip(seq.stored, blocks))
        order = iter(blocks)
        seq.table = [None if entry is None else next(order) for entry in seq.table]
        seq.stored, seq.mask, seq.swapped = [], None, False
        return Answer(S.OK, granted=tuple(blocks), copies=copies)

    # Contents

    def lookup(self, handle):
        """(status, sequence): what an attention job asks first."""
        return self._usable(handle)

    def _place(self, seq, position, head):
        """(block, place) of a position; CacheError where it is not held."""
        if not 0 <= position < seq.length + seq.reserved:
            raise CacheError(f"position is {position}: allowed is 0 to {seq.length + seq.reserved - 1}")
        cell = seq.hitters[head].cell(position) if seq.hitters else position
        block = None if cell is None else seq.table[cell // self.lanes]
        if block is None:
            raise CacheError(f"position {position} was evicted")
        return block, cell % self.lanes

    def _contents_of(self, handle):
        status, seq = self._usable(handle)
        if status is not S.OK:
            raise CacheError(f"{handle} answers {status.name}")
        return seq

    def write(self, handle, offset, values):
        """Write a reserved place, one value for each head."""
        seq = self._contents_of(handle)
        if not 0 <= offset < seq.reserved:
            raise CacheError(f"offset is {offset}: {seq.reserved} places are reserved")
        for head, value in enumerate(np.broadcast_to(values, self.heads)):
            place = *self._place(seq, seq.length + offset, head), head
            self.contents[place], self.written[place] = value, True

    def read(self, handle, position, head=0):
        """What the sequence wrote at a position, committed or reserved."""
        seq = self._contents_of(handle)
        place = *self._place(seq, position, head), head
        if not self.written[place]:
            raise CacheError(f"{handle} reads position {position} of head {head}, which it never wrote")
        return int(self.contents[place])

    # Invariants

    def check(self):
        """Raise CacheError unless every invariant holds."""
        opened = [seq for seq in self.slots if seq is not None]
        references = Counter(block for seq in opened if not seq.swapped for block in seq.table if block is not None)
        for block, count in enumerate(self.counts):
            if count != references[block]:
                raise CacheError(f"block {block} has count {count} and {references[block]} references")
        if len(set(self.free)) != len(self.free):
            raise CacheError("a block is twice in the free list")
        held = {block for block, count in enumerate(self.counts) if count}
        if held & set(self.free) or len(held) + len(self.free) != len(self.counts):
            raise CacheError(f"{len(held)} blocks are held, {len(self.free)} free, of {len(self.counts)}")
        if sorted(self.host) != sorted(place for seq in opened for place in seq.stored):
            raise CacheError("host places in use are not those of the swapped-out sequences")
        for slot, seq in enumerate(self.slots):
            if seq is not None and (why := self._complaint(seq)):
                raise CacheError(f"sequence in slot {slot} {why}")

    def _complaint(self, seq):
        holes = [index for index, block in enumerate(seq.table) if block is None]
        if holes != list(range(len(holes))) or holes and seq.policy.kind is not CachePolicy.WINDOW:
            return f"has holes {holes}"
        if seq.swapped != bool(seq.stored or seq.mask is not None) or seq.swapped and seq.reserved:
            return "is neither swapped out nor here"
        if seq.hitters:
            limits = {(hitter.length, hitter.used) for hitter in seq.hitters}
            if len(limits) != 1 or seq.length + seq.reserved != seq.hitters[0].length:
                return "has heads of different lengths"
            top = max(np.flatnonzero(hitter.positions >= 0).max(initial=-1) for hitter in seq.hitters)
            # The last step's tokens may have left blocks that hold no cell any more.
            return "has a cell outside its blocks" if top >= len(seq.table) * self.lanes else None
        if len(seq.table) != self._blocks_for(seq.length + seq.reserved):
            return f"has {len(seq.table)} blocks for {seq.length} + {seq.reserved} places"
        if seq.reserved and any(self.counts[block] != 1 for block in seq.table[seq.length // self.lanes:]):
            return "shares a block with reserved places"
        return None
