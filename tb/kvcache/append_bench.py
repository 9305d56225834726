"""What the append engine's testbenches share: random jobs and caches, and the engine between memory and cache."""

from dataclasses import dataclass, field

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.control.job import StatusCode
from olivine.kvcache.append.descriptor import (
    OPCODE_APPEND,
    ROW_BYTES,
    SCALES_BYTES,
    AppendDescriptor,
    AppendRow,
    AppendScales,
)
from olivine.kvcache.descriptor import BLOCK_UNIT, RECORD_BYTES, CacheGeometry, CachePolicy, CacheStatus
from olivine.kvcache.lookup import CacheEvent, EventKind, LookupAnswer, LookupRequest
from olivine.kvcache.page import page_bytes
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.append import append

from tb.linear.bench import EngineBench, configuration
from tb.streams import PATTERNS, StreamChecker, StreamSink, pack, unpack

__all__ = ["Sequence", "AppendCase", "AppendBench"]


@dataclass
class Sequence:
    """What the cache knows of a sequence."""

    generation: int
    length: int
    reserved: int
    table: list                 # block of each entry, None for a hole
    policy: CachePolicy = CachePolicy.NONE
    status: CacheStatus = CacheStatus.OK
    appended: int = 0
    before: int = 0
    size: int = 0
    recent: int = 0
    free: list = field(default_factory=list)    # free cells below ``before``, by head


class AppendCase:
    """A job over random sequences, and the memory that it works on.

    Parameters
    ----------
    rng, config
    rows : int
        Of the job; random if None.
    most : int
        Places that a sequence has reserved at most.
    policies : tuple of CachePolicy
    reserved, length : int
        Places of each sequence, and its length, where it is not of heavy hitters; random if None.
    channels, full : int
        Of the descriptor; by default, now and then the source is part of wider rows, or its last row group whole.
    heads, geometry_heads, head_dim, key_format, value_format, row_format : optional
    """

    def __init__(self, rng, config, *, rows=None, most=None, policies=tuple(CachePolicy), heads=None, head_dim=None,
                 key_format=None, value_format=None, row_format=None, geometry_heads=None, reserved=None, length=None,
                 channels=None, full=None):
        self.rng, self.config = rng, config
        self.reserved, self.length = reserved, length
        self.channels, self.full = channels, full
        lanes, bus = config.lanes, config.bus_bytes
        self.row_format = RowFormat(int(rng.integers(0, 3))) if row_format is None else row_format
        total = geometry_heads or int(rng.integers(1, 6))
        heads = heads or int(rng.integers(1, total + 1))
        first_head = int(rng.integers(0, total - heads + 1))
        head_dim = head_dim or 8 * int(rng.integers(1, config.max_head_dim // 8 + 1))
        key_format = LaneFormat(int(rng.integers(0, 4))) if key_format is None else key_format
        value_format = LaneFormat(int(rng.integers(0, 4))) if value_format is None else value_format
        page = page_bytes(lanes, bus, head_dim, key_format, value_format) + bus * int(rng.integers(0, 5))
        units = -(-total * page // BLOCK_UNIT) + int(rng.integers(0, 2))
        cells = min(config.cells, 4 * lanes)
        rows = rows or int(rng.choice([1, rng.integers(1, config.rows + 1), rng.integers(1, config.chunk_rows + 1)]))
        self.sequences = self._sequences(rows, most or config.chunk_rows, policies, cells, total, first_head)
        blocks = 1 + max(block for seq in self.sequences.values() for block in seq.table if block is not None)
        base = BLOCK_UNIT * int(rng.integers(1, 4))
        records = base + blocks * units * BLOCK_UNIT
        self.geometry = {
            "base": base, "block_units": units, "blocks": blocks, "page_bytes": page, "heads": total,
            "head_dim": head_dim, "key_format": key_format, "value_format": value_format, "records": records,
            "log_cells": cells.bit_length() - 1}
        self.end = records + (max(self.sequences) + 1) * total * cells * RECORD_BYTES
        self.regions = []
        self._place_records(cells)
        self._place_tables(rows, heads, first_head)

    def _sequences(self, rows, most, policies, cells, heads, first_head):
        rng, lanes = self.rng, self.config.lanes
        slots = rng.permutation(self.config.sequences)
        found, left, next_block = {}, rows, [0]
        self.order = []
        for number, slot in enumerate(slots):
            reserved = min(left, most, self.reserved or int(rng.choice([1, rng.integers(1, left + 1)])))
            if number + 1 == len(slots):
                reserved = left
            policy = CachePolicy(int(rng.choice([policy.value for policy in policies])))
            seq = Sequence(int(rng.integers(0, 1 << 16)), 0, reserved, [], policy, appended=first_head)
            if policy is CachePolicy.HEAVY and reserved <= cells // 2:
                self._heavy(seq, cells, heads)
                entries = -(-seq.filled // lanes)
            else:
                if policy is CachePolicy.HEAVY:
                    seq.policy = policy = CachePolicy.NONE
                seq.length = int(rng.integers(0, 4 * lanes)) if self.length is None else self.length
                seq.size = int(rng.integers(1, 3 * lanes))
                entries = -(-(seq.length + reserved) // lanes)
            seq.table = [self._block(next_block) for _ in range(entries)]
            if policy is CachePolicy.WINDOW:
                for entry in range(min(max(seq.length - seq.size, 0), seq.length) // lanes):
                    seq.table[entry] = None
            found[int(slot)] = seq
            self.order.append(int(slot))
            left -= reserved
            if not left:
                break
        # Blocks lie anywhere.
        places = rng.permutation(next_block[0])
        for seq in found.values():
            seq.table = [None if block is None else int(places[block]) for block in seq.table]
        return found

    @staticmethod
    def _block(next_block):
        next_block[0] += 1
        return next_block[0] - 1

    def _heavy(self, seq, cells, heads):
        rng = self.rng
        kept = int(rng.integers(2, cells - seq.reserved + 1))
        seq.recent = int(rng.integers(1, kept))
        seq.size = kept - seq.recent
        seq.length = int(rng.choice([rng.integers(0, kept + 1), rng.integers(0, 1 << 12)]))
        used = min(seq.length, kept)
        full = used == kept
        # Cells are freed by dropping, and only once the sequence is full.
        seq.before = used + (int(rng.integers(0, cells - used + 1)) if full else 0)
        seq.before = min(seq.before, used + 2 * seq.reserved)
        seq.filled = max(seq.before, used + seq.reserved)
        count = seq.before - used
        seq.free = [sorted(self._some(seq.before, count)) for _ in range(heads)]

    def _some(self, before, count):
        """Free cells, now and then neighbours."""
        if count and self.rng.random() < .5:
            first = int(self.rng.integers(0, before - count + 1))
            return list(range(first, first + count))
        return self.rng.choice(before, count, replace=False).tolist() if count else []

    def _place_records(self, cells):
        for slot, seq in self.sequences.items():
            for head, free in enumerate(seq.free):
                record = slot * self.geometry["heads"] + head
                at = self.geometry["records"] + record * cells * RECORD_BYTES + 6 * cells
                self.regions.append((at, np.array(free, "<u2").tobytes()))

    def room(self, size, alignment):
        """Address of so many bytes that nothing else takes."""
        at = -(-(self.end + int(self.rng.integers(0, 64))) // alignment) * alignment
        self.end = at + size
        return at

    def _place_tables(self, rows, heads, first_head):
        rng, d = self.rng, self.geometry["head_dim"]
        self.rows = [{"slot": slot, "generation": self.sequences[slot].generation, "offset": offset}
                     for slot in self.order for offset in range(self.sequences[slot].reserved)]
        assert len(self.rows) == rows, (len(self.rows), rows)
        bits = self.row_format.bits
        fields = {"opcode": OPCODE_APPEND, "format": self.row_format.value, "heads": heads, "first_head": first_head,
                  "rows": rows}
        dtype = np.dtype("<i1" if bits == 8 else "<i2")
        wider = rng.choice([0, 0, heads * d, heads * d + rng.integers(1, 40)])
        fields["channels"] = int(wider) if self.channels is None else self.channels
        fields["full"] = int(rng.integers(0, 2)) if self.full is None else self.full
        channels, lanes = fields["channels"] or heads * d, self.config.rows
        last = lanes if fields["full"] else (rows - 1) % lanes + 1
        size = channels * ((rows - 1) // lanes * lanes) + heads * d * last
        for name in ("keys", "values"):
            x = rng.integers(-(1 << bits - 1), 1 << bits - 1, size).astype(dtype)
            fields[name] = self.room(x.nbytes, dtype.itemsize)
            self.regions.append((fields[name], x.tobytes()))
        self.scales = [self._scale(bits) for _ in range(heads)]
        fields["table"] = self.room(rows * ROW_BYTES, ROW_BYTES)
        fields["scales"] = self.room(heads * SCALES_BYTES, SCALES_BYTES)
        self.fields = fields

    def _scale(self, bits):
        """Scales of which some saturate, and some leave little."""
        entry = {}
        for name, lane_format in (("key", self.geometry["key_format"]), ("value", self.geometry["value_format"])):
            mult = int(self.rng.choice([self.rng.integers(1, 1 << 16), 1 << 15, 65535]))
            target = 8 if lane_format is LaneFormat.INT8 else 7
            shift = mult.bit_length() + bits - target + int(self.rng.integers(-3, 3))
            entry[f"{name}_mult"] = mult
            entry[f"{name}_shift"] = max(shift, 0) if self.rng.random() < .95 else int(self.rng.integers(0, 64))
        return entry

    @property
    def descriptor(self):
        return pack(AppendDescriptor, self.fields)

    def image(self, size):
        """Memory with the job in it and noise around it."""
        assert self.end <= size, f"the case needs {self.end:#x} bytes of memory"
        image = bytearray(self.rng.bytes(size))
        tables = [(self.fields["table"], b"".join(pack(AppendRow, row).to_bytes(8, "little") for row in self.rows)),
                  (self.fields["scales"], b"".join(pack(AppendScales, s).to_bytes(8, "little") for s in self.scales))]
        for address, content in self.regions + tables:
            image[address:address + len(content)] = content
        return image

    def view(self, slot, generation, index):
        """A `LookupAnswer`, as a dict."""
        seq = self.sequences.get(slot)
        if seq is None or seq.generation != generation:
            status = CacheStatus.NO_SEQUENCE if seq is None else CacheStatus.STALE_HANDLE
            # Of the rest nothing holds.
            return {"status": status, "present": 1, "block": 0xffff, "reserved": 0xfffff, "appended": 0xffff}
        block = seq.table[index] if index < len(seq.table) else None
        return {"status": seq.status, "present": int(block is not None), "block": block or 0,
                **{name: getattr(seq, name) for name in ("policy", "length", "reserved", "appended", "before", "size",
                                                         "recent")}}

    def golden(self, image):
        """Status, events, and memory after the job."""
        after = bytearray(image)
        status, events = append(after, self.descriptor, self.geometry, self.view, self.config)
        return status, events, after

    def pages(self, slot, head):
        """(first, last + 1) of each page of a sequence in a head."""
        geometry = self.geometry
        for block in self.sequences[slot].table:
            if block is not None:
                at = (geometry["base"] + block * geometry["block_units"] * BLOCK_UNIT + head * geometry["page_bytes"])
                yield at, at + geometry["page_bytes"]


class AppendBench(EngineBench):
    """The engine, a memory on its bus, and a cache that answers its lookups and takes its events."""

    def __init__(self, dut, *, patterns=None, seed=0, size=None, **more):
        patterns = dict(patterns or {})
        aside = {name: patterns.pop(name, "always") for name in ("lookup", "found", "event")}
        size = size or (1 << 18 if configuration().lanes == 8 else 1 << 21)
        super().__init__(dut, patterns=patterns, seed=seed, size=size, **more)
        self.requests, self.events = StreamSink(dut, "lookup", aside["lookup"], seed), StreamSink(
            dut, "event", aside["event"], seed)
        for name in ("lookup", "event"):
            StreamChecker(dut, name)
        self.case = None
        dut.geometry.value = 0
        dut.found_valid.value = 0
        dut.found_payload.value = 0
        cocotb.start_soon(self._cache(PATTERNS[aside["found"]](seed)))

    async def _cache(self, willing):
        """Answer requests, and count the heads that are reported. A reset is the cache's, too."""
        dut, taken, counted, waiting, offered = self.dut, 0, 0, None, False
        while True:
            await RisingEdge(dut.aclk)
            if not dut.aresetn.value:
                taken, counted = len(self.requests.received), len(self.events.received)
                waiting, offered = None, False
                dut.found_valid.value = 0
                continue
            while len(self.events.received) > counted:
                event = unpack(CacheEvent, self.events.received[counted])
                assert event["kind"] is EventKind.APPENDED and not event["failed"], event
                counted += 1
                self.case.sequences[event["slot"]].appended += 1
            if offered and dut.found_ready.value:
                offered = False
                dut.found_valid.value = 0
            for payload in self.requests.received[taken:]:
                assert waiting is None and not offered, "two lookups at once"
                taken, waiting = taken + 1, unpack(LookupRequest, payload)
            if waiting is not None and next(willing):
                answer = self.case.view(waiting["slot"], waiting["generation"], waiting["index"])
                dut.found_payload.value = pack(LookupAnswer, answer)
                dut.found_valid.value = 1
                waiting, offered = None, True

    async def submit_case(self, case, image, timeout=60_000):
        """Run a job on an image; returns its status and the slots that it reported."""
        while not self.dut.job_ready.value:
            await RisingEdge(self.dut.aclk)
        self.case = case
        self.memory.memory[:] = image
        self.dut.geometry.value = pack(CacheGeometry, case.geometry)
        first = len(self.events.received)
        status = await self.submit(case.descriptor, timeout=timeout)
        return status, [unpack(CacheEvent, event)["slot"] for event in self.events.received[first:]]

    async def compute(self, case):
        """Run a case and compare everything with golden; returns the status."""
        image = case.image(len(self.memory.memory))
        expected, slots, after = case.golden(image)
        reads, writes = len(self.memory.transfers["r"]), len(self.memory.transfers["w"])
        status, events = await self.submit_case(case, image)
        about = (case.fields, case.geometry, case.sequences)
        found = (status["code"], status["detail"], status["address"], status["sat_output"])
        if status["code"] is not StatusCode.OK:
            assert found[:3] == expected[:3], (about, found, expected)
        else:
            assert found == tuple(expected), (about, found, expected)
        assert events == slots, (about, events, slots)
        if self.memory.memory != after:
            wrong = [at for at, (a, b) in enumerate(zip(self.memory.memory, after)) if a != b]
            touched = sum(a != b for a, b in zip(image, after))
            raise AssertionError(f"{about}: {len(wrong)} bytes differ ({touched} should change), first {wrong[0]:#x}")
        assert status["beats_read"] == len(self.memory.transfers["r"]) - reads, status
        assert status["beats_written"] == len(self.memory.transfers["w"]) - writes, status
        return status
