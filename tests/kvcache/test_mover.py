"""The cache's data mover: golden by its own rules, and the gateware against golden."""

import pytest
from olivine.config import PRESETS
from olivine.kvcache.mover import BlockMover
from olivine.kvcache.moves import MoveKind
from olivine.kvcache.page import page_bytes
from olivine.olive.formats import LaneFormat
from olivine_golden.mover import move

from tests.attention.configs import TINY, WIDE
from tests.linear.configs import SMALL, given
from tests.simulate import run


def _run(config, trials, simulator="verilator", testbench="tb.kvcache.mover", expected=9):
    run(BlockMover(config), testbench, simulator=simulator, expected=expected, name="mover",
        parameters=given(config, trials=trials))


@pytest.mark.parametrize("config", [pytest.param(SMALL, id="small"),
                                    pytest.param(WIDE, id="wide", marks=pytest.mark.slow)])
def test_gateware_equals_golden(config):
    _run(config, 8)


@pytest.mark.slow
def test_on_icarus():
    _run(TINY, 2, simulator="icarus")


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, SMALL, WIDE, PRESETS["ecp5"]], ids=lambda config: config.name)
def test_at_length(config):
    _run(config, 60)


@pytest.mark.slow
def test_whole_block_on_edge():
    _run(PRESETS["edge"], 1, testbench="tb.kvcache.mover_speed", expected=1)


# --- Golden -------------------------------------------------------------------------------------------

def _keys(page, place, d, bits):
    """Bytes of a place's key, as the layout's description counts them (tiny: 8 places, 4 bytes a beat)."""
    words = d * bits // 8
    return bytes(page[place // 4 * 4 * words + word * 4 + place % 4] for word in range(words))


def _values(page, place, d, key_bits, bits):
    """Bytes of a place's values, padding included."""
    at, found = 8 * d * key_bits // 8, b""
    for first in range(0, d, 8):
        size = -(-min(8, d - first) * bits // 32) * 4
        found += bytes(page[at + place * size:at + (place + 1) * size])
        at += 8 * size
    return found


@pytest.mark.parametrize("key_format, value_format, d", [
    (LaneFormat.INT8, LaneFormat.INT8, 20), (LaneFormat.INT4, LaneFormat.INT8, 12),
    (LaneFormat.INT8, LaneFormat.OVP4_INT, 12), (LaneFormat.OVP4_FLINT, LaneFormat.OVP4_FLINT, 32)])
def test_golden_moves_keys_and_values_of_places(key_format, value_format, d):
    size = page_bytes(8, 4, d, key_format, value_format)
    geometry = {"heads": 2, "head_dim": d, "key_format": key_format, "value_format": value_format,
                "page_bytes": size + 8}
    before = bytes((7 * n + n // 251) % 255 + 1 for n in range(12_000))

    def places_of(memory, block, head):
        page = memory[block + head * (size + 8):][:size]
        return [(_keys(page, place, d, key_format.bits), _values(page, place, d, key_format.bits, value_format.bits))
                for place in range(8)]

    empty = bytes(len(places_of(before, 0, 0)[0][0])), bytes(len(places_of(before, 0, 0)[0][1]))
    for places in range(9):
        for zero in (0, 1):
            memory = bytearray(before)
            move(memory, TINY, geometry, {"kind": MoveKind.COPY, "zero": zero, "source": 0, "target": 6000,
                                          "places": places})
            for head in range(2):
                source, target = places_of(before, 0, head), places_of(memory, 6000, head)
                old = places_of(before, 6000, head)
                assert target[:places] == source[:places]
                for place in range(places, 8):
                    # A sub-block of keys that holds a place that is moved is moved as a whole.
                    key = source[place][0] if place < -(-places // 4) * 4 else old[place][0]
                    assert target[place] == (empty if zero else (key, old[place][1]))
            _only_pages_change(before, memory, size)
    for source_place in range(8):
        for target_place in range(8):
            for target in (0, 6000):
                memory = bytearray(before)
                move(memory, TINY, geometry, {"kind": MoveKind.PLACE, "source": 0, "target": target,
                                              "source_place": source_place, "target_place": target_place})
                for head in range(2):
                    want = places_of(before, target, head)
                    want[target_place] = places_of(before, 0, head)[source_place]
                    assert places_of(memory, target, head) == want
                _only_pages_change(before, memory, size, target)


def _only_pages_change(before, after, size, block=6000):
    pages = [range(block + head * (size + 8), block + head * (size + 8) + size) for head in range(2)]
    assert len(before) == len(after)
    assert all(any(at in page for page in pages) for at in range(len(before)) if before[at] != after[at])
