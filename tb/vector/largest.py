"""The largest values as bytes against golden: groups of all lengths, many ties, one after the other, under stalls."""

import os

import cocotb
import numpy as np
from olivine.vector.descriptor import LARGEST_COUNT, NO_INDEX
from olivine.vector.largest import logits
from olivine_golden.vector.largest import largest

from tb.streams import StreamChecker, StreamSink, StreamSource, pack, start
from tb.vector.words import CONFIG, COUNT, LANES

PATTERN = os.environ["OLIVINE_PATTERN"]


def beats_of(values, indices):
    """Beats of a group's entries, from [rows, entries]."""
    entries = np.zeros((CONFIG.rows, LARGEST_COUNT), np.dtype([("value", "<i4"), ("index", "<u4")]))
    entries["value"], entries["index"] = -1 << 15, NO_INDEX
    entries["value"][:, :values.shape[1]], entries["index"][:, :values.shape[1]] = values, indices
    content = entries.tobytes()
    return [int.from_bytes(content[at:at + CONFIG.bus_bytes], "little")
            for at in range(0, len(content), CONFIG.bus_bytes)]


@cocotb.test()
async def any_groups(dut):
    rng = np.random.default_rng(1)
    shape = logits(CONFIG)
    source, sink = StreamSource(dut, "i", pattern=PATTERN, seed=1), StreamSink(dut, "o", pattern=PATTERN, seed=2)
    StreamChecker(dut, "o")
    await start(dut)
    for group in range(COUNT):
        length = int(rng.choice([1, 2, 8, rng.integers(1, 60)]))
        spread = int(rng.choice([1, 3, 1 << 15]))
        chosen_from = rng.integers(-spread, spread, (CONFIG.rows, length))
        if group % 4 == 0:
            chosen_from = np.sort(chosen_from, axis=1)
        base = int(rng.choice([0, 777, (1 << 20) - length]))
        values, indices = largest(chosen_from, LARGEST_COUNT)
        for n in range(length):
            for part in range(CONFIG.vector_cycles):
                rows = chosen_from[part * LANES:(part + 1) * LANES, n].tolist()
                source.push(pack(shape, {"last": int(n == length - 1 and part == CONFIG.vector_cycles - 1),
                                         "index": base + n, "data": rows}))
        expected = beats_of(values, base + indices)
        assert await sink.collect(len(expected)) == expected, group
