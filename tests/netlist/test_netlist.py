"""Netlists of ECP5 cells, run by the testbenches of the gateware that they were made from."""

import json

import pytest
from olivine.config import CHANNEL_RUN, PRESETS
from olivine.core.accelerator import Accelerator
from olivine.linear.core import LinearCore
from olivine.numerics.quotient import Quotient
from olivine.olive.array import OliveArray
from olivine.olive.ecp5 import TARGET
from olivine.verilog import design
from olivine_golden.machine import Machine
from olivine_host.fpga import netlist as flow

from tests import simulate
from tests.core.test_accelerator import CODE, SIZE, program
from tests.netlist.cells import with_cells

CONFIG = PRESETS["tiny"]


def netlist(component, name):
    """The netlist, and how many cells of each kind are in it."""
    made, cells = flow.netlist(design(component, name, platform=TARGET, language="rtlil"))
    return with_cells(made), json.loads(cells)["design"]["num_cells_by_type"]


def test_array():
    array = OliveArray(2, 8, tag=9)
    made, cells = netlist(array, "array")
    # A carry chain of 27 bits an element, and no flip-flop of a product.
    assert cells["MULT18X18D"] == 16 and cells["CCU2C"] == 16 * 14
    assert cells["LUT4"] < 16 * 27 + 60 and cells["TRELLIS_FF"] < 16 * 54 + 200
    simulate.run(made, "tb.olive.array", expected=6, parameters={
        "rows": 2, "lanes": 8, "element": "folded", "columns": 1, "tag_bits": 9, "steps": CHANNEL_RUN,
        "latency": array.ecp5_latency})


def test_quotient():
    """Two multipliers with an enable and a reset, whose input registers they take."""
    made, _ = netlist(Quotient(), "quotient")
    registers = [line for line in made.text.split("module ")[1].splitlines() if ".REG_INPUTA_CLK(" in line]
    assert len(registers) == 2
    simulate.run(made, "tb.numerics.quotient", expected=2, parameters={"latency": Quotient.latency})


@pytest.mark.slow
def test_linear_engine():
    made, cells = netlist(LinearCore(CONFIG), "linear")
    assert cells["MULT18X18D"] >= CONFIG.multipliers and cells["DP16KD"]
    simulate.run(made, "tb.netlist.linear", expected=2, parameters={
        "preset": CONFIG.name, "element": CONFIG.element, "columns": CONFIG.drain_columns})


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_whole_core(tmp_path, simulator):
    """A program, a fault of the bus, a program given up: synthesis takes minutes, the first time."""
    made, cells = netlist(Accelerator(CONFIG), "olivine_core")
    assert cells["MULT18X18D"] >= CONFIG.multipliers
    image, length = program()
    machine = Machine(CONFIG)
    machine.memory[:SIZE] = image
    ended = machine.run(CODE, length)
    for name, content in (("image", image), ("expected", machine.memory[:SIZE])):
        (tmp_path / name).write_bytes(content)
    simulate.run(made, "tb.core.accelerator", simulator=simulator, expected=2,
                 parameters={"image": tmp_path / "image", "expected": tmp_path / "expected", "program": CODE,
                             "length": length, "result": ended.result})
