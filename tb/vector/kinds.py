"""The vector engine on its bus, briefly: jobs of every kind while the chosen channels stall."""

import os

import cocotb
import numpy as np
from olivine.vector.descriptor import Norm, VectorOp

from tb.vector.bench import VectorBench, VectorCase

PATTERN = os.environ.get("OLIVINE_PATTERN", "always")
STALLED = os.environ.get("OLIVINE_STALLED", "ar r aw w b done").split()
JOBS = int(os.environ.get("OLIVINE_JOBS", "1"))
SEED = int(os.environ.get("OLIVINE_SEED", "1"))


@cocotb.test()
async def every_kind(dut):
    """One after the other, of a few channels each."""
    bench = VectorBench(dut, patterns=dict.fromkeys(STALLED, PATTERN), seed=SEED)
    await bench.start()
    rng = np.random.default_rng(SEED)
    for _ in range(JOBS):
        for op in VectorOp:
            for norm in Norm if op is VectorOp.RESIDUAL else (Norm.NONE,):
                await bench.compute(VectorCase(rng, bench.config, op, most=20, norm=norm, add=1))
