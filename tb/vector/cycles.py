"""Cycles of whole vector jobs, at a latency of 30: the budget that the engine's docstring states."""

import json
import os

import cocotb
import numpy as np
from olivine.vector.descriptor import NO_INDEX, Norm, VectorOp

from tb.vector.bench import VectorBench, VectorCase

MEMORY = 1 << 20
LATENCY = 30

PARTS = int(os.environ["OLIVINE_VECTOR_CYCLES"])

FIXED = 62
"""Cycles of a job beside its beats and the latencies of the bus."""

JOBS = {
    "add": (VectorOp.RESIDUAL, {"add": 1, "fresh": 0, "norm": Norm.NONE}),
    "fresh": (VectorOp.RESIDUAL, {"add": 1, "fresh": 1, "norm": Norm.NONE}),
    "add, layer norm": (VectorOp.RESIDUAL, {"add": 1, "fresh": 0, "norm": Norm.LAYER}),
    "RMS norm": (VectorOp.RESIDUAL, {"add": 0, "norm": Norm.RMS}),
    "add, requantize": (VectorOp.RESIDUAL, {"add": 1, "fresh": 0, "norm": Norm.REQUANTIZE}),
    "requantize": (VectorOp.RESIDUAL, {"add": 0, "norm": Norm.REQUANTIZE}),
    "activate": (VectorOp.ACTIVATE, {}),
    "gate": (VectorOp.GATE, {}),
    "rotate": (VectorOp.ROTATE, {"heads": 4, "pairs": 16}),
    "gather": (VectorOp.GATHER, {}),
    "largest": (VectorOp.LARGEST, {}),
    "lanes": (VectorOp.LANES, {}),
}


def budget(config, name, channels, groups):
    """Most cycles of a job of ``channels`` words, of all its heads, for each of ``groups``."""
    op, fields = JOBS[name]
    norm, add, parts = fields.get("norm", Norm.NONE), fields.get("add", 0), PARTS
    word = max(parts, {"gate": 2, "rotate": 2 * parts, "gather": parts + (parts > 1)}.get(name, 1))
    passes = 1
    if op is VectorOp.RESIDUAL:
        first = max(parts, (3 - fields.get("fresh", 0)) if add else 2)
        second = max(parts, 2 + (2 / config.rows if norm in (Norm.LAYER, Norm.RMS) else 0))
        word = first * (add or norm is not Norm.REQUANTIZE) + second * (norm is not Norm.NONE)
        passes = 2 if norm is not Norm.NONE and name != "requantize" else 1
    latencies = passes * 2 if add else passes + 1
    extra = (6 if parts == 1 else 27) * config.rows + 17 if norm in (Norm.LAYER, Norm.RMS) else 0
    extra += {"gather": LATENCY + (12 if parts == 1 else 36) * config.rows + 8 * config.rows, "largest": 36 * groups,
              "rotate": parts * channels // 4 + 32}.get(name, 0)
    if name == "largest" and parts > 1:
        # Of random values 8 of the first 16 are among the largest, 8 of the next 16, of the next 32 and so on.
        extra += groups * parts * 8 * 8 * int(np.log2(channels))
    return word * channels * groups + latencies * LATENCY + FIXED + extra + 18 * (passes * groups - 1)


@cocotb.test()
async def cycles(dut):
    """One row group and several, long and short rows; no more than the budget."""
    bench = VectorBench(dut, seed=1, size=MEMORY, latency=LATENCY)
    await bench.start()
    rng = np.random.default_rng(1)
    config, found = bench.config, {}
    for name, (op, fields) in JOBS.items():
        for channels, groups in ((256, 1), (768, 1), (256, 4)):
            shape = {"channels": channels, "groups": groups}
            if op is VectorOp.ROTATE:
                shape["channels"] = min(config.max_head_dim, channels // fields["heads"])
            while True:
                case = VectorCase(rng, config, op, memory=MEMORY, **{**fields, **shape})
                if case.indices is None or NO_INDEX not in case.indices:
                    break
            status = await bench.compute(case)
            words = shape["channels"] * fields.get("heads", 1)
            most = budget(config, name, words, groups)
            found[f"{name}, {words} channels, {groups} groups"] = (status["cycles"], round(most))
    for name, (taken, most) in found.items():
        dut._log.info("%s: %d cycles of %d", name, taken, most)
    if path := os.environ.get("OLIVINE_RESULT"):
        with open(path, "w") as file:
            json.dump(found, file, indent=1)
    slow = {name: pair for name, pair in found.items() if pair[0] > pair[1]}
    assert not slow, slow
