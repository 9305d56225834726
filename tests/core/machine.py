"""A random operation machine over attention and cache: jobs as a host would give them, and what golden says of each."""

import random
from dataclasses import dataclass

import numpy as np
from olivine.attention.descriptor import OutputFormat
from olivine.control.job import StatusCode
from olivine.core.descriptor import OPCODE_SETUP, SetupDescriptor
from olivine.kvcache.descriptor import CacheOp, CachePolicy, CacheStatus
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.cache_system import CacheSystem
from olivine_golden.kv_sequence import Policy, heavy, window
from olivine_host.cache_jobs import AppendJob, CachedAttentionJob, Request, ScoreJob, SegmentOf, cache_command
from olivine_host.cache_memory import CacheMemory

__all__ = ["RawJob", "Machine"]


@dataclass
class RawJob:
    """A job for the harness, and the status and output that golden expects of it."""

    descriptor: int
    regions: list
    output: tuple
    memory_bytes: int
    status: object = None
    expected: bytes | None = None
    joined: bool = False
    keeps: bool = False
    fault: int = 0
    what: str = ""


class Machine:
    """Draws steps of generation, forks, truncations, swaps and mistakes, and runs each on golden.

    Parameters
    ----------
    config : AcceleratorConfig
    seed : int
    layers, kv_heads, group : int
        Layers, KV heads of each, query heads that share one.
    head_dim : int
    key_format, value_format : LaneFormat

    Attributes
    ----------
    jobs : list of RawJob
    faults : float
        Chance that the bus fails in a job. What such a job must leave is known, as its first read fails, or it
        writes nothing that lasts.
    """

    def __init__(self, config, seed, *, layers=2, kv_heads=2, group=2, head_dim=8, key_format=LaneFormat.INT8,
                 value_format=LaneFormat.INT8, blocks=14, log_cells=5, faults=0.0):
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.config, self.layers, self.kv_heads, self.group, self.head_dim = config, layers, kv_heads, group, head_dim
        self.memory = CacheMemory(config, heads=layers * kv_heads, head_dim=head_dim, key_format=key_format,
                                  value_format=value_format, blocks=blocks, log_cells=log_cells,
                                  host_blocks=blocks * 2, job_bytes=1 << 15)
        self.image = self.memory.image()
        self.golden = CacheSystem(config, self.memory.geometry, bytearray(self.image))
        self.handles, self.closed, self.jobs = [], [], []
        self.host = {}                  # first block of the host's window by handle
        self.faults, self.tainted = faults, set()   # slots whose records a fault left half written
        self.fails_now = False
        self.golden.cache.mover = self.move
        setup = self.setup_descriptor()
        # And one beat more, which is read back with the last ones.
        image = bytes(self.image) + bytes(config.bus_bytes)
        self.jobs.append(RawJob(setup, [(0, image)], (0, 0), len(image), keeps=True, what="setup"))
        self.policies = [Policy(), Policy(), window(2 * config.lanes + 1), window(3),
                         heavy(6, 4, min(6, config.chunk_rows)), heavy(3, 2, config.rows // 2 or 1)]

    def setup_descriptor(self, reserved=0, **geometry):
        """A setup job; fields by name differ from the cache's own."""
        return SetupDescriptor.const({"opcode": OPCODE_SETUP, "geometry": {**self.memory.geometry, **geometry},
                                      "reserved": reserved}).as_value().value

    def move(self, wanted):
        """Golden's mover; while the bus fails, nothing is moved."""
        return 1 if self.fails_now else self.golden._move(wanted)

    def unlucky(self):
        return self.rng.random() < self.faults

    def lose(self, descriptor, regions, code, fault, what):
        """A job that the bus fails, and which leaves nothing that lasts."""
        self.jobs.append(RawJob(descriptor, list(regions), (0, 0), self.memory.memory_bytes, code, fault=fault,
                                keeps=True, what=f"{what}, failing"))

    # One job

    def run(self, descriptor, regions=(), output=None, *, joined=False, what=""):
        """Give a job to golden and note it; returns golden's status."""
        memory = self.golden.memory
        for address, content in regions:
            memory[address:address + len(content)] = content
        status = self.golden.run(descriptor)
        expected = None
        if output is not None and status.ok:
            expected = bytes(memory[output[0]:output[0] + output[1]])
        self.jobs.append(RawJob(descriptor, list(regions), output or (0, 0), self.memory.memory_bytes, status, expected,
                                joined, keeps=output is None or not status.ok, what=what))
        return status

    def operate(self, op, handle=(0, 0), **fields):
        self.fails_now = self.unlucky()
        status = self.run(cache_command(op, handle, **fields), what=f"{op.name} {handle} {fields}")
        self.jobs[-1].fault = int(self.fails_now)
        self.fails_now = False
        return status

    # State

    def sequence(self, handle):
        return self.golden.cache.lookup(handle)[1]

    def usable(self, *, idle=True):
        found = []
        for handle in self.handles:
            seq = self.sequence(handle)
            if not (seq.swapped or seq.broken) and not (idle and seq.reserved):
                found.append(handle)
        return found

    # Steps

    def step(self):
        rng = self.rng
        self.memory.reset()
        kind = rng.choices(("open", "generate", "fork", "truncate", "close", "swap", "mistake", "wrong"),
                           (8, 40, 8, 6, 5, 6, 8, 4))[0]
        if kind == "open" or not self.handles:
            self.open()
        elif kind == "generate":
            self.generate()
        elif kind == "fork":
            self.fork()
        elif kind == "truncate" and (usable := self.usable()):
            handle = rng.choice(usable)
            length = self.sequence(handle).length
            self.operate(CacheOp.TRUNCATE, handle, count=max(length - rng.choice((0, 1, 2, 5, length)), 0))
        elif kind == "close":
            self.close(rng.choice(self.handles))
        elif kind == "swap":
            self.swap()
        elif kind == "mistake":
            self.mistake()
        elif kind == "wrong" and (usable := self.usable()):
            self.wrong_segment(rng.choice(usable))

    def open(self):
        policy = self.rng.choice(self.policies)
        status = self.operate(CacheOp.OPEN, policy=policy.kind, size=policy.size, recent=policy.recent,
                              chunk=policy.chunk)
        if status.ok:
            self.handles.append(status.handle)

    def fork(self):
        usable = self.usable()
        if not usable:
            return
        status = self.operate(CacheOp.FORK, self.rng.choice(usable))
        if status.ok:
            self.handles.append(status.handle)

    def close(self, handle):
        if self.operate(CacheOp.CLOSE, handle).ok:
            self.handles.remove(handle)
            self.closed.append(handle)
            self.host.pop(handle, None)

    def swap(self):
        handle = self.rng.choice(self.handles)
        seq = self.sequence(handle)
        if seq.swapped:
            if self.operate(CacheOp.SWAP_IN, handle).ok:
                self.host.pop(handle)
            return
        count = sum(block is not None for block in seq.table)
        taken = {block for first, size in self.host.values() for block in range(first, first + size)}
        room = self.memory.host[1] // self.memory.block_bytes
        free = [first for first in range(room - count + 1) if not taken & set(range(first, first + count))]
        if not free:
            return
        first = self.rng.choice(free)
        short = self.rng.random() < 0.1 and count > 0
        status = self.operate(CacheOp.SWAP_OUT, handle, count=count - short,
                              host=self.memory.host[0] + first * self.memory.block_bytes)
        if status.ok:
            self.host[handle] = first, count

    def set_up_again(self):
        """The same geometry at any time; another one is refused while sequences are open."""
        other = {"base": self.memory.geometry["base"] + 64, "blocks": 1, "heads": 1}
        name = self.rng.choice([None, "reserved", *(other if any(self.golden.cache.slots) else ())])
        changed = {name: other.get(name, 1)} if name else {}
        self.run(self.setup_descriptor(**changed), what=f"set up again {changed}")

    def mistake(self):
        """An operation that is likely refused."""
        rng = self.rng
        if rng.random() < 0.15:
            return self.set_up_again()
        op = rng.choice(list(CacheOp))
        handle = rng.choice([*self.handles, *self.closed[-3:], (self.config.sequences, 0), (0, 77)])
        if op is CacheOp.OPEN:
            self.operate(op, policy=CachePolicy.HEAVY, size=30, recent=30, chunk=1)
        elif op is CacheOp.COMMIT:
            self.operate(op, handle, count=3)
        elif op in (CacheOp.FORK, CacheOp.CLOSE, CacheOp.SWAP_IN) and handle in self.handles:
            self.operate(CacheOp.TRUNCATE, handle, count=self.config.max_sequence)
        elif op is CacheOp.APPEND:
            self.operate(op, handle, count=0)
        elif op is CacheOp.SWAP_OUT:
            self.operate(op, handle, count=0, host=self.memory.host[0] + 8)
        else:
            self.operate(op, handle, count=(1 << 20) - 1)

    def queries(self, rows):
        return self.numbers.integers(-2048, 2048, (rows, self.head_dim))

    def request(self, rows, head, segments, position, tree=None):
        return Request(self.queries(rows), head, segments, position, int(self.rng.randrange(1 << 15, 1 << 16)),
                       self.rng.choice((17, 19, 20)), tree=tree)

    def wrong_segment(self, handle):
        """Attention beyond what is there, or through a handle that is none."""
        seq, rng = self.sequence(handle), self.rng
        cases = [(handle, seq.length + 1, 0), ((handle[0], handle[1] + 1), 1, 0), ((self.config.sequences, 0), 1, 0),
                 (handle, seq.length, -(-seq.length // self.config.lanes))]
        handle, end, first = rng.choice(cases)
        if end < 1:
            return
        job = CachedAttentionJob(self.memory, [self.request(1, 0, [SegmentOf(handle, end, first)], 0)],
                                 heads=1, causal=False)
        self.run(job.descriptor, job.regions, job.output, what=f"attend wrongly {handle} {first} {end}")

    def attend(self, job, joined, what):
        if self.unlucky() and not job.hitters:
            fault = self.rng.choice((1, 2, 3, 5, -1))
            self.lose(job.descriptor, job.regions, StatusCode.READ_SLVERR if fault > 0 else StatusCode.WRITE_SLVERR,
                      fault, what)
            joined = False
        return self.run(job.descriptor, job.regions, job.output, joined=joined, what=what)

    def generate(self):
        """A step of one or more sequences: reserve, then for each layer append and attend, then commit."""
        rng = self.rng
        usable = self.usable()
        rng.shuffle(usable)
        room, chosen = self.config.chunk_rows, []
        for handle in usable[:rng.choice((1, 1, 2, 3))]:
            seq = self.sequence(handle)
            most = min(room, seq.policy.chunk if seq.is_heavy else room)
            if not most:
                break
            tokens = rng.randint(1, most) if rng.random() < 0.7 else 1
            if self.operate(CacheOp.APPEND, handle, count=tokens).ok:
                chosen.append((handle, tokens))
                room -= tokens
        if not chosen:
            return
        fails = rng.random() < 0.1
        for layer in range(self.layers - fails):
            self.memory.reset()
            self.layer([step for step in chosen if not self.sequence(step[0]).broken], layer)
        for handle, tokens in chosen:
            if self.sequence(handle).broken:
                self.operate(CacheOp.COMMIT, handle, count=tokens)
                self.close(handle)
            else:
                self.commit(handle, tokens)

    def layer(self, chosen, layer):
        rng, numbers = self.rng, self.numbers
        rows = sum(tokens for _, tokens in chosen)
        if not rows:
            return
        row_format = rng.choice((RowFormat.INT8, RowFormat.INT12, RowFormat.INT16))
        limit = {RowFormat.INT8: 128, RowFormat.INT12: 2048, RowFormat.INT16: 1 << 15}[row_format]
        keys, values = (numbers.integers(-limit, limit, (rows, self.kv_heads * self.head_dim)) for _ in range(2))
        shift = limit.bit_length() - 1
        scales = [(rng.randrange(1, 1 << 10), 8 + max(shift - 6, 0), rng.randrange(1, 1 << 10), 8 + max(shift - 6, 0))
                  for _ in range(self.kv_heads)]
        job = AppendJob(self.memory, chosen, keys, values, scales, first_head=layer * self.kv_heads,
                        row_format=row_format)
        what = f"append {chosen} layer {layer}"
        if self.unlucky():
            self.lose(job.descriptor, job.regions, StatusCode.READ_SLVERR, 1, what)
        self.run(job.descriptor, job.regions, what=what)
        kinds = {}
        for handle, tokens in chosen:
            seq = self.sequence(handle)
            key = "cells" if seq.is_heavy else seq.policy.size
            kinds.setdefault(key, []).append((handle, tokens))
        joined = rng.random() < 0.7
        for key, members in kinds.items():
            if key == "cells":
                self.heavy(members, layer, joined)
            else:
                self.plain(members, layer, key, joined)
            joined = False

    def plain(self, members, layer, window, joined):
        rng = self.rng
        for kv_head in range(self.kv_heads):
            head = layer * self.kv_heads + kv_head
            tree = not window and rng.random() < 0.25
            requests = []
            for handle, tokens in members:
                seq = self.sequence(handle)
                rows = tokens * self.group
                masks = [rng.getrandbits(tokens) for _ in range(rows)] if tree else None
                requests.append(self.request(rows, head, [SegmentOf(handle, seq.length + tokens)], seq.length, masks))
            if not tree and not window and rng.random() < 0.4:
                requests += self.shared(head)
            o_format = rng.choice(list(OutputFormat))
            job = CachedAttentionJob(
                self.memory, requests, heads=self.group, causal=not tree, window=window, tree=tree,
                o_format=o_format,
                lse=o_format is not OutputFormat.PARTIAL and rng.random() < 0.5)
            self.attend(job, joined, f"attend {members} head {head} window {window} tree {tree}")
            joined = False

    def shared(self, head):
        """Rows of sequences that share blocks, each shared block read once; committed places only."""
        rng, lanes = self.rng, self.config.lanes
        found = [handle for handle in self.usable(idle=False) if not self.sequence(handle).is_heavy
                 and self.sequence(handle).policy.kind is CachePolicy.NONE and self.sequence(handle).length > lanes]
        for one in found:
            for other in found:
                a, b = self.sequence(one), self.sequence(other)
                same = 0
                while same < min(a.length, b.length) // lanes and a.table[same] == b.table[same]:
                    same += 1
                if one == other or not same:
                    continue
                # Rows 0 to group - 1 are of the first, the others of the second; all past both.
                first, second = (1 << self.group) - 1, (1 << 2 * self.group) - 1
                segments = [SegmentOf(one, same * lanes, 0, second)]
                if a.length > same * lanes:
                    segments.append(SegmentOf(one, a.length, same, first))
                if b.length > same * lanes:
                    segments.append(SegmentOf(other, b.length, same, second ^ first))
                rng.shuffle(segments)
                return [self.request(2 * self.group, head, segments, 4096)]
        return []

    def heavy(self, members, layer, joined):
        rng = self.rng
        few = all(tokens * self.group <= self.config.rows for _, tokens in members)
        requests = []
        for kv_head in range(self.kv_heads):
            head = layer * self.kv_heads + kv_head
            for handle, tokens in members:
                seq = self.sequence(handle)
                requests.append(self.request(tokens * self.group, head, [SegmentOf(handle, seq.filled)], seq.length))
        alone = few and rng.random() < 0.7
        breaks = alone and len(members) == 1 and self.unlucky()
        job = CachedAttentionJob(self.memory, requests, heads=self.group, causal=True, cells=True, hitters=alone,
                                 lse=not alone)
        what = f"attend cells {members} layer {layer} hitters {alone}"
        if breaks:
            # A write comes only when the unit for heavy hitters has taken the sequence up.
            slot = members[0][0].slot
            self.lose(job.descriptor, job.regions, StatusCode.WRITE_SLVERR, -1, what)
            self.golden.cache.touched(slot)
            self.golden.cache.ended(True)
            self.tainted.add(slot)
            return
        self.attend(job, joined, what)
        if not alone:
            score = ScoreJob(job)
            self.run(score.descriptor, what=f"score {members} layer {layer}")

    def commit(self, handle, tokens):
        rng, seq = self.rng, self.sequence(handle)
        if seq.is_heavy or rng.random() < 0.6:
            status = self.operate(CacheOp.COMMIT, handle, count=tokens)
        elif rng.random() < 0.5:
            status = self.operate(CacheOp.COMMIT, handle, count=rng.randint(0, tokens))
        else:
            path = sorted(rng.sample(range(tokens), rng.randint(0, tokens)))
            status = self.operate(CacheOp.COMMIT, handle, path=path)
        if not status.ok:
            # The bus failed while places moved, or not every layer was written.
            if seq.is_heavy:
                self.close(handle)
            else:
                self.operate(CacheOp.COMMIT, handle, count=0)

    # Afterwards

    def compare(self, results, image):
        """Whether the simulated engine did what golden did; ``image``: its memory after the last job."""
        for number, (job, result) in enumerate(zip(self.jobs, results, strict=True)):
            where = f"job {number}: {job.what}"
            if job.status is None:
                assert result.status["code"] is StatusCode.OK, (where, result.status)
                continue
            if isinstance(job.status, StatusCode):
                # With too few bursts to fail it may be well.
                assert result.status["code"] in (job.status, StatusCode.OK), (where, result.status)
                continue
            want, got = job.status, result.status
            address = want.address
            if want.ok and want.handle is not None:
                address = want.handle.slot | want.handle.generation << 16
            found = got["code"], got["detail"], got["address"]
            if want.detail == CacheStatus.FAULT.value and want.code is StatusCode.REFUSED:
                address = got["address"]
            assert found == (want.code, want.detail, address), (where, found, want)
            if want.ok:
                tallies = {name: got[name] for name in want.tallies}
                assert tallies == want.tallies, (where, tallies, want.tallies)
            if job.expected is not None:
                assert result.output == job.expected, f"{where}: results differ"
        each = self.memory.records[1] // self.config.sequences
        parts = {"pool": self.memory.pool, "host": self.memory.host, **{
            f"records of slot {slot}": (self.memory.records[0] + slot * each, each)
            for slot in range(self.config.sequences) if slot not in self.tainted}}
        for name, (first, size) in parts.items():
            same = image[first:first + size] == self.golden.memory[first:first + size]
            if not same:
                at = next(place for place in range(first, first + size) if image[place] != self.golden.memory[place])
                raise AssertionError(f"memory differs in {name} at {at - first:#x}: {image[at]:#x}, not "
                                     f"{self.golden.memory[at]:#x}")
