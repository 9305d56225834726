"""Normaliser against golden: numbers of rows of all sizes, for every format."""

import cocotb
import numpy as np
from olivine.linear.descriptor import RowFormat
from olivine.vector.norm import Normaliser
from olivine_golden.vector.norm import NormRows, normalise

from tb.streams import pack, start
from tb.vector.words import CONFIG, COUNT, ROWS, counted, places, shape_of, signed_values, stream


@cocotb.test()
async def any_words(dut):
    rng = np.random.default_rng(1)
    component = Normaliser(CONFIG)
    dut.i.value = dut.rows.value = dut.shift.value = dut.format.value = 0
    await start(dut)
    over = 0
    for job in range(12):
        shift, format = int(rng.choice([0, 63, *rng.integers(12, 30, 8)])), list(RowFormat)[job % 3]
        dut.shift.value, dut.format.value = shift, format.value
        x, where = signed_values(rng, 24, (ROWS, COUNT)), places(rng, COUNT)
        # Other numbers with every word, as when groups follow at once.
        fields = {"mean": signed_values(rng, 42, (COUNT, ROWS)) * (job % 4 > 0),
                  "factor": rng.integers(0, 1 << 17, (COUNT, ROWS)),
                  "pre": np.where(rng.random((COUNT, ROWS)) < .9, rng.integers(0, 26, (COUNT, ROWS)), 63),
                  "post": rng.integers(0, 16, (COUNT, ROWS))}
        gamma, beta = signed_values(rng, 16, (2, COUNT))
        done = [normalise(x[:, [n]], NormRows(*(value[n] for value in fields.values())), gamma[[n]], beta[[n]],
                          shift, format.bits) for n in range(COUNT)]
        tallies = counted(np.concatenate([d.saturated for d in done], 1), where)
        over += sum(tallies)
        words = [{"place": where[n], "data": x[:, n].tolist(), "gamma": gamma[n], "beta": beta[n]}
                 for n in range(COUNT)]
        rows = [pack(shape_of(component, "rows"),
                     [{name: value[n, row] for name, value in fields.items()} for row in range(ROWS)])
                for n in range(COUNT)]
        await stream(dut, component, words,
                     [({"data": done[n].y[:, 0].tolist()}, (tallies[n],)) for n in range(COUNT)], job % 2, rng,
                     extra={"rows": rows})
    assert over
