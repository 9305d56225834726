"""The largest values against golden: groups of all lengths, many ties, one after the other."""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.vector.largest import Largest
from olivine_golden.vector.largest import largest

from tb.numerics.pipeline import latency
from tb.streams import pack, start, unpack
from tb.vector.words import CONFIG, COUNT, ROWS, shape_of

ENTRIES = int(os.environ["OLIVINE_ENTRIES"])


@cocotb.test()
async def any_groups(dut):
    rng = np.random.default_rng(1)
    component = Largest(CONFIG, ENTRIES)
    shape_in, shape_out = shape_of(component, "i"), shape_of(component, "o")
    dut.i.value = 0
    await start(dut)
    enter, leave, at = {}, {}, 0
    for group in range(COUNT):
        length = int(rng.choice([1, 2, ENTRIES, rng.integers(1, 60)]))
        spread = int(rng.choice([1, 3, 1 << 15]))
        logits = rng.integers(-spread, spread, (ROWS, length))
        if group % 4 == 0:
            logits = np.sort(logits, axis=1)
        base = int(rng.choice([0, 777, (1 << 20) - length]))
        values, indices = largest(logits, ENTRIES)
        for n in range(length):
            enter[at] = {"place": {"valid": 1, "last": int(n == length - 1), "rows": ROWS},
                         "data": logits[:, n].tolist(), "index": base + n}
            at += 1 + (int(rng.integers(0, 3)) if group % 2 and n < length - 1 else 0)
        leave[at - 1 + latency()] = values.tolist(), (base + indices).tolist()
    garbage = pack(shape_in, {"place": {"last": 1}, "data": [32767] * ROWS})
    for cycle in range(at + latency() + 1):
        dut.i.value = pack(shape_in, enter[cycle]) if cycle in enter else garbage
        await RisingEdge(dut.clk)
        assert int(dut.o_valid.value) == (cycle in leave), cycle
        if cycle in leave:
            got = [[e for e in row if e["valid"]] for row in unpack(shape_out, int(dut.o.value))]
            values, indices = leave[cycle]
            assert [[e["value"] for e in row] for row in got] == values, cycle
            assert [[e["index"] for e in row] for row in got] == indices, cycle
