"""A naive model of the key-value cache, and of what each operation answers.

It knows no counts, no free list and no places: a block is a number that nobody used before, and is free when nobody
lists it. ``fails``: a move of the operation fails, if it comes to that.
"""

from olivine.kvcache.descriptor import CachePolicy, CacheStatus

S = CacheStatus

WEIGHTS = [round(2 ** 20 * 2 ** (-f / 256)) for f in range(256)]


def naive_weight(d):
    whole = WEIGHTS[d % 256]
    return (2 * whole + (1 << d // 256)) >> d // 256 + 1


class NaiveSequence:
    def __init__(self, policy, heads):
        self.policy, self.is_heavy = policy, policy.kind is CachePolicy.HEAVY
        self.tokens, self.pending, self.blocks = [], [], []
        self.appended = self.summed = 0
        self.cells = 0      # heavy: highest number of tokens held at once
        self.broken = self.swapped = self.evicted = self.touched = False
        # heavy: of each head, position -> sum
        self.sums = [{} for _ in range(heads)]
        self.lost = 0       # window: positions below are given up

    def status(self):
        return S.BROKEN if self.broken else S.SWAPPED if self.swapped else S.OK


class Naive:
    def __init__(self, cache):
        self.blocks, self.lanes, self.heads = len(cache.counts), cache.lanes, cache.heads
        self.slots, self.max_length = len(cache.slots), cache.max_length
        self.open_, self.closed, self.serial = {}, set(), 0

    def free(self):
        return self.blocks - len({block for seq in self.open_.values() if not seq.swapped
                                  for block in seq.blocks if block is not None})

    def fresh(self, count):
        self.serial += count
        return list(range(self.serial - count, self.serial))

    def status(self, handle):
        if handle in self.open_:
            return self.open_[handle].status()
        # A slot's generation is the number of its sequences that were closed.
        current = sum(slot == handle.slot for slot, _ in self.closed)
        exists = 0 <= handle.slot < self.slots
        return S.STALE_HANDLE if exists and handle.generation != current else S.NO_SEQUENCE

    def entries(self, places):
        return (places + self.lanes - 1) // self.lanes

    def append(self, handle, n, fails=False):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.pending:
            return S.RESERVED
        if n < 1 or seq.is_heavy and n > seq.policy.chunk:
            return S.BAD_COUNT
        if len(seq.tokens) + n > self.max_length:
            return S.OVER_LENGTH
        held = len(seq.sums[0]) if seq.is_heavy else len(seq.tokens)
        cells = max(seq.cells, held + n) if seq.is_heavy else 0
        new = self.entries(cells or held + n) - len(seq.blocks)
        shared = held % self.lanes != 0 and not seq.is_heavy and any(
            seq.blocks[-1] in other.blocks for other in self.open_.values() if other is not seq and not other.swapped)
        if new + shared > self.free():
            return S.NO_BLOCK
        if shared and fails:
            return S.FAULT
        if shared:
            seq.blocks[-1:] = self.fresh(1)
        seq.blocks += self.fresh(new)
        seq.pending = [[None] * self.heads for _ in range(n)]
        seq.appended = seq.summed = 0
        seq.cells = cells
        for sums in seq.sums if seq.is_heavy else ():
            sums.update({len(seq.tokens) + i: 0 for i in range(n)})
        return S.OK

    def commit(self, handle, keep, fails=False):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if not seq.pending:
            return S.NOTHING_RESERVED
        if isinstance(keep, int):
            if not 0 <= keep <= len(seq.pending):
                return S.BAD_COUNT
            keep = range(keep)
        if list(keep) != sorted(set(keep)) or not set(keep) <= set(range(len(seq.pending))):
            return S.BAD_COUNT
        if seq.is_heavy and len(keep) != len(seq.pending):
            return S.BAD_COUNT
        if len(keep) and (seq.appended != self.heads or seq.is_heavy and seq.summed != self.heads):
            return S.NOT_WRITTEN
        if fails:
            # Some of the step's places were moved, others were not: the step is to be written again.
            seq.appended = seq.summed = 0
            return S.FAULT
        seq.tokens += [seq.pending[i] for i in keep]
        seq.pending = []
        seq.appended = seq.summed = 0
        if seq.is_heavy:
            return S.OK
        del seq.blocks[self.entries(len(seq.tokens)):]
        if seq.policy.kind is CachePolicy.WINDOW:
            for index in range(len(seq.blocks)):
                end = (index + 1) * self.lanes
                if all(p <= len(seq.tokens) - seq.policy.window for p in range(end - self.lanes, end)):
                    seq.blocks[index], seq.lost = None, max(seq.lost, end)
        return S.OK

    def drop(self, seq, head):
        """What a head drops after its sums have taken up the step."""
        sums, length = seq.sums[head], len(seq.tokens) + len(seq.pending)
        while len(sums) > seq.policy.heavy + seq.policy.recent:
            older = [p for p in sums if p < length - seq.policy.recent]
            del sums[min(older, key=lambda p: (sums[p], p))]
            seq.evicted = True

    def fork(self, handle):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.is_heavy:
            return S.NOT_FORKABLE
        if seq.pending:
            return S.RESERVED
        return S.NO_SEQUENCE if len(self.open_) == self.slots else S.OK

    def forked(self, handle, new):
        seq, copy = self.open_[handle], NaiveSequence(self.open_[handle].policy, self.heads)
        copy.tokens, copy.blocks, copy.lost = list(seq.tokens), list(seq.blocks), seq.lost
        self.open_[new] = copy

    def truncate(self, handle, length):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.pending:
            return S.RESERVED
        if not 0 <= length <= len(seq.tokens):
            return S.BAD_COUNT
        if length < len(seq.tokens):
            needed = [p for p in range(length + 1) if p > length - seq.policy.window]
            if seq.evicted or seq.lost and any(p < seq.lost for p in needed):
                return S.CROSSES_EVICTION
            del seq.tokens[length:], seq.blocks[self.entries(length):]
            seq.cells = min(seq.cells, length)
            seq.sums = [{p: s for p, s in sums.items() if p < length} for sums in seq.sums]
        return S.OK

    def close(self, handle):
        if (status := self.status(handle)) in (S.STALE_HANDLE, S.NO_SEQUENCE):
            return status
        del self.open_[handle]
        self.closed.add(handle)
        return S.OK

    def swap_out(self, handle, host, count, fails=False):
        if (status := self.status(handle)) is not S.OK:
            return status
        seq = self.open_[handle]
        if seq.pending:
            return S.RESERVED
        if host % 4096 or sum(block is not None for block in seq.blocks) > count:
            return S.BAD_COUNT
        if fails:
            return S.FAULT
        seq.swapped = True
        return S.OK

    def swap_in(self, handle, fails=False):
        if (status := self.status(handle)) not in (S.OK, S.SWAPPED):
            return status
        seq = self.open_[handle]
        if not seq.swapped:
            return S.NOT_SWAPPED
        present = [index for index, block in enumerate(seq.blocks) if block is not None]
        if len(present) > self.free():
            return S.NO_BLOCK
        if fails:
            return S.FAULT
        for index, block in zip(present, self.fresh(len(present))):
            seq.blocks[index] = block
        seq.swapped = False
        return S.OK

    def value(self, seq, position, head):
        """What was written at a position, None where it is not to be read."""
        gone = position not in seq.sums[head] if seq.is_heavy else position < seq.lost
        written = position < len(seq.tokens) or seq.appended > head
        return (seq.tokens + seq.pending)[position][head] if written and not gone else None
