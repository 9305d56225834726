"""The append job's golden model, against the packing of pages that attention's jobs use and plain arithmetic."""

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.control.job import StatusCode
from olivine.kvcache.append.descriptor import (
    OPCODE_APPEND,
    ROW_FIELDS,
    AppendDescriptor,
    AppendRow,
    AppendScales,
)
from olivine.kvcache.descriptor import CachePolicy, CacheStatus
from olivine.kvcache.page import page_bytes
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.append import append, requantize
from olivine_golden.ovp import decode_pairs
from olivine_host.attention_jobs import pack_keys, pack_values
from olivine_host.jobs import pack_rows

from tb.streams import pack, unpack

TINY, ECP5 = PRESETS["tiny"], PRESETS["ecp5"]
BASE, TABLE, SCALES, KEYS, VALUES, RECORDS, END = 0x1000, 0x20000, 0x20800, 0x21000, 0x24000, 0x28000, 0x30000


def view_of(sequences):
    """The cache's answers; a sequence is a dict of a `LookupAnswer`'s fields and its ``table``."""
    def view(slot, generation, index):
        seq = sequences[slot]
        block = seq["table"][index] if index < len(seq["table"]) else None
        return {"status": CacheStatus.OK, "policy": CachePolicy.NONE, "appended": 0, "before": 0, "size": 0,
                "recent": 0, **seq, "present": int(block is not None), "block": block or 0}
    return view


def job(rng, rows, *, heads=2, head_dim=16, key_format=LaneFormat.INT8, value_format=LaneFormat.OVP4_INT,
        row_format=RowFormat.INT8, scales=None, config=TINY):
    """Memory, descriptor, geometry, keys and values [rows, heads, d]."""
    page = page_bytes(config.lanes, config.bus_bytes, head_dim, key_format, value_format)
    geometry = {"base": BASE, "block_units": 1, "blocks": 16, "page_bytes": page, "heads": heads, "head_dim": head_dim,
                "key_format": key_format, "value_format": value_format, "records": RECORDS, "log_cells": 5}
    memory = bytearray(rng.bytes(END))
    top = 1 << row_format.bits - 1
    keys, values = rng.integers(-top, top, (2, len(rows), heads, head_dim))
    scales = scales or [(300, 8 if row_format is RowFormat.INT8 else 15)] * heads
    for address, content in (
            (KEYS, pack_rows(keys.reshape(len(rows), -1), config.rows, row_format)),
            (VALUES, pack_rows(values.reshape(len(rows), -1), config.rows, row_format)),
            (TABLE, b"".join(pack(AppendRow, row).to_bytes(8, "little") for row in rows)),
            (SCALES, b"".join(pack(AppendScales, {"key_mult": mult, "key_shift": shift, "value_mult": mult,
                                                  "value_shift": shift}).to_bytes(8, "little")
                              for mult, shift in scales))):
        memory[address:address + len(content)] = content
    descriptor = pack(AppendDescriptor, {
        "opcode": OPCODE_APPEND, "format": row_format.value, "heads": heads, "rows": len(rows), "keys": KEYS,
        "values": VALUES, "table": TABLE, "scales": SCALES})
    return memory, descriptor, geometry, keys, values


@pytest.mark.parametrize("row_format", list(RowFormat))
@pytest.mark.parametrize(("rows", "full"), [(1, 0), (1, 1), (3, 1), (4, 0), (4, 1)])
def test_a_part_of_wider_rows(row_format, rows, full):
    """The same rows as part of wider ones, and with the last row group stored whole, leave the same pages."""
    sequences = {5: {"length": 2, "reserved": rows, "table": [7, 2]}}
    memory, descriptor, geometry, keys, values = job(np.random.default_rng(4), rows_of(5, rows), row_format=row_format)
    wide = bytearray(memory)
    first, channels = 3, 71
    stored = -(-rows // TINY.rows) * TINY.rows if full else rows
    fields = {name: value for name, value in unpack(AppendDescriptor, descriptor).items()}
    for name, at, array in (("keys", KEYS, keys), ("values", VALUES, values)):
        top = 1 << row_format.bits - 1
        x = np.random.default_rng(5).integers(-top, top, (stored, channels))
        x[:rows, first:first + 32] = array.reshape(rows, -1)
        content = pack_rows(x, TINY.rows, row_format)
        wide[at:at + len(content)] = content
        fields[name] = at + first * row_format.bytes * min(TINY.rows, stored)
    fields |= {"channels": channels, "full": full}
    assert append(memory, descriptor, geometry, view_of(sequences), TINY) == append(
        wide, pack(AppendDescriptor, fields), geometry, view_of(sequences), TINY)
    assert memory[BASE:TABLE] == wide[BASE:TABLE]


def codes(x, mult, shift, lane_format):
    """Codes [rows, d] of rows, a nibble each in 4 bit."""
    content, _ = requantize(x, mult, shift, lane_format)
    if lane_format is LaneFormat.INT8:
        return content
    return np.stack([content >> 4, content & 15], axis=2).reshape(len(content), -1)


def rows_of(slot, count):
    return [{"slot": slot, "generation": 9, "offset": offset} for offset in range(count)]


@pytest.mark.parametrize("key_format", list(LaneFormat))
@pytest.mark.parametrize("value_format", list(LaneFormat))
@pytest.mark.parametrize("head_dim", [8, 24])
@pytest.mark.parametrize("config", [TINY, ECP5], ids=["tiny", "ecp5"])
def test_pages_are_those_that_attention_reads(key_format, value_format, head_dim, config):
    """A sequence across two blocks: every page equals the host's packing of its rows. On `ecp5` the last dims do not
    fill a beat of values in 4 bit."""
    rng = np.random.default_rng(3)
    count, length = 8, config.lanes - 4
    sequences = {5: {"length": length, "reserved": count, "table": [7, 2]}}
    memory, descriptor, geometry, keys, values = job(rng, rows_of(5, count), head_dim=head_dim, key_format=key_format,
                                                     value_format=value_format, config=config)
    before = bytes(memory)
    status, events = append(memory, descriptor, geometry, view_of(sequences), config)
    assert status.code is StatusCode.OK and events == [5, 5]
    for head in range(2):
        def padded(x, lane_format):
            """The places before the sequence's length hold a mark."""
            return np.concatenate([np.full((length, head_dim), 3), codes(x[:, head], 300, 8, lane_format)])  # noqa: B023

        k = pack_keys(padded(keys, key_format), config.lanes, config.bus_bytes, key_format)
        v = pack_values(padded(values, value_format), config.lanes, config.bus_bytes, value_format)
        # Where a row's bytes lie: the packing of rows that differ in every byte from one another's.
        marks = [pack(np.concatenate([np.zeros((length, head_dim), int), np.full((count, head_dim), mark)]),
                      config.lanes, config.bus_bytes, fmt)
                 for pack, fmt in ((pack_keys, key_format), (pack_values, value_format)) for mark in (1, 2)]
        taken = np.concatenate([marks[0] != marks[1], marks[2] != marks[3]], axis=1)
        for page, block in enumerate((7, 2)):
            at = BASE + block * 4096 + head * geometry["page_bytes"]
            found = np.frombuffer(bytes(memory[at:at + geometry["page_bytes"]]), np.uint8)
            old = np.frombuffer(before[at:at + geometry["page_bytes"]], np.uint8)
            wanted = np.where(taken[page], np.concatenate([k[page], v[page]]), old)
            np.testing.assert_array_equal(found, wanted)
    untouched = bytearray(before)
    for block in (7, 2):
        at = BASE + block * 4096
        untouched[at:at + 4096] = memory[at:at + 4096]
    assert memory == untouched


def test_int8_is_rounded_half_up_and_saturated():
    x = np.array([[-128, -3, -1, 1, 3, 127]])
    found, saturated = requantize(x, 1, 1, LaneFormat.INT8)
    np.testing.assert_array_equal(found.view(np.int8), np.floor(x / 2 + .5))
    assert saturated == 0
    found, saturated = requantize(x * 256, 3, 0, LaneFormat.INT8)
    np.testing.assert_array_equal(found.view(np.int8), [[-128, -128, -128, 127, 127, 127]])
    assert saturated == 6


@pytest.mark.parametrize("lane_format", [LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT, LaneFormat.INT4])
def test_four_bit_values_are_near(lane_format):
    """Half units: what is decoded lies within half a step of small normals, and 16 bits are enough for all."""
    rng = np.random.default_rng(1)
    x = rng.integers(-13, 14, (4, 16))
    found, _ = requantize(x, 1, 0, lane_format)
    first, second, illegal = decode_pairs(found, lane_format)
    assert not illegal.any()
    assert abs(2 * first - x[:, 0::2]).max() <= 4 and abs(2 * second - x[:, 1::2]).max() <= 4
    far, saturated = requantize(np.array([[32767, 0]]), 65535, 0, lane_format)
    assert saturated == 1
    np.testing.assert_array_equal(far, requantize(np.array([[1000, 0]]), 1, 0, lane_format)[0])


def test_heavy_hitters_take_free_cells_first():
    """Of 4 rows two go to free cells, which differ by head, and two after ``before``."""
    rng = np.random.default_rng(2)
    sequences = {1: {"policy": CachePolicy.HEAVY, "length": 500, "reserved": 4, "before": 12, "size": 6, "recent": 4,
                     "table": [3, 8]}}
    memory, descriptor, geometry, keys, _ = job(rng, rows_of(1, 4), head_dim=8)
    free = {0: [2, 9], 1: [5, 6]}
    for head, cells in free.items():
        at = RECORDS + (1 * 2 + head) * 32 * 8 + 6 * 32
        memory[at:at + 4] = np.array(cells, "<u2").tobytes()
    status, events = append(memory, descriptor, geometry, view_of(sequences), TINY)
    assert status.code is StatusCode.OK and events == [1, 1]
    for head, cells in free.items():
        for row, cell in enumerate([*cells, 12, 13]):
            at = BASE + (3, 8)[cell // 8] * 4096 + head * geometry["page_bytes"] + cell % 8 // 4 * 4 * 8 + cell % 4
            found = memory[at:at + 4 * 8:4]
            assert found == requantize(keys[row:row + 1, head], 300, 8, LaneFormat.INT8)[0].tobytes()


def test_refused_jobs_change_nothing():
    """The first row that is wrong is named, though all before it were right."""
    rng = np.random.default_rng(4)
    sequences = {1: {"length": 0, "reserved": 2, "table": [3]}, 2: {"length": 0, "reserved": 3, "table": [4]}}
    memory, descriptor, geometry, *_ = job(rng, rows_of(1, 2) + rows_of(2, 2))
    before = bytes(memory)
    status, events = append(memory, descriptor, geometry, view_of(sequences), TINY)
    assert status[:3] == (StatusCode.BAD_ROW, ROW_FIELDS.index("offset"), TABLE + 3 * 8) and not events
    assert memory == before
    memory, descriptor, geometry, *_ = job(rng, 2 * rows_of(1, 2))
    status, events = append(memory, descriptor, geometry, view_of(sequences), TINY)
    assert status[:3] == (StatusCode.BAD_ROW, ROW_FIELDS.index("slot"), TABLE + 2 * 8) and not events
