"""The whole core in cocotb: the registers' bus and the memory's are driven by others than the native harness."""

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.core.accelerator import Accelerator
from olivine.kvcache.descriptor import CacheOp
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine.vector.descriptor import VectorOp
from olivine.vector.formats import Function
from olivine_golden.linear import LinearWeights
from olivine_golden.machine import Machine
from olivine_host.compiler.program import Program, Region
from olivine_host.jobs import pack_weights
from olivine_host.simulation.designs import cached_design

from tests import simulate

CONFIG = PRESETS["tiny"]
SIZE, CODE, X, WEIGHTS, Y, POOL = 1 << 15, 0x400, 0x1000, 0x2000, 0x3000, 0x4000


def program():
    """Linear to the scratchpad, an activation from there to memory, and a new sequence with places."""
    k, n, rows, word = 12, 8, 2 * CONFIG.rows, CONFIG.bus_bytes
    rng = np.random.default_rng(5)
    weights = LinearWeights(LaneFormat.INT8, Group.CHANNEL, rng.integers(0, 256, (k, n)).astype(np.uint8), None, 0,
                            np.zeros(n, np.int32), np.full(n, 9000, np.uint16), np.full(n, 18, np.uint8))
    near = CONFIG.scratchpad_base
    x, y = Region(X, 2 * k * word), Region(near, 2 * n * word)
    made = Program()
    made.add("setup", {"geometry.base": POOL, "geometry.block_units": 1, "geometry.blocks": 4, "geometry.heads": 1,
                       "geometry.page_bytes": 256, "geometry.head_dim": 8, "geometry.key_format": LaneFormat.INT8,
                       "geometry.value_format": LaneFormat.INT8, "geometry.records": POOL, "geometry.log_cells": 3})
    made.add("linear", {"weight_format": LaneFormat.INT8, "x_format": RowFormat.INT12, "y_format": RowFormat.INT16,
                        "m": rows, "k": k, "n": n, "x": X, "w": WEIGHTS, "y": near}, [x], [y])
    made.add("cache", {"op": CacheOp.OPEN})
    made.add("vector", {"op": VectorOp.ACTIVATE, "groups": 2, "channels": n, "x": near, "y": Y, "fraction": 10,
                        "function": Function.GELU_TANH, "mult": 20000, "shift": 14, "format": RowFormat.INT12},
             [y], [Region(Y, 2 * n * word)])
    image = bytearray(SIZE)
    image[CODE:CODE + 64 * len(made)] = made.pack()
    image[X:X + x.size] = rng.integers(-2048, 2048, x.size // 2).astype("<i2").tobytes()
    content = pack_weights(weights, CONFIG.lanes)
    image[WEIGHTS:WEIGHTS + len(content)] = content
    return bytes(image), len(made)


@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
def test_a_program(tmp_path, simulator):
    image, length = program()
    machine = Machine(CONFIG)
    machine.memory[:SIZE] = image
    ended = machine.run(CODE, length)
    assert ended.code.name == "OK"
    assert machine.memory[:SIZE] != image
    for name, content in (("image", image), ("expected", machine.memory[:SIZE])):
        (tmp_path / name).write_bytes(content)
    simulate.run(cached_design("core", CONFIG), "tb.core.accelerator", simulator=simulator, expected=2,
                 parameters={"image": tmp_path / "image", "expected": tmp_path / "expected", "program": CODE,
                             "length": length, "result": ended.result})


def test_needs_words_of_a_beat():
    assert Accelerator(CONFIG).config.bus_bytes == 2 * CONFIG.rows
