"""Random programs of all units on a small memory: what golden says of each, instruction by instruction.

The arena: the program, tables and parameters that nobody writes, rows in memory and on chip, and the cache.
Instructions are drawn one after the other and run on golden at once, which says which handles there are and what a
sequence holds.
"""

import random

import numpy as np
from olivine.attention.descriptor import CachedGroup, OutputFormat, Segment
from olivine.control.instruction import INSTRUCTION_BYTES, Unit
from olivine.control.job import TALLIES
from olivine.kvcache.append.descriptor import AppendRow, AppendScales
from olivine.kvcache.descriptor import CacheOp, CachePolicy
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine.vector.descriptor import NO_INDEX, Norm, VectorOp
from olivine.vector.formats import Function
from olivine_golden.decoder.example import _codes
from olivine_golden.linear import LinearWeights
from olivine_golden.machine import Machine
from olivine_golden.vector.norm import NormJob
from olivine_host.compiler.memory_map import MemoryMap, cache_geometry
from olivine_host.compiler.program import Program, Region
from olivine_host.isa.instruction import Instruction
from olivine_host.isa.layouts import KINDS
from olivine_host.jobs import pack_weights

__all__ = ["Arena", "HEADS", "LAYERS"]

LAYERS, KV_HEADS, GROUP, HEAD_DIM = 2, 2, 2, 8
HEADS = LAYERS * KV_HEADS
TABLE_BYTES, ROWS_BYTES, MOST = 1 << 14, 1 << 14, 64


def _bytes(layout, **fields):
    return layout.const(fields).as_value().value.to_bytes(layout.size // 8, "little")


class Arena:
    """Draws instructions and keeps golden's state.

    Parameters
    ----------
    config : AcceleratorConfig
    seed : int
    formats : (LaneFormat, LaneFormat)
        Of keys and values.

    Attributes
    ----------
    machine : Machine
    memory_bytes : int
        End of memory; the scratchpad lies elsewhere.
    program : Program
        What was drawn since `begin`.
    after : list of (bytes, bytes)
        Memory and scratchpad after each of its instructions, where `watch` is set.
    tallies : dict
        Of the program.
    result : int
        Of its last operation on the cache.
    """

    def __init__(self, config, seed, formats=(LaneFormat.INT8, LaneFormat.INT8)):
        self.config, self.rng, self.numbers = config, random.Random(seed), np.random.default_rng(seed)
        self.word = config.bus_bytes
        places = MemoryMap(config)
        self.code = places.take("program", 2 * MOST * INSTRUCTION_BYTES)
        self.tables = places.take("tables", TABLE_BYTES)
        self.parameters = places.take("parameters", 1 << 14)
        self.rows = places.take("rows", ROWS_BYTES)
        self.copy = places.take("copy of the scratchpad", config.scratchpad_bytes)
        self.geometry = {name: getattr(value, "value", value) for name, value in cache_geometry(
            config, places, HEADS, HEAD_DIM, *formats, 16, 4, True).items()}
        self.formats = formats
        self.memory_bytes = places.end
        self.scratch = config.scratchpad_base, config.scratchpad_bytes
        self.machine = Machine(config)
        self.watch = False
        self.live = []      # (handle, policy)
        self.fill(0, self.memory_bytes)
        self._make_parameters()
        self.begin()

    # Memory

    def put(self, address, content):
        self.machine.memory[address:address + len(content)] = bytes(content)

    def get(self, address, size):
        return bytes(self.machine.memory[address:address + size])

    def fill(self, address, size):
        self.put(address, self.numbers.bytes(size))

    def image(self):
        return self.get(0, self.memory_bytes)

    def _make_parameters(self):
        """Weights and norm parameters."""
        rng, at = self.numbers, self.parameters.address
        self.weights = []
        for k, n in ((5, 3), (24, 16), (70, 9), (16, 24), (1, 8)):
            lane_format = self.rng.choice(list(LaneFormat))
            group = self.rng.choice(list(Group)) if k > 5 else Group.CHANNEL
            runs = -(-k // (64 if group is Group.G64 else 128))
            multipliers = None if group is Group.CHANNEL else rng.integers(0, 256, (runs, n)).astype(np.uint8)
            weights = LinearWeights(
                lane_format, group, _codes(rng, lane_format, k, n), multipliers,
                0 if multipliers is None else int(rng.integers(0, 9)), rng.integers(-5000, 5000, n).astype(np.int32),
                rng.integers(1, 1 << 16, n).astype(np.uint16), rng.integers(14, 24, n).astype(np.uint8))
            content = pack_weights(weights, self.config.lanes)
            self.put(at, content)
            self.weights.append((weights, at, k, n))
            at += -(-len(content) // 64) * 64
        self.norms, self.gathered = at, at + 4 * 64
        self.fill(at, 1 << 11)
        assert self.gathered + 16 * 64 <= self.parameters.end

    # Programs

    def begin(self):
        """An empty program; its tables begin anew."""
        self.program, self.after = Program(), []
        self.at_table = self.tables.address
        self.tallies, self.result = dict.fromkeys(TALLIES, 0), 0

    def table(self, content):
        """A table in memory; returns its address."""
        at = self.at_table
        self.put(at, content)
        self.at_table += -(-len(content) // 64) * 64
        assert self.at_table <= self.tables.end, "the tables are full"
        return at

    @property
    def full(self):
        return self.at_table + 0x800 > self.tables.end or len(self.program) >= MOST

    def add(self, kind, fields, reads=(), writes=()):
        """Add an instruction, and run it on golden; returns its status."""
        self.program.add(kind, fields, reads, writes)
        payload = int.from_bytes(self.program.instructions[-1].pack(), "little") >> 96
        status = self.machine.execute(payload)
        assert status.ok, (kind, fields, status)
        for name, count in status.tallies.items():
            self.tallies[name] += count
        if self.program.instructions[-1].kind == "cache":
            self.result = status.handle.slot | status.handle.generation << 16 if status.handle else 0
        if self.watch:
            self.after.append((self.image(), self.get(*self.scratch)))
        return status

    def pack(self, extra_waits=0.0):
        """The program's bytes; some instructions wait for more than they need."""
        rng, counts, made = self.rng, dict.fromkeys(Unit, 0), []
        for index, instruction in enumerate(self.program.instructions):
            waits = dict(instruction.waits)
            for unit, count in counts.items():
                if rng.random() < extra_waits:
                    waits[unit] = max(waits.get(unit, 0), rng.randint(0, count))
            made.append(Instruction(instruction.kind, instruction.fields, waits,
                                    last=index == len(self.program) - 1 and rng.random() < 0.7).pack())
            counts[KINDS[instruction.kind].unit] += 1
        return b"".join(made)

    # Places

    def place(self, size, apart=(), alignment=None, near=True):
        """Somewhere for rows, in memory or, if ``near``, on chip, apart from other regions of the job."""
        alignment = alignment or self.word
        for _ in range(200):
            base, room = self.scratch if near and self.rng.random() < 0.5 else (self.rows.address, ROWS_BYTES)
            # Half of the places are few, so that instructions meet.
            room -= 64      # golden's attention is careful at the end of the address space
            unit = alignment if self.rng.random() < 0.3 else max(alignment, 256)
            region = Region(base + self.rng.randrange(0, (room - size) // unit + 1) * unit, size)
            if not any(region.meets(other) for other in apart):
                return region
        raise AssertionError("no place")

    # Instructions

    def draw(self):
        """One instruction, or one step of a sequence."""
        kind = self.rng.choices(("linear", "vector", "step", "cache"), (3, 6, 3, 1))[0]
        getattr(self, f"_{kind}")()

    def _linear(self):
        rng, config = self.rng, self.config
        weights, address, k, n = rng.choice(self.weights)
        full = rng.random() < 0.7
        m = config.rows * rng.randint(1, config.contexts) if full else rng.randint(1, 2 * config.chunk_rows)
        x_format, y_format = (RowFormat.INT12, rng.choice((RowFormat.INT12, RowFormat.INT16))) if full else (
            rng.choice((RowFormat.INT8, RowFormat.INT12)), rng.choice(list(RowFormat)))
        x = self.place(m * k * x_format.bytes, alignment=self.word if full else 2)
        y = self.place(m * n * y_format.bytes, [x], alignment=self.word if full else 2)
        self.add("linear", {"weight_format": weights.format, "group": weights.group,
                            "group_shift": weights.group_shift, "x_format": x_format, "y_format": y_format, "m": m,
                            "k": k, "n": n, "x": x.address, "w": address, "y": y.address}, [x], [y])

    def _vector(self):
        rng, config, word = self.rng, self.config, self.word
        op = rng.choice(list(VectorOp))
        groups = rng.randint(1, config.contexts)
        channels = rng.choice((1, 5, 8, 16, 31))
        idle = rng.randrange(config.rows)
        fields = {"op": op, "groups": groups, "channels": channels}
        rows = groups * channels * word
        formats = {"format": rng.choice(list(RowFormat)), "idle_rows": idle}

        def same(region, apart):
            return region if rng.random() < 0.4 else self.place(rows, apart)

        if op is VectorOp.RESIDUAL:
            norm = rng.choice(list(Norm))
            add = norm is Norm.NONE or rng.random() < 0.7
            r = self.place(2 * rows)
            fields |= {"add": int(add), "norm": norm, "idle_rows": idle, "r": r.address}
            reads, writes = [r], []
            if add:
                x = self.place(rows, [r])
                fields |= {"fresh": rng.getrandbits(1), "x": x.address, "mult": rng.getrandbits(16),
                           "shift": rng.randint(6, 20)}
                reads.append(x)
                writes.append(r)
            if norm is not Norm.NONE:
                y = self.place(rows, reads)
                fields |= {"format": formats["format"], "y": y.address}
                writes.append(y)
                if norm is Norm.REQUANTIZE:
                    fields |= {"out_mult": rng.getrandbits(16), "out_shift": rng.randint(10, 30)}
                else:
                    job = NormJob.of(channels, 1e-5, norm is Norm.LAYER)
                    fields |= {"t": self.norms, "out_shift": rng.randint(10, 24), "reciprocal": job.reciprocal,
                               "epsilon": job.epsilon}
            self.add("vector", fields, reads, writes)
        elif op is VectorOp.ACTIVATE:
            x = self.place(rows)
            y = same(x, [x])
            self.add("vector", {**fields, **formats, "x": x.address, "y": y.address, "fraction": rng.randint(8, 12),
                                "function": rng.choice(list(Function)), "mult": rng.getrandbits(16),
                                "shift": rng.randint(8, 20)}, [x], [y])
        elif op is VectorOp.GATE:
            x = self.place(rows)
            r = self.place(rows, [x])
            y = rng.choice((x, r)) if rng.random() < 0.4 else self.place(rows, [x, r])
            self.add("vector", {**fields, **formats, "x": x.address, "r": r.address, "y": y.address,
                                "shift": rng.randint(4, 18)}, [x, r], [y])
        elif op is VectorOp.ROTATE:
            dims, heads = rng.choice(((8, 1), (8, 3), (16, 2), (12, 1)))
            pairs, rows = rng.randint(1, dims // 2), groups * dims * heads * word
            x = self.place(rows)
            r = self.place(groups * 2 * pairs * word, [x])
            y = x if rng.random() < 0.4 else self.place(rows, [x, r])
            self.add("vector", {**fields, "idle_rows": idle, "channels": dims, "heads": heads, "pairs": pairs,
                                "interleaved": rng.getrandbits(1), "x": x.address, "r": r.address, "y": y.address},
                     [x, r], [y])
        elif op is VectorOp.GATHER:
            stride = -(-2 * channels // word) * word
            most = 16 * 64 // stride
            indices = [NO_INDEX if rng.random() < 0.2 else rng.randrange(most) for _ in range(groups * config.rows)]
            y = self.place(rows)
            self.add("vector", {**fields, "x": self.gathered, "y": y.address,
                                "t": self.table(np.array(indices, "<u4").tobytes())}, [], [y])
        elif op is VectorOp.LARGEST:
            x = self.place(rows)
            y = self.place(groups * config.rows * 64, [x])
            self.add("vector", {**fields, "x": x.address, "y": y.address}, [x], [y])
        else:
            x = self.place(rows)
            y = same(x, [x])
            first = rng.randrange(config.rows)
            self.add("vector", {**fields, "x": x.address, "y": y.address, "rotation": rng.randrange(config.rows),
                                "first_lane": first, "last_lane": rng.randrange(first, config.rows)}, [x, y], [y])

    # The cache

    def sequence(self, handle):
        return self.machine.cache.cache.lookup(handle)[1]

    def set_up(self):
        self.add("setup", {f"geometry.{name}": value for name, value in self.geometry.items()})

    def operate(self, op, handle=(0, 0), **fields):
        return self.add("cache", {"op": op, "slot": handle[0], "generation": handle[1], **fields})

    def _cache(self):
        rng = self.rng
        kind = rng.choice(("open", "fork", "truncate", "close"))
        if kind == "open" or not self.live:
            return self.open()
        handle, policy = rng.choice(self.live)
        length = self.sequence(handle).length
        if kind == "fork" and policy is not CachePolicy.HEAVY and len(self.live) < 6:
            self.live.append((self.operate(CacheOp.FORK, handle).handle, policy))
        elif kind == "truncate" and policy is CachePolicy.NONE:
            self.operate(CacheOp.TRUNCATE, handle, count=max(0, length - rng.randint(0, 3)))
        elif kind == "close":
            self.operate(CacheOp.CLOSE, handle)
            self.live.remove((handle, policy))

    def open(self):
        if len(self.live) >= 6:
            return
        policy = self.rng.choice(list(CachePolicy))
        sizes = {CachePolicy.NONE: {}, CachePolicy.WINDOW: {"size": 9},
                 CachePolicy.HEAVY: {"size": 6, "recent": 4, "chunk": 4}}[policy]
        self.live.append((self.operate(CacheOp.OPEN, policy=policy, **sizes).handle, policy))

    def _step(self):
        """Reserve, append and attend in each layer, commit."""
        rng, config = self.rng, self.config
        if not self.live or len(self.machine.cache.cache.free) < 4:
            return self._room()
        handle, policy = rng.choice(self.live)
        seq = self.sequence(handle)
        if seq.length > 40:
            self.operate(CacheOp.CLOSE, handle)
            return self.live.remove((handle, policy))
        tokens = rng.randint(1, 4 if policy is CachePolicy.HEAVY else config.chunk_rows)
        self.operate(CacheOp.APPEND, handle, count=tokens)
        for layer in range(LAYERS):
            if rng.random() < 0.5:
                self._vector()
            self._append(handle, tokens, layer)
            self._attend(handle, policy, tokens, layer)
        self.operate(CacheOp.COMMIT, handle, count=tokens)

    def _room(self):
        if self.live and len(self.machine.cache.cache.free) < 4:
            handle, policy = self.live.pop(0)
            self.operate(CacheOp.CLOSE, handle)
        else:
            self.open()

    def _append(self, handle, tokens, layer):
        rng, config, word = self.rng, self.config, self.word
        channels = 2 * KV_HEADS * HEAD_DIM + rng.choice((0, 8))
        source = self.place(-(-tokens // config.rows) * channels * word)
        entries = b"".join(_bytes(AppendScales, key_mult=rng.getrandbits(16), key_shift=rng.randint(18, 24),
                                  value_mult=rng.getrandbits(16), value_shift=rng.randint(18, 24))
                           for _ in range(KV_HEADS))
        table = b"".join(_bytes(AppendRow, slot=handle[0], generation=handle[1], offset=offset)
                         for offset in range(tokens))
        self.add("append", {"format": RowFormat.INT16, "heads": KV_HEADS, "first_head": layer * KV_HEADS,
                            "rows": tokens, "keys": source.address,
                            "values": source.address + KV_HEADS * HEAD_DIM * word, "channels": channels, "full": 1,
                            "table": self.table(table), "scales": self.table(entries)}, [source], [self._kv(layer)])

    @staticmethod
    def _kv(layer):
        return Region(layer, 1, "keys and values")

    def _attend(self, handle, policy, tokens, layer):
        rng, config, word = self.rng, self.config, self.word
        hitters = policy is CachePolicy.HEAVY
        seq = self.sequence(handle)
        fields = {"key_format": self.formats[0], "value_format": self.formats[1], "q_format": RowFormat.INT12,
                  "cached": 1, "causal": 1, "head_dim": HEAD_DIM, "cells": int(hitters),
                  "window": 9 if policy is CachePolicy.WINDOW else 0}
        heads = GROUP if hitters or tokens == 1 and rng.random() < 0.7 else 1
        batch = heads == 1 or tokens == 1
        rows = tokens * heads
        tree = not hitters and not fields["window"] and rng.random() < 0.3
        size = (-(-tokens // config.rows) if heads == 1 else heads) * HEAD_DIM * word if batch else (
            rows * HEAD_DIM * 2)
        end = seq.filled if hitters else seq.length + tokens
        segment = self.table(_bytes(Segment, slot=handle[0], generation=handle[1], end=end, rows=(1 << 64) - 1))
        lane = rng.randrange(config.rows) if batch and tokens == 1 else 0
        o_format = rng.choice((OutputFormat.INT12, OutputFormat.INT16))
        reads, writes, entries, lse = [], [], [], []
        apart = hitters and rows > config.rows
        wants_lse = apart or rng.random() < 0.4
        for kv_head in range(KV_HEADS):
            q = self.place(size, writes)
            o = self.place(size, [*reads, *writes, q])
            reads.append(q)
            log = self.place(4 * -(-rows // config.rows) * config.rows, [*reads, *writes, o], near=not apart)
            writes.append(o)
            lse.append(log)
            if wants_lse:
                writes.append(log)
            masks = self.table(np.array([rng.getrandbits(tokens) | 1 << row // heads for row in range(rows)],
                                        "<u8").tobytes()) if tree else 0
            entries.append({
                "q": q.address, "o": o.address, "batch": int(batch), "lane": lane,
                "q_words": HEAD_DIM if batch else 0, "o_words": HEAD_DIM if batch else 0,
                "score_mult": rng.randrange(1 << 15, 1 << 16), "score_shift": rng.choice((17, 19, 20)),
                "o_mult": rng.getrandbits(16), "o_shift": rng.randint(24, 27), "segments": segment,
                "head": layer * KV_HEADS + kv_head, "lse": log.address if wants_lse else 0, "rows": rows, "count": 1,
                "position": seq.length, "tree": masks})
        table = self.table(b"".join(_bytes(CachedGroup, **entry) for entry in entries))
        fields |= {"heads": heads, "tree": int(tree), "groups": len(entries), "table": table}
        kv = self._kv(layer)
        self.add("attention", {**fields, "o_format": o_format, "lse": int(wants_lse),
                               "hitters": int(hitters and not apart)}, [*reads, kv],
                 [*writes, kv] if hitters and not apart else writes)
        if apart:
            self.add("score", {**fields, "o_format": o_format, "hitters": 1}, [*reads, kv, *lse], [kv])

    # Everything as words

    def copy_scratchpad(self, back=False):
        """Instructions that copy the scratchpad to memory, or from there, word by word."""
        pair = Region(*self.scratch), Region(self.copy.address, self.copy.size)
        source, target = reversed(pair) if back else pair
        program = Program()
        program.add("vector", {"op": VectorOp.LANES, "groups": 1, "channels": self.config.scratchpad_words,
                               "x": source.address, "y": target.address, "first_lane": 0,
                               "last_lane": self.config.rows - 1})
        return program.pack()
