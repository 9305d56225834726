"""The record of heavy hitters in memory: bytes and golden model, there and back."""

import numpy as np
import pytest
from olivine.kvcache.descriptor import FREE_CELL, RECORD_BYTES
from olivine_golden.heavy_hitter import HeavyHitter
from olivine_golden.hitter_record import get_record, load_record, put_record, record_parts


def step(rng, hitter, tokens):
    """Fill, attend, drop what is too much."""
    hitter.fill(tokens)
    visible = hitter.seen(tokens, 2)
    hitter.attend_add(rng.integers(-2000, 300, visible.shape), rng.integers(0, 900, 2 * tokens), visible)
    hitter.drop(hitter.excess)


def test_there_and_back():
    """A model that lives in memory between steps drops what one does that never left."""
    rng, cells = np.random.default_rng(1), 32
    hitter, image = HeavyHitter(20, 8, 4), bytearray(rng.bytes(RECORD_BYTES * cells))
    for tokens in (8, 3, 1, 1, 5, 8, 1, 2):
        step(rng, hitter, tokens)
        put_record(image, hitter, cells)
        sums, positions, free = get_record(image, hitter.filled)
        assert sums.tolist() == hitter.sums[:hitter.filled].tolist()
        assert positions.tolist() == hitter.positions[:hitter.filled].tolist()
        assert (hitter.positions[hitter.filled:] < 0).all()
        assert free.tolist() == [cell for cell in range(hitter.filled) if hitter.positions[cell] < 0]
        again = HeavyHitter(20, 8, 4)
        load_record(again, image, hitter.filled, hitter.length)
        assert (again.length, again.dropped, again.filled) == (hitter.length, hitter.dropped, hitter.filled)
        hitter = again
    assert hitter.dropped == 17 and hitter.filled > hitter.used


def test_bytes():
    """Sums, positions and free cells lie where the layout says; nothing else is written."""
    hitter = HeavyHitter(6, 2, 1)
    hitter.fill(5)
    hitter.sums[:5] = [7, 1, 0xffffffff, 1, 9]
    assert hitter.drop(2) == [1, 3]
    image = bytearray(b"\xaa" * 64)
    put_record(image, hitter, 8)
    assert image[:20] == np.array([7, 0, 0xffffffff, 0, 9], "<u4").tobytes() and image[20:32] == b"\xaa" * 12
    assert image[32:42] == np.array([0, FREE_CELL, 2, FREE_CELL, 4], "<u2").tobytes()
    assert image[48:52] == b"\x01\x00\x03\x00" and image[42:48] + image[52:] == b"\xaa" * 18
    assert [(offset, len(part)) for offset, part in record_parts(hitter, 8)] == [(0, 20), (32, 10), (48, 4)]


def test_filled_follows_the_highest_cell():
    hitter = HeavyHitter(8, 3, 1)
    assert hitter.filled == 0 and hitter.free.tolist() == []
    hitter.fill(6)
    hitter.truncate(4)
    assert hitter.filled == 4 and hitter.free.tolist() == []
    hitter.fill(3)
    hitter.drop(3)
    assert hitter.filled == 7 and hitter.free.tolist() == [0, 1, 2]
    hitter.fill(2)
    assert hitter.filled == 7 and hitter.free.tolist() == [2]


def test_what_is_refused():
    hitter = HeavyHitter(8, 2, 1)
    hitter.fill(5)
    with pytest.raises(ValueError, match="cells is 4: must be at least those used, 5"):
        record_parts(hitter, 4)
    with pytest.raises(ValueError, match="image has 8 bytes: a record of 8 cells has 64"):
        put_record(bytearray(8), hitter, 8)
    image = bytearray(64)
    put_record(image, hitter, 8)
    with pytest.raises(ValueError, match="filled is 5: the model has 4 cells"):
        load_record(HeavyHitter(4, 2, 1), image, 5, 5)
    image[32:34] = b"\xff\xff"
    image[48] = 1
    with pytest.raises(ValueError, match="list of free cells does not agree"):
        load_record(HeavyHitter(8, 2, 1), image, 5, 5)
    hitter.length = FREE_CELL
    hitter.fill(1)
    with pytest.raises(ValueError, match="position 65535 does not fit"):
        record_parts(hitter, 8)
