"""The tile buffer's ring, and the memory beneath."""

import gc

import pytest
from olivine.memory.tile_buffer import BeatMemory, TileBuffer

from tests.simulate import run


@pytest.mark.parametrize("depth, word, beat", [(4, 8, 4), (8, 4, 4), (2, 16, 4), (16, 6, 2)])
def test_tile_buffer(depth, word, beat):
    run(TileBuffer(depth, word, beat), "tb.memory.tile_buffer", expected=8,
        parameters={"unit": "ring", "depth": depth, "word": word, "beat": beat})


@pytest.mark.parametrize("depth, word, beat", [(5, 8, 2), (6, 4, 4), (4, 12, 4)])
def test_beat_memory(depth, word, beat):
    run(BeatMemory(depth, word, beat), "tb.memory.tile_buffer", expected=1,
        parameters={"unit": "memory", "depth": depth, "word": word, "beat": beat})


@pytest.mark.parametrize("unit, arguments, message", [
    (TileBuffer, (6, 8, 4), "depth is 6: must be a power of two of at least 2"),
    (TileBuffer, (1, 8, 4), "depth is 1: must be a power of two of at least 2"),
    (BeatMemory, (4, 9, 4), "word_bytes is 9: must be a multiple of beat_bytes 4"),
])
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_refuses(unit, arguments, message):
    with pytest.raises(ValueError, match=message):
        unit(*arguments)
    gc.collect()    # what was refused goes here, and not in another test
