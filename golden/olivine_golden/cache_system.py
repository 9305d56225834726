"""Golden model of the whole accelerator as far as the cache goes: jobs run on a memory image, one after the other.

A job sees what the jobs before it wrote, and the groups of a job what those before them wrote: the gateware, which
overlaps them, must leave the same memory. Windows, bus errors and timeouts are not modelled.

A job that fails leaves what its groups before the illegal one wrote; the gateware may have written less, or more of
the job's own results.
"""

from dataclasses import dataclass, field

import numpy as np
from olivine.attention import descriptor as declared
from olivine.attention.descriptor import (
    CACHED_FIELDS,
    ENTRY_BYTES,
    FIELDS,
    OPCODE_ATTENTION,
    OPCODE_SCORE,
    SEGMENT_BYTES,
    SEGMENT_FIELDS,
    AttentionDescriptor,
    OutputFormat,
)
from olivine.control.job import StatusCode
from olivine.core.descriptor import OPCODE_SETUP, SETUP_FIELDS, SetupDescriptor
from olivine.kvcache.append.descriptor import OPCODE_APPEND
from olivine.kvcache.descriptor import (
    BLOCK_UNIT,
    OPCODE_CACHE,
    RECORD_BYTES,
    CacheCommand,
    CacheGeometry,
    CacheOp,
    CachePolicy,
    CacheStatus,
)
from olivine.kvcache.moves import MoveKind
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from .append import append
from .cache_image import batch_places, fields_of, pack_partial, pack_rows, read_fields, read_page, read_rows
from .cached_attention import CachedGroup, Segment, cached_attention, cell_scores, hitter_step, pages_met
from .cached_legal import illegal_cached_entry, illegal_cached_field, illegal_segment
from .heavy_hitter import HeavyHitter
from .hitter_record import load_record, record_parts
from .kv_cache import KVCache
from .kv_sequence import Copy, Handle
from .mover import move

__all__ = ["Status", "CacheSystem"]

LSE_BITS = 18
"""Bits of a log-sum-exp that a score job looks at."""


@dataclass(frozen=True)
class Status:
    """How a job ended: ``code``, ``detail`` and ``address`` as of `olivine.control.job.JobStatus`, the handle that
    OPEN or FORK made, and the tallies that the job counts."""

    code: StatusCode
    detail: int = 0
    address: int = 0
    handle: Handle | None = None
    tallies: dict = field(default_factory=dict)

    @property
    def ok(self):
        return self.code is StatusCode.OK


class _Bad(Exception):
    """The job ends here."""

    def __init__(self, code, fields, name, address=0):
        self.status = Status(code, fields.index(name), address)


class CacheSystem:
    """An accelerator with its cache, on a memory image.

    Parameters
    ----------
    config : AcceleratorConfig
    geometry : dict
        Every field of `olivine.kvcache.descriptor.CacheGeometry`.
    memory : bytearray
        Changed in place.

    Attributes
    ----------
    cache : KVCache
        Tables and states.
    """

    def __init__(self, config, geometry, memory):
        self.formats = LaneFormat(geometry["key_format"]), LaneFormat(geometry["value_format"])
        self.geometry = {**geometry, "key_format": self.formats[0], "value_format": self.formats[1]}
        self.config, self.memory = config, memory
        self.cache = KVCache.of(config, self.geometry, self._move)

    def run(self, descriptor):
        """Run one job, the 256 bits of its descriptor; returns its `Status`."""
        opcode = descriptor & 0xff
        if opcode == OPCODE_CACHE:
            return self._operate(descriptor)
        if opcode == OPCODE_APPEND:
            return self._append(descriptor)
        if opcode == OPCODE_SETUP:
            return self._set_up(fields_of(SetupDescriptor, descriptor))
        if opcode not in (OPCODE_ATTENTION, OPCODE_SCORE):
            raise ValueError(f"opcode is {opcode}: allowed are {OPCODE_CACHE}, {OPCODE_APPEND}, {OPCODE_SCORE}, "
                             f"{OPCODE_SETUP}, and {OPCODE_ATTENTION} of a cached job")
        return self._attend(fields_of(AttentionDescriptor, descriptor))

    def _set_up(self, fields):
        """The model has one geometry for good; a job that names another is legal only before sequences are opened."""
        other = fields_of(CacheGeometry, fields["geometry"]) != {
            name: int(getattr(value, "value", value)) for name, value in self.geometry.items()}
        if other and any(self.cache.slots):
            return Status(StatusCode.BAD_FIELD, SETUP_FIELDS.index("geometry"))
        if fields["reserved"]:
            return Status(StatusCode.BAD_FIELD, SETUP_FIELDS.index("reserved"))
        if other:
            raise ValueError("another geometry than the model's: make a new CacheSystem")
        return Status(StatusCode.OK)

    # Operations

    def _operate(self, descriptor):
        command = fields_of(CacheCommand, descriptor)
        answer = self.cache.do(command | {"op": CacheOp(command["op"]), "policy": CachePolicy(command["policy"])})
        if answer.status is CacheStatus.OK:
            return Status(StatusCode.OK, handle=answer.handle)
        return Status(StatusCode.REFUSED, answer.status.value, answer.address)

    def _move(self, wanted):
        """What an operation moves, a `Copy` or `Place`."""
        kind = MoveKind.COPY if isinstance(wanted, Copy) else MoveKind.PLACE
        move(self.memory, self.config, self.geometry, {"kind": kind, **wanted._asdict()})

    def _append(self, descriptor):
        made, events = append(self.memory, descriptor, self.geometry, self._found, self.config)
        for slot in events:
            self.cache.appended(slot)
        return Status(made.code, made.detail, made.address, tallies={"sat_output": made.sat_output})

    def _found(self, slot, generation, index=0):
        return self.cache.found(Handle(slot, generation), index)

    # Attention

    def _attend(self, fields):
        if name := illegal_cached_field(self.config, self.geometry, fields):
            return Status(StatusCode.BAD_FIELD, FIELDS.index(name))
        if not fields["cached"]:
            raise ValueError("cached is 0: only attention over the cache is modelled here")
        tallies = dict.fromkeys(("sat_row", "sat_score", "illegal", "sat_output"), 0)
        try:
            for index in range(fields["groups"]):
                for name, count in self._group(fields, fields["table"] + index * ENTRY_BYTES).items():
                    tallies[name] += count
        except _Bad as bad:
            self.cache.ended(failed=True)
            return bad.status
        self.cache.ended(failed=False)
        return Status(StatusCode.OK, tallies=tallies)

    def _group(self, fields, address):
        """Run one group; returns its tallies."""
        config, memory = self.config, self.memory
        entry = read_fields(declared.CachedGroup, memory, address)
        if name := illegal_cached_entry(config, self.geometry, fields, entry):
            raise _Bad(StatusCode.BAD_ENTRY, CACHED_FIELDS, name, address)
        named = [self._segment(fields, entry, entry["segments"] + index * SEGMENT_BYTES)
                 for index in range(entry["count"])]
        hitter = self._hitter(named[0], entry["head"]) if fields["cells"] else None
        masks = {"heads": fields["heads"], "causal": bool(fields["causal"]), "window": fields["window"]}
        shape = {"lanes": config.lanes,
                 "chunk_rows": config.rows * config.attention_contexts(fields["head_dim"])}
        group = self._load(fields, entry, named, hitter, masks | shape)
        score = fields["opcode"] == OPCODE_SCORE
        scores = None
        if fields["hitters"]:
            self.cache.touched(named[0]["slot"])
            scores, seen, tallies = cell_scores(group, key_format=self.formats[0], **shape, **masks)
        if score:
            lse = np.frombuffer(memory, "<i4", group.rows, entry["lse"]).astype(np.int64)
            lse = (lse + (1 << LSE_BITS - 1) & (1 << LSE_BITS) - 1) - (1 << LSE_BITS - 1)
        else:
            made = cached_attention(group, key_format=self.formats[0], value_format=self.formats[1],
                                    o_format=OutputFormat(fields["o_format"]), **shape, **masks)
            tallies, lse = made["tallies"], made["lse"]
            self._write_results(fields, entry, made)
        if scores is not None:
            hitter_step(hitter, scores, lse, seen)
            self._write_record(named[0], entry["head"], hitter)
            self.cache.summed(named[0]["slot"])
        return tallies

    def _segment(self, fields, entry, address):
        """A legal segment's fields, its address, and what the cache says of it."""
        segment = read_fields(declared.Segment, self.memory, address)
        answer = self._found(segment["slot"], segment["generation"])
        if name := illegal_segment(self.config, fields, entry["head"], segment, answer):
            raise _Bad(StatusCode.BAD_SEGMENT, SEGMENT_FIELDS, name, address)
        return segment | {"address": address, "answer": answer}

    def _load(self, fields, entry, named, hitter, masks):
        """The golden group of an entry; of pages that no chunk meets the contents are zeros."""
        d, lanes, memory = fields["head_dim"], self.config.lanes, self.memory
        tree = cells = None
        if fields["tree"]:
            tree = tuple(np.frombuffer(memory, "<u8", entry["rows"], entry["tree"]).tolist())
        if hitter is not None:
            cells = hitter.positions[:named[0]["end"]].copy()
        segments = [Segment(*np.zeros((2, segment["end"] - segment["first"] * lanes, d), np.uint8), segment["first"],
                            segment["rows"]) for segment in named]
        if entry["batch"]:
            q = self._int16()[self._batch(fields, entry, "q") >> 1].astype(np.int64)
        else:
            q = read_rows(memory, entry["q"], entry["rows"], d, self.config.rows, RowFormat(fields["q_format"]).bytes)
        scales = {name: entry[name] for name in ("position", "score_mult", "score_shift", "o_mult", "o_shift")}
        group = CachedGroup(q, segments, tree=tree, cells=cells, **scales)
        for chunk in pages_met(group, **masks):
            for met in chunk:
                self._load_pages(entry["head"], segments[met.segment], named[met.segment], met)
        return group

    def _load_pages(self, head, segment, named, met):
        lanes = self.config.lanes
        for page in range(met.first, met.end):
            found = self._found(named["slot"], named["generation"], page)
            if not found["present"]:
                raise _Bad(StatusCode.BAD_SEGMENT, SEGMENT_FIELDS, "first", named["address"])
            at = (page - segment.first) * lanes
            count = min(lanes, len(segment.k_codes) - at)
            segment.k_codes[at:at + count], segment.v_codes[at:at + count] = read_page(
                self.memory, self._page(found["block"], head), count, lanes=lanes, bus_bytes=self.config.bus_bytes,
                head_dim=self.geometry["head_dim"], key_format=self.formats[0], value_format=self.formats[1])

    def _page(self, block, head):
        """Address of a head's page of a block."""
        geometry = self.geometry
        return geometry["base"] + block * geometry["block_units"] * BLOCK_UNIT + head * geometry["page_bytes"]

    def _write_results(self, fields, entry, made):
        config, o_format = self.config, OutputFormat(fields["o_format"])
        if o_format is OutputFormat.PARTIAL:
            self._write(entry["o"], pack_partial(made["partial"], config.rows))
        elif entry["batch"]:
            self._int16()[self._batch(fields, entry, "o") >> 1] = made["y"]
        else:
            self._write(entry["o"], pack_rows(made["y"], config.rows, o_format.bytes))
        if fields["lse"]:
            self._write(entry["lse"], made["lse"].astype("<i4").tobytes())

    def _int16(self):
        """Memory as int16 containers."""
        return np.frombuffer(self.memory, "<i2", len(self.memory) // 2)

    def _batch(self, fields, entry, name):
        """Where the containers of a group's queries (``"q"``) or results (``"o"``) lie in a batch."""
        places = batch_places(entry[name], entry["rows"], fields["heads"], fields["head_dim"], self.config.rows,
                              lane=entry["lane"], words=entry[f"{name}_words"])
        # Whole words are read and written.
        if places.max() + 2 * self.config.rows > len(self.memory):
            raise ValueError(f"a job's rows lie up to {places.max():#x}: memory has {len(self.memory):#x}")
        return places

    def _write(self, address, content):
        if address + len(content) > len(self.memory):
            raise ValueError(f"a job writes {len(content)} bytes at {address:#x}: memory has {len(self.memory):#x}")
        self.memory[address:address + len(content)] = content

    # Heavy hitters

    def _record(self, slot, head):
        """First byte of a record, and its cells."""
        cells = 1 << self.geometry["log_cells"]
        return self.geometry["records"] + (slot * self.geometry["heads"] + head) * cells * RECORD_BYTES, cells

    def _hitter(self, named, head):
        """The cells of a head with this step's tokens in them."""
        answer = named["answer"]
        at, cells = self._record(named["slot"], head)
        hitter = HeavyHitter(answer["size"] + answer["recent"] + answer["chunk"], answer["size"], answer["recent"])
        load_record(hitter, self.memory[at:at + cells * RECORD_BYTES], answer["before"], answer["length"])
        hitter.fill(answer["reserved"])
        return hitter

    def _write_record(self, named, head, hitter):
        at, cells = self._record(named["slot"], head)
        for offset, part in record_parts(hitter, cells):
            self._write(at + offset, part)
