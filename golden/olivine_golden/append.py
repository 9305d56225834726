"""Golden model of the append job: rows of keys and values into the pages of their sequences, byte by byte.

Twin of `olivine.kvcache.append.engine`. Everything that a job's tables hold is checked before the first byte is
written, so a job that is refused leaves memory as it was and reports nothing.
"""

from typing import NamedTuple

import numpy as np
from olivine.control.job import StatusCode
from olivine.kvcache.append.descriptor import (
    FIELDS,
    OPCODE_APPEND,
    ROW_BYTES,
    ROW_FIELDS,
    SCALES_BYTES,
    AppendDescriptor,
    AppendRow,
    AppendScales,
)
from olivine.kvcache.descriptor import BLOCK_UNIT, RECORD_BYTES, CachePolicy, CacheStatus
from olivine.kvcache.page import key_bytes, value_blocks
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from .ovp import encode_pairs
from .rounding import rsh, sat, saturates

__all__ = ["AppendStatus", "append", "requantize", "illegal_field"]

_SCALES_FIELDS = tuple(name for name, _ in AppendScales)
_FREE_LIST = 6
"""Bytes for each cell of a record before its list of free cells: sums and positions."""


class AppendStatus(NamedTuple):
    """How a job ended. ``detail`` and ``address`` as in `JobStatus`; ``sat_output`` is 0 unless OK."""

    code: StatusCode
    detail: int = 0
    address: int = 0
    sat_output: int = 0


class _Refused(Exception):
    def __init__(self, code, fields, name, address=0):
        self.status = AppendStatus(code, fields.index(name), address)


def append(memory, descriptor, geometry, cache_view, config):
    """Run one append job on a memory image. Windows and bus errors are not modelled.

    Parameters
    ----------
    memory : bytearray
        Changed in place.
    descriptor : int
        Bits of an `AppendDescriptor`.
    geometry : mapping
        The fields of `CacheGeometry`.
    cache_view : callable
        ``cache_view(slot, generation, index)`` gives the fields of a `LookupAnswer` as a mapping: what the cache
        knows when the job begins. It is not asked for ``appended`` again once the job reports heads.
    config : AcceleratorConfig

    Returns
    -------
    status : AppendStatus
        Of several errors the first: of the descriptor's fields, then of the scales head by head (BAD_ENTRY), then of
        the rows one by one (BAD_ROW). For a row, in this order: ``slot`` (no such sequence), ``generation`` (it is
        closed, broken or swapped out), ``slot`` (another head is its next, or the job has named it before),
        ``offset`` (not the sequence's next place), ``reserved``, ``offset`` (the table has no such block). A last row
        that is not its sequence's last reserved place is bad in its ``offset``. Only the free cells of a heavy-hitter
        record are looked at when a head's turn has come: one that is not below ``before`` or in no block is bad
        in its row's ``offset``; the steps before it are then written and reported (the engine may have reported fewer,
        and written some rows of the step).
    events : list of int
        The slot of each APPENDED event, in order.
    """
    fields = {name: int(getattr(value, "value", value)) for name, value in _unpack(AppendDescriptor, descriptor)}
    try:
        if name := illegal_field(config, fields, geometry):
            raise _Refused(StatusCode.BAD_FIELD, FIELDS, name)
        job = _Job(memory, fields, geometry, cache_view, config)
    except _Refused as refused:
        return refused.status, []
    return job.run()


def illegal_field(config, fields, geometry):
    """Name of the first illegal field of an `AppendDescriptor`, in its order, or None."""
    def address(value, alignment):
        return value < 1 << config.addr_width and value % alignment == 0

    container = 1 if fields["format"] == RowFormat.INT8.value else 2
    legal = {
        "opcode": fields["opcode"] == OPCODE_APPEND,
        "format": fields["format"] <= RowFormat.INT16.value,
        "heads": fields["heads"] >= 1,
        "first_head": fields["first_head"] + fields["heads"] <= geometry["heads"],
        "rows": 1 <= fields["rows"] <= config.chunk_rows,
        "keys": address(fields["keys"], container),
        "values": address(fields["values"], container),
        "table": address(fields["table"], ROW_BYTES),
        "scales": address(fields["scales"], SCALES_BYTES),
    }
    return next((name for name, fine in legal.items() if not fine), None)


def requantize(x, mult, shift, lane_format):
    """Rows ``x`` [R, d] of a head in the bytes of a cache: uint8 [R, d] in 8 bit, [R, d/2] in 4 bit.

    Returns the bytes, and how many stored elements saturated.
    """
    scaled = rsh(np.asarray(x, np.int64) * mult, shift)
    if lane_format is LaneFormat.INT8:
        return sat(scaled, 8).astype(np.int8).view(np.uint8), saturates(scaled, 8)
    # What saturates to 16 bits is beyond every 4-bit format, and is counted there.
    halves = sat(scaled, 16)
    codes, saturated = encode_pairs(halves[:, 0::2], halves[:, 1::2], lane_format)
    return codes, int(saturated.sum())


def _unpack(layout, bits):
    const = layout.from_bits(bits)
    return [(name, const[name]) for name, _ in layout]


def _read(memory, address, size):
    if address + size > len(memory):
        raise ValueError(f"a job reads {size} bytes at {address:#x}: memory has {len(memory):#x}")
    return bytes(memory[address:address + size])


def _write(memory, address, content):
    if address + len(content) > len(memory):
        raise ValueError(f"a job writes {len(content)} bytes at {address:#x}: memory has {len(memory):#x}")
    memory[address:address + len(content)] = content


class _Row(NamedTuple):
    """A checked row: its cell, or its place in the list of free cells."""

    slot: int
    generation: int
    free: bool
    number: int
    block: int
    last: bool


class _Job:
    """A job whose descriptor is legal; checks scales and rows."""

    def __init__(self, memory, fields, geometry, cache_view, config):
        self.memory, self.fields, self.geometry = memory, fields, geometry
        self.view, self.config = cache_view, config
        self.key_format = LaneFormat(geometry["key_format"])
        self.value_format = LaneFormat(geometry["value_format"])
        self.scales = [self._scales(head) for head in range(fields["heads"])]
        self.rows = self._rows()

    def _scales(self, head):
        address = self.fields["scales"] + head * SCALES_BYTES
        entry = dict(_unpack(AppendScales, int.from_bytes(_read(self.memory, address, SCALES_BYTES), "little")))
        for name in ("zero_key", "zero_value"):
            if entry[name]:
                raise _Refused(StatusCode.BAD_ENTRY, _SCALES_FIELDS, name, address)
        return entry

    def _rows(self):
        rows, named = [], set()
        expected = None         # slot, generation and offset of the row that must follow
        for index in range(self.fields["rows"]):
            address = self.fields["table"] + index * ROW_BYTES
            entry = dict(_unpack(AppendRow, int.from_bytes(_read(self.memory, address, ROW_BYTES), "little")))
            slot, generation, offset = (entry[name] for name in ("slot", "generation", "offset"))

            def refuse(name):
                raise _Refused(StatusCode.BAD_ROW, ROW_FIELDS, name, address)  # noqa: B023

            view = self.view(slot, generation, 0)
            status = CacheStatus(view["status"])
            if status is not CacheStatus.OK:
                refuse("slot" if status is CacheStatus.NO_SEQUENCE else "generation")
            begins = expected is None
            if view["appended"] != self.fields["first_head"] or begins and slot in named:
                refuse("slot")
            if (slot, generation, offset) != (expected or (slot, generation, 0)) or offset >= view["reserved"]:
                refuse("offset")
            if entry["reserved"]:
                refuse("reserved")
            last = offset + 1 == view["reserved"]
            if last is False and index + 1 == self.fields["rows"]:
                refuse("offset")
            free, number = self._place(view, offset)
            block = 0
            if not free:
                found = self.view(slot, generation, number // self.config.lanes)
                if not found["present"]:
                    refuse("offset")
                block = found["block"]
            rows.append(_Row(slot, generation, free, number, block, last))
            named.add(slot)
            expected = None if last else (slot, generation, offset + 1)
        return rows

    @staticmethod
    def _place(view, offset):
        """Whether a row takes a free cell below ``before``, and which; or its cell."""
        if CachePolicy(view["policy"]) is not CachePolicy.HEAVY:
            return False, view["length"] + offset
        below = view["before"] - min(view["length"], view["size"] + view["recent"])
        return (True, offset) if offset < below else (False, view["before"] + offset - below)

    def run(self):
        saturated, events, rows = 0, [], self.config.rows
        for head in range(self.fields["heads"]):
            for first in range(0, len(self.rows), rows):
                group = self.rows[first:first + rows]
                try:
                    places = [self._resolve(row, head, first + index) for index, row in enumerate(group)]
                except _Refused as refused:
                    return refused.status, events
                saturated += self._write_group(head, first, places)
                events += [row.slot for row in group if row.last]
        return AppendStatus(StatusCode.OK, sat_output=saturated), events

    def _resolve(self, row, head, index):
        """(block, cell) of a row in a head."""
        if not row.free:
            return row.block, row.number
        geometry = self.geometry
        cells = 1 << geometry["log_cells"]
        record = row.slot * geometry["heads"] + self.fields["first_head"] + head
        at = geometry["records"] + record * cells * RECORD_BYTES + _FREE_LIST * cells + 2 * row.number
        cell = int.from_bytes(_read(self.memory, at, 2), "little")
        view = self.view(row.slot, row.generation, cell // self.config.lanes)
        if cell >= view["before"] or not view["present"]:
            raise _Refused(StatusCode.BAD_ROW, ROW_FIELDS, "offset", self.fields["table"] + index * ROW_BYTES)
        return view["block"], cell

    def _source(self, base, head, first, count):
        """Rows [count, d] of a head, the first of a row group."""
        d, channels = self.geometry["head_dim"], self.fields["channels"]
        channels = channels or self.fields["heads"] * d
        dtype = np.dtype("<i1" if self.fields["format"] == RowFormat.INT8.value else "<i2")
        stored = self.config.rows if self.fields["full"] else count
        at = base + (first * channels + head * d * stored) * dtype.itemsize
        return np.frombuffer(_read(self.memory, at, d * stored * dtype.itemsize), dtype).reshape(d, stored).T[:count]

    def _write_group(self, head, first, places):
        config, geometry, scales = self.config, self.geometry, self.scales[head]
        keys, key_saturated = requantize(
            self._source(self.fields["keys"], head, first, len(places)), scales["key_mult"], scales["key_shift"],
            self.key_format)
        values, value_saturated = requantize(
            self._source(self.fields["values"], head, first, len(places)), scales["value_mult"],
            scales["value_shift"], self.value_format)
        blocks = value_blocks(config.lanes, config.bus_bytes, geometry["head_dim"], self.value_format)
        for (block, cell), key, value in zip(places, keys, values):
            lane = cell % config.lanes
            page = (geometry["base"] + block * geometry["block_units"] * BLOCK_UNIT
                    + (self.fields["first_head"] + head) * geometry["page_bytes"])
            at = page + lane // config.bus_bytes * config.bus_bytes * len(key) + lane % config.bus_bytes
            for index, code in enumerate(key.tobytes()):
                _write(self.memory, at + index * config.bus_bytes, bytes([code]))
            at = page + key_bytes(config.lanes, geometry["head_dim"], self.key_format)
            begin = 0
            for dims, beats in blocks:
                size = dims * self.value_format.bits // 8
                _write(self.memory, at + lane * beats * config.bus_bytes, value[begin:begin + size].tobytes())
                begin += size
                at += config.lanes * beats * config.bus_bytes
        return key_saturated + value_saturated
