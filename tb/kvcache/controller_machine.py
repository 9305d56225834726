"""Random operations, events and lookups on the cache's controller, compared with golden after each.

Contents are kept apart from both, moved by the gateware's commands and written through the gateware's lookups.
"""

import copy
import json
import os
import random
from collections import Counter

from olivine.config import AcceleratorConfig
from olivine.kvcache.descriptor import BLOCK_UNIT, CacheAnswer, CacheGeometry, CacheOp, CachePolicy
from olivine.kvcache.descriptor import CacheStatus as S
from olivine.kvcache.lookup import EventKind, LookupAnswer
from olivine.kvcache.moves import MoveKind
from olivine_golden.kv_cache import KVCache
from olivine_golden.kv_sequence import Copy, Handle, Place

from tb.kvcache.controller_contents import FAULT_ADDRESS, POISON, Contents
from tb.kvcache.controller_ports import Ports
from tb.streams import pack, start

__all__ = ["CONFIG", "HEADS", "Machine", "command"]

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))
BLOCKS = int(os.environ.get("OLIVINE_BLOCKS", CONFIG.blocks))
HEADS, LANES = 2, CONFIG.lanes
GEOMETRY = {"base": 0x1234_5000, "block_units": 3, "blocks": BLOCKS, "page_bytes": 4096, "heads": HEADS,
            "log_cells": 5}
POLICIES = (
    *[(CachePolicy.NONE, 0, 0, 0)] * 2, (CachePolicy.WINDOW, 2 * LANES - 3, 0, 0), (CachePolicy.WINDOW, 1, 0, 0),
    (CachePolicy.HEAVY, 9, 5, 6), (CachePolicy.HEAVY, 1, 1, 3), (CachePolicy.HEAVY, 8, 8, 16))
BAD_POLICIES = (
    (CachePolicy.WINDOW, 0, 0, 0), (CachePolicy.HEAVY, 0, 1, 1), (CachePolicy.HEAVY, 1, 0, 1),
    (CachePolicy.HEAVY, 1, 1, 0), (CachePolicy.HEAVY, 12, 12, 9), (CachePolicy.HEAVY, (1 << 20) - 1, 1, 1))


def command(op, handle=(0, 0), **members):
    return {"op": op, "slot": handle[0], "generation": handle[1], **members}


class Recorder:
    """Golden's mover: notes what is asked, and fails when it is told to."""

    def __init__(self):
        self.moves, self.fail_at = [], None

    def __call__(self, move):
        self.moves.append(move)
        return FAULT_ADDRESS + 16 * len(self.moves) if len(self.moves) - 1 == self.fail_at else None


class Machine:
    """A controller, its golden twin and contents.

    Attributes
    ----------
    statuses, events : Counter
        What has happened so far.
    cycles : list of (op, status, cycles)
        From each command's transfer to its answer's ``valid``.
    """

    def __init__(self, dut, seed=1, pattern="always", lookups=3):
        self.dut, self.rng, self.lookups = dut, random.Random(seed), lookups
        self.golden = KVCache.of(CONFIG, GEOMETRY)
        self.contents = Contents(self.golden)
        self.recorder = self.golden.mover = Recorder()
        self.ports = Ports(dut, pattern, self.mover, seed)
        self.tokens, self.token = {}, 1     # of sequences that keep all: [position][head]
        self.statuses, self.events, self.cycles = Counter(), Counter(), []
        dut.geometry.value = pack(CacheGeometry, GEOMETRY)

    async def start(self):
        await start(self.dut)

    def mover(self, move):
        """Do on the contents what the gateware asks."""
        if move["kind"] is MoveKind.COPY:
            return self.contents.move(Copy(move["source"], move["target"], move["places"], move["zero"]))
        return self.contents.move(Place(*(move[name] for name in Place._fields)))

    # Operations

    async def do(self, job, fail_at=None):
        """One operation on both: answers, moves, and every lookup before, meanwhile and after agree. Returns the
        status."""
        golden, ports, rng = self.golden, self.ports, self.rng
        requests = [self.request(job) for _ in range(rng.randrange(self.lookups + 1))]
        before = [self.packed(request) for request in requests]
        state = copy.deepcopy((golden.slots, golden.generations))
        self.recorder.moves, self.recorder.fail_at = [], fail_at
        self.contents.begin(fail_at)
        answer = golden.do(job)
        if answer.status is not S.OK:
            if answer.status is S.FAULT and job["op"] is CacheOp.COMMIT:
                step = state[0][job["slot"]]
                step.appended = step.summed = 0
            assert (golden.slots, golden.generations) == state
        after = [self.packed(request) for request in requests]

        first = ports.ask(requests)
        bits = {**job, "opcode": rng.randrange(256), "zero_op": rng.randrange(4), "reserved": rng.getrandbits(16)}
        got = await ports.do(bits)
        handle = answer.handle or (0, 0)
        assert pack(CacheAnswer, got) == pack(CacheAnswer, {
            "status": answer.status, "slot": handle[0], "generation": handle[1], "address": answer.address}), (
            job, got, answer)
        assert self.contents.moves == self.recorder.moves, (job, self.contents.moves, self.recorder.moves)
        await ports.until(lambda: len(ports.found.received) >= ports.asked)
        self.never_a_mixture(ports.found.received[first:], before, after, job)

        op = job["op"]
        self.statuses[answer.status] += 1
        self.events.update({f"{op.name} moves": len(self.contents.moves), "granted": len(answer.granted),
                            "released": len(answer.released), f"{op.name} OK": answer.status is S.OK,
                            f"{op.name} FAULT": answer.status is S.FAULT})
        self.cycles.append((op, answer, ports.answer.offered[-1] - ports.command.cycles[-1]))
        self.follow(job, answer)
        return answer.status

    def never_a_mixture(self, answers, before, after, job):
        done = False
        for got, old, new in zip(answers, before, after, strict=True):
            assert got in (old, new), f"a lookup during {job} sees neither before nor after"
            assert not done or got == new, f"a lookup during {job} sees before, one earlier saw after"
            done |= got != old
            self.events["lookups that tell before from after"] += old != new

    def request(self, job=None):
        rng, golden = self.rng, self.golden
        slot = job["slot"] if job and rng.random() < 0.6 else rng.randrange(CONFIG.sequences)
        if rng.random() < 0.03:
            slot = rng.choice([CONFIG.sequences, rng.getrandbits(16)])
        generation = golden.generations[slot] if slot < CONFIG.sequences else 0
        if rng.random() < 0.05:
            generation = (generation + rng.choice([1, -1, 256])) % (1 << 16)
        index = rng.choice([rng.randrange(CONFIG.table_entries)] * 12 + [CONFIG.table_entries, rng.getrandbits(16)])
        return slot, generation, index

    def packed(self, request):
        slot, generation, index = request
        return pack(LookupAnswer, self.golden.found(Handle(slot, generation), index))

    async def compare(self, slots, entries=range(CONFIG.table_entries + 1)):
        """By lookups: state and table of slots."""
        requests = [(slot, self.golden.generations[slot], index) for slot in slots for index in entries]
        first = self.ports.ask(requests)
        await self.ports.until(lambda: len(self.ports.found.received) >= self.ports.asked)
        for request, got in zip(requests, self.ports.found.received[first:], strict=True):
            assert got == self.packed(request), (request, self.golden.slots[request[0]])

    async def compare_all(self):
        self.golden.check()
        await self.compare(range(CONFIG.sequences))
        await self.readable(range(CONFIG.sequences))

    # Contents

    def follow(self, job, answer):
        """What the tokens of sequences are after an operation."""
        op, handle, tokens = job["op"], Handle(job["slot"], job["generation"]), self.tokens
        if answer.status is not S.OK:
            return
        seq = None if op is CacheOp.OPEN else self.golden.slots[handle.slot]
        if op is CacheOp.OPEN:
            tokens[answer.handle] = []
        elif op is CacheOp.FORK:
            tokens[answer.handle] = list(tokens[handle])
        elif op is CacheOp.CLOSE:
            del tokens[handle]
        elif op is CacheOp.APPEND:
            tokens[handle] += [[None] * HEADS for _ in range(job["count"])]
        elif op is CacheOp.TRUNCATE:
            del tokens[handle][job["count"]:]
        elif op is CacheOp.COMMIT:
            step = len(tokens[handle]) - seq.length
            kept = [j for j in range(64) if job.get("path", 0) >> j & 1] if job.get("tree") else range(job["count"])
            length = seq.length - len(kept)
            assert step >= 0
            tokens[handle][length:] = [tokens[handle][length + j] for j in kept]

    async def blocks_of(self, slot):
        """A slot's table as the gateware tells it: block or None; None if it is not usable."""
        seq = self.golden.slots[slot]
        if seq is None or seq.broken or seq.swapped:
            return None
        requests = [(slot, self.golden.generations[slot], index) for index in range(len(seq.table))]
        answers = await self.ports.look(requests)
        return [answer["block"] if answer["present"] else None for answer in answers]

    async def write(self, slot):
        """What an append job does for one head: writes the step's places, and says so."""
        seq, head = self.golden.slots[slot], self.golden.slots[slot].appended
        table = await self.blocks_of(slot)
        tokens = self.tokens[slot, self.golden.generations[slot]]
        first, end = (seq.before, seq.filled) if seq.is_heavy else (seq.length, seq.length + seq.reserved)
        for cell in range(first, end):
            value, self.token = self.token, self.token + 1
            self.contents.place(table[cell // LANES], cell % LANES)[head] = value
            if not seq.is_heavy:
                tokens[cell] = [*tokens[cell]]
                tokens[cell][head] = value
        await self.event(EventKind.APPENDED, slot)

    async def readable(self, slots):
        """No place that a sequence may read holds poison; where it keeps all, each holds the sequence's own."""
        for slot in slots:
            table, seq = await self.blocks_of(slot), self.golden.slots[slot]
            for head in range(HEADS if table is not None else 0):
                step = seq.appended > head
                end = (seq.filled if step or not seq.reserved else seq.before) if seq.is_heavy else \
                    seq.length + seq.reserved * step
                for cell in range(seq.holes * LANES, end):
                    value = self.contents.place(table[cell // LANES], cell % LANES)[head]
                    assert value != POISON, f"slot {slot} reads another's data at {cell}, head {head}"
                    if not seq.is_heavy:
                        token = self.tokens[slot, self.golden.generations[slot]][cell][head]
                        assert token is None or value == token
                    self.events["places read"] += 1

    async def event(self, kind, slot=0, failed=0):
        golden = {EventKind.APPENDED: self.golden.appended, EventKind.SUMMED: self.golden.summed,
                  EventKind.TOUCHED: self.golden.touched}
        if kind is EventKind.ENDED:
            self.golden.ended(failed)
        else:
            golden[kind](slot)
        await self.ports.tell([{"kind": kind, "slot": slot, "failed": failed}])

    # Random ones

    async def work(self, slot):
        """Go on with a step: as far as its end, mostly."""
        seq, rng = self.golden.slots[slot], self.rng
        goal = rng.choice([HEADS] * 8 + [0, 1])
        while seq.appended < goal:
            await self.write(slot)
        if seq.is_heavy and seq.appended == HEADS:
            await self.event(EventKind.TOUCHED, slot)
            for _ in range(seq.summed, rng.choice([HEADS] * 8 + [0, 1])):
                await self.event(EventKind.SUMMED, slot)
            await self.event(EventKind.ENDED, rng.getrandbits(16), int(rng.random() < 0.03))

    def draw(self):
        rng, golden = self.rng, self.golden
        live = [slot for slot, seq in enumerate(golden.slots) if seq]
        slot = rng.choice(live) if live and rng.random() < 0.95 else rng.choice([*range(CONFIG.sequences + 2), 0x8000])
        seq = golden.slots[slot] if slot < CONFIG.sequences else None
        generation = golden.generations[slot] if slot < CONFIG.sequences else 0
        handle = slot, (generation - (rng.random() < 0.03)) % (1 << 16)
        if seq and seq.reserved and rng.random() < 0.8:
            return self.draw_commit(handle, seq)
        if seq and rng.random() < 0.4 and (seq.broken or seq.swapped):
            return command(CacheOp.CLOSE if seq.broken else CacheOp.SWAP_IN, handle)
        op = rng.choices(list(CacheOp), [6, 55, 14, 10, 2, 5, 6, 3])[0]
        if op is CacheOp.OPEN:
            policy, size, recent, chunk = rng.choice([*POLICIES * 2, *BAD_POLICIES])
            return command(op, (rng.getrandbits(16), rng.getrandbits(16)), policy=policy, size=size, recent=recent,
                           chunk=chunk)
        if op is CacheOp.APPEND:
            count = rng.choice([0, 1, 1, 2, 3, rng.randrange(1, LANES + 3), rng.randrange(1, 3 * LANES)])
            return command(op, handle, count=rng.choice([count] * 30 + [CONFIG.max_sequence, (1 << 20) - 1]))
        if op is CacheOp.TRUNCATE:
            length = seq.length if seq else 3
            return command(op, handle, count=max(length - rng.choice([-1, 0, 1, 2, length, rng.randrange(length + 1)]),
                                                 0))
        if op is CacheOp.SWAP_OUT:
            return command(op, handle, host=(slot << 8 | 1 << 17) * BLOCK_UNIT + rng.choice([0] * 9 + [2048]),
                           count=rng.choice([0, 2, *[CONFIG.table_entries] * 5]))
        return self.draw_commit(handle, seq) if op is CacheOp.COMMIT else command(op, handle)

    def draw_commit(self, handle, seq):
        rng, n = self.rng, seq.reserved if seq else 2
        if seq and seq.is_heavy and rng.random() < 0.9:
            return command(CacheOp.COMMIT, handle, **rng.choice([{"count": n}, {"tree": 1, "path": (1 << n) - 1}]))
        if rng.random() < 0.5:
            path = sum(1 << j for j in range(n) if rng.random() < 0.6) & (1 << 64) - 1
            return command(CacheOp.COMMIT, handle, tree=1, count=rng.randrange(9),
                           path=rng.choice([path] * 8 + [path | 1 << min(n, 63), 1 << 63]))
        return command(CacheOp.COMMIT, handle, count=rng.choice([n, n, n, rng.randrange(n + 1), n + 1]),
                       path=rng.getrandbits(64))

    async def step(self, thorough=True):
        """Events, an operation, and all that it might have changed."""
        rng = self.rng
        for slot, seq in enumerate(self.golden.slots):
            if seq and seq.reserved and not seq.broken and rng.random() < 0.5:
                await self.work(slot)
        if rng.random() < 0.05:
            await self.event(rng.choice([EventKind.TOUCHED, EventKind.SUMMED, EventKind.ENDED]),
                             rng.choice([*range(CONFIG.sequences), CONFIG.sequences, rng.getrandbits(16)]))
        job = self.draw()
        status = await self.do(job, rng.randrange(4) if rng.random() < 0.1 else None)
        if thorough:
            await self.compare_all()
        elif status is S.OK:
            slot = job["slot"] if job["slot"] < CONFIG.sequences else 0
            await self.compare([slot])
            await self.compare(range(CONFIG.sequences), [rng.randrange(CONFIG.table_entries)])
            await self.readable([slot])
        else:
            await self.compare(range(CONFIG.sequences), [rng.randrange(CONFIG.table_entries)])
