"""Golden model of the key-value cache's controller: block tables, handles and operations, without contents.

A *place* holds the key and value of one position, for all layers and KV heads. A *block* is L places. A sequence's
*table* lists its blocks; sequences share blocks by counts. Every operation answers a status first and is all or
nothing: where the status is not OK, nothing has changed. (After a FAULT the pool may grant in another order.)

Where several statuses apply, the answer is the first of: the handle's (NO_SEQUENCE, STALE_HANDLE), BROKEN, SWAPPED
or NOT_SWAPPED, NOT_FORKABLE, RESERVED or NOTHING_RESERVED, BAD_COUNT, NOT_WRITTEN, OVER_LENGTH or CROSSES_EVICTION,
NO_SEQUENCE for want of a slot, NO_BLOCK, FAULT.

Twin of `olivine.kvcache.controller`.
"""

from collections import Counter, deque

from olivine.kvcache.descriptor import (
    BLOCK_UNIT,
    FREE_CELL,
    GENERATION_BITS,
    TREE_PLACES,
    CacheOp,
    CachePolicy,
    CacheStatus,
)

from .kv_sequence import Answer, Copy, Handle, Place, Policy, Sequence

__all__ = ["CacheError", "KVCache"]

S = CacheStatus

_ADDRESSES = 1 << 48


class CacheError(RuntimeError):
    """An invariant does not hold."""


class _Failed(Exception):
    """The mover could not do it."""


class KVCache:
    """Pool of blocks, sequences in slots, operations and events.

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
        Layers times KV heads.
    cells : int, optional
        Of a heavy-hitter record; as many as positions if left out.
    base, block_bytes : int
        Address of block 0, and bytes from a block to the next.
    mover : function, optional
        Called with each `Copy` and `Place` as it is due; returns None, or the address at which it failed.
    """

    def __init__(self, blocks, lanes, sequences, max_length, heads=1, *, cells=None, base=0, block_bytes=BLOCK_UNIT,
                 mover=None):
        for name, value in (("blocks", blocks), ("lanes", lanes), ("sequences", sequences),
                            ("max_length", max_length), ("heads", heads)):
            if value < 1:
                raise ValueError(f"{name} is {value}: must be 1 or more")
        self.lanes, self.max_length, self.heads = lanes, max_length, heads
        self.cells = max_length if cells is None else cells
        self.base, self.block_bytes = base, block_bytes
        self.mover = mover
        self.free = deque(range(blocks))
        self.counts = [0] * blocks
        self.slots = [None] * sequences
        self.generations = [0] * sequences

    @classmethod
    def of(cls, config, geometry, mover=None):
        """The cache of a configuration, and of a `CacheGeometry` as a dict."""
        return cls(min(geometry["blocks"], config.blocks), config.lanes, config.sequences, config.max_sequence,
                   geometry["heads"], cells=1 << geometry["log_cells"], base=geometry["base"],
                   block_bytes=geometry["block_units"] * BLOCK_UNIT, mover=mover)

    # Pool and mover

    def _grant(self):
        block = self.free.popleft()
        self.counts[block] = 1
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

    def _address(self, block):
        return (self.base + block * self.block_bytes) % _ADDRESSES

    def _move(self, move):
        address = self.mover(move) if self.mover else None
        if address is not None:
            raise _Failed(address)
        return move

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

    def lookup(self, handle):
        """(status, sequence): what a job asks first."""
        return self._usable(handle)

    def found(self, handle, index=0):
        """The answer to a lookup of entry ``index``, a dict of `olivine.kvcache.lookup.LookupAnswer`'s members."""
        status, seq = self._usable(handle)
        answer = dict.fromkeys(("present", "block", "length", "reserved", "appended", "summed", "before", "filled",
                                "size", "recent", "chunk"), 0)
        answer |= {"status": status, "policy": CachePolicy.NONE}
        if status is not S.OK:
            return answer
        block = seq.table[index] if index < len(seq.table) else None
        answer |= {name: getattr(seq, name) for name in
                   ("length", "reserved", "appended", "summed", "before", "filled")}
        return answer | {"present": int(block is not None), "block": block or 0, "policy": seq.policy.kind,
                         "size": seq.policy.size, "recent": seq.policy.recent, "chunk": seq.policy.chunk}

    # Events

    def _open_slot(self, slot):
        return self.slots[slot] if 0 <= slot < len(self.slots) else None

    def appended(self, slot):
        """One more head's keys and values of the step are in memory."""
        if seq := self._open_slot(slot):
            seq.appended = (seq.appended + 1) % (1 << 16)

    def summed(self, slot):
        """One more head's sums have taken up the step."""
        if seq := self._open_slot(slot):
            seq.summed = (seq.summed + 1) % (1 << 16)

    def touched(self, slot):
        """A job begins to add to the sums."""
        if seq := self._open_slot(slot):
            seq.touched = True

    def ended(self, failed):
        """That job ended; if it failed, what it touched is broken."""
        for seq in filter(None, self.slots):
            seq.broken |= bool(failed) and seq.touched
            seq.touched = False

    # Operations

    def do(self, command):
        """The operation of a `CacheCommand`, a dict of its members; those that are left out are 0."""
        of = command.get
        op, handle, count = command["op"], Handle(of("slot", 0), of("generation", 0)), of("count", 0)
        if op is CacheOp.OPEN:
            kind, size = of("policy", CachePolicy.NONE), of("size", 0)
            sizes = (0, size) if kind is CachePolicy.HEAVY else (size, 0)
            return self.open(Policy(kind, *sizes, of("recent", 0), of("chunk", 0)))
        if op is CacheOp.COMMIT:
            path = [place for place in range(TREE_PLACES) if of("path", 0) >> place & 1]
            return self.commit(handle, path if of("tree", 0) else count)
        if op is CacheOp.SWAP_OUT:
            return self.swap_out(handle, of("host", 0), count)
        return getattr(self, op.name.lower())(handle, *([count] if op in (CacheOp.APPEND, CacheOp.TRUNCATE) else []))

    def open(self, policy=None):
        """A new, empty sequence."""
        policy = policy or Policy()
        cells = policy.heavy + policy.recent + policy.chunk
        if any(size < 1 for size in policy.sizes) or \
                policy.kind is CachePolicy.HEAVY and cells > min(self.cells, self.max_length):
            return Answer(S.BAD_COUNT)
        if None not in self.slots:
            return Answer(S.NO_SEQUENCE)
        return Answer(S.OK, handle=self._new(Sequence(policy)))

    def append(self, handle, tokens):
        """Reserve places for ``tokens`` >= 1 positions after the committed length: a step begins.

        A last block that is partly filled and shared is replaced by a copy first. A heavy-hitter sequence's tokens
        take its free cells first.
        """
        status, seq = self._usable(handle)
        if status is S.OK:
            status = self._append_status(seq, tokens)
        if status is not S.OK:
            return Answer(status)
        filled = max(seq.filled, seq.used + tokens) if seq.is_heavy else 0
        entries = self._blocks_for(filled if seq.is_heavy else seq.length + tokens) - len(seq.table)
        rest = 0 if seq.is_heavy else seq.length % self.lanes
        shared = bool(rest) and self.counts[seq.table[-1]] > 1
        if entries + shared > len(self.free):
            return Answer(S.NO_BLOCK)
        granted, copies = (), ()
        if shared:
            source, target = seq.table[-1], self._grant()
            try:
                copies = self._move(Copy(self._address(source), self._address(target), rest, 0)),
            except _Failed as failed:
                return Answer(S.FAULT, granted=(target,), released=self._release([target]), address=failed.args[0])
            self._release([source])
            seq.table[-1], granted = target, (target,)
        fresh = [self._grant() for _ in range(entries)]
        seq.table += fresh
        seq.reserved, seq.appended, seq.summed = tokens, 0, 0
        seq.before, seq.filled = seq.filled, filled
        return Answer(S.OK, granted=(*granted, *fresh), copies=copies)

    def _append_status(self, seq, tokens):
        if seq.reserved:
            return S.RESERVED
        if tokens < 1 or seq.is_heavy and tokens > seq.policy.chunk:
            return S.BAD_COUNT
        # A position of a heavy-hitter sequence must not look like a free cell.
        longest = min(self.max_length, FREE_CELL) if seq.is_heavy else self.max_length
        return S.OVER_LENGTH if seq.length + tokens > longest else S.OK

    def commit(self, handle, keep):
        """End a step: keep reserved places, release the others, apply the policy.

        ``keep`` is a number, of the first reserved places; or a path through a token tree, an ascending list of
        reserved offsets, whose places are moved together. A heavy-hitter sequence keeps all: its sums already
        hold what the step's queries added. What is kept must have been written in every head.
        """
        status, seq = self._usable(handle)
        path = list(range(keep)) if isinstance(keep, int) else list(keep)
        if status is S.OK and not seq.reserved:
            status = S.NOTHING_RESERVED
        if status is S.OK and not self._path_allowed(seq, keep, path):
            status = S.BAD_COUNT
        if status is S.OK and path and not (seq.appended == self.heads and
                                            (not seq.is_heavy or seq.summed == self.heads)):
            status = S.NOT_WRITTEN
        if status is not S.OK:
            return Answer(status)
        # In ascending order no move overwrites the source of a later one.
        try:
            moves = tuple(self._move(self._place(seq, source, target))
                          for target, source in enumerate(path) if target != source)
        except _Failed as failed:
            # Places may be overwritten whose contents were to move on.
            seq.appended = seq.summed = 0
            return Answer(S.FAULT, address=failed.args[0])
        seq.length += len(path)
        seq.reserved = seq.appended = seq.summed = 0
        released = self._pass_window(seq)
        if not seq.is_heavy:
            released += self._cut(seq, seq.length)
        return Answer(S.OK, released=released, moves=moves)

    def _path_allowed(self, seq, keep, path):
        if isinstance(keep, int) and keep < 0 or any(a >= b for a, b in zip(path, path[1:])):
            return False
        if path and not 0 <= path[0] <= path[-1] < seq.reserved:
            return False
        return not seq.is_heavy or len(path) == seq.reserved

    def _place(self, seq, source, target):
        """Move one reserved place to another."""
        (b, i), (c, j) = (divmod(seq.length + offset, self.lanes) for offset in (source, target))
        return Place(self._address(seq.table[b]), self._address(seq.table[c]), i, j)

    def _pass_window(self, seq):
        """Release the blocks of which the next query, at the committed length, sees nothing."""
        if seq.policy.kind is not CachePolicy.WINDOW:
            return ()
        gone = max(seq.length - seq.policy.window + 1, 0) // self.lanes
        old = range(seq.holes, max(gone, seq.holes))
        blocks = [seq.table[index] for index in old]
        for index in old:
            seq.table[index] = None
        return self._release(blocks)

    def _cut(self, seq, places):
        """Release the table's entries past so many places."""
        entries = self._blocks_for(places)
        seq.table, cut = seq.table[:entries], seq.table[entries:]
        return self._release([block for block in cut if block is not None])

    def fork(self, handle):
        """A new sequence with the same contents; every block is shared."""
        status, seq = self._usable(handle)
        if status is S.OK and seq.is_heavy:
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
        if seq.is_heavy and length < seq.length:
            seq.filled = length
        seq.length = length
        return Answer(S.OK, released=self._cut(seq, seq.filled if seq.is_heavy else length))

    def _crosses(self, seq, length):
        if length == seq.length:
            return False
        if seq.is_heavy:
            return seq.length > seq.used
        # The next query, at `length`, must find its whole window.
        return bool(seq.holes) and max(length - seq.policy.window + 1, 0) < seq.holes * self.lanes

    def close(self, handle):
        """Release everything; the handle becomes stale. Allowed in every state."""
        status, seq = self._find(handle)
        if status is not S.OK:
            return Answer(status)
        released = self._release([block for block in seq.table if block is not None and not seq.swapped])
        self.slots[handle.slot] = None
        self.generations[handle.slot] = handle.generation + 1 & (1 << GENERATION_BITS) - 1
        return Answer(S.OK, released=released)

    def swap_out(self, handle, host, count):
        """Copy the contents to host memory at ``host``, where ``count`` blocks have room, and release all blocks.

        The table's blocks take the places in order. Of a last block only what is filled leaves, and zeros.
        """
        status, seq = self._usable(handle)
        if status is S.OK and seq.reserved:
            status = S.RESERVED
        if status is S.OK and (host % BLOCK_UNIT or len(seq.table) - seq.holes > count):
            status = S.BAD_COUNT
        if status is not S.OK:
            return Answer(status)
        try:
            copies = tuple(self._move(Copy(self._address(seq.table[index]), place, places, 1))
                           for index, place, places in self._swapped_places(seq, host))
        except _Failed as failed:
            return Answer(S.FAULT, address=failed.args[0])
        released = self._release([block for block in seq.table if block is not None])
        seq.table = [None if block is None else -1 for block in seq.table]
        seq.host, seq.swapped = host, True
        return Answer(S.OK, copies=copies, released=released)

    def _swapped_places(self, seq, host):
        """(entry, address in host memory, filled places) of each block."""
        for number, index in enumerate(range(seq.holes, len(seq.table))):
            filled = (seq.filled if seq.is_heavy else seq.length) - index * self.lanes
            yield index, (host + number * self.block_bytes) % _ADDRESSES, min(filled, self.lanes)

    def swap_in(self, handle):
        """Fetch the contents back, into blocks of the sequence's own."""
        status, seq = self._find(handle)
        if status is S.OK and (seq.broken or not seq.swapped):
            status = S.BROKEN if seq.broken else S.NOT_SWAPPED
        if status is S.OK and len(seq.table) - seq.holes > len(self.free):
            status = S.NO_BLOCK
        if status is not S.OK:
            return Answer(status)
        blocks, copies = [], []
        try:
            for _, place, places in self._swapped_places(seq, seq.host):
                blocks.append(self._grant())
                copies.append(self._move(Copy(place, self._address(blocks[-1]), places, 0)))
        except _Failed as failed:
            return Answer(S.FAULT, granted=tuple(blocks), released=self._release(blocks), address=failed.args[0])
        seq.table[seq.holes:] = blocks
        seq.swapped = False
        return Answer(S.OK, granted=tuple(blocks), copies=tuple(copies))

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
        for slot, seq in enumerate(self.slots):
            if seq is not None and (why := seq.complaint(self.lanes, self.counts)):
                raise CacheError(f"sequence in slot {slot} {why}")
