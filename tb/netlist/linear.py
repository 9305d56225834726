"""The linear engine's netlist: a few jobs, for a simulator that is slow with single cells.

Parameters: as of `tb.linear.engine`.
"""

import cocotb
import numpy as np
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat

from tb.linear.bench import EngineBench, random_job


@cocotb.test()
async def jobs(dut):
    """Two panels with a ragged end, scaled by group in four bits and by channel in eight, on a bus that stalls."""
    bench = EngineBench(dut, patterns=dict.fromkeys(("ar", "r", "aw", "w", "b", "done"), "bursty"), seed=1)
    await bench.start()
    rng = np.random.default_rng(1)
    for weight_format, group in ((LaneFormat.INT4, Group.G64), (LaneFormat.INT8, Group.CHANNEL)):
        await bench.compute(random_job(rng, bench.config, m=bench.config.rows + 1, k=67, n=bench.config.lanes + 1,
                                       weight_format=weight_format, group=group))


@cocotb.test()
async def smallest(dut):
    """One token, one input, one output, in every format."""
    bench = EngineBench(dut, seed=2)
    await bench.start()
    rng = np.random.default_rng(2)
    for weight_format in LaneFormat:
        await bench.compute(random_job(rng, bench.config, m=1, k=1, n=1, weight_format=weight_format))
