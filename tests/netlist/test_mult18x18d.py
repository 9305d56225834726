"""The model of ECP5's multiplier against Python's arithmetic, over its settings."""

import subprocess
from itertools import product

import pytest
from amaranth.hdl import ClockSignal, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.verilog import design
from olivine_host import toolchain

from tests import simulate
from tests.netlist.cells import OURS, with_cells

REGISTERS = ("input_a", "input_b", "pipeline", "output")


class Multiplier(wiring.Component):
    """One cell, its pins as ports."""

    def __init__(self, registers, mode):
        self.settings = {f"p_REG_{name.replace('_', '').upper()}_CLK": "CLK0" for name in registers}
        self.settings["p_RESETMODE"] = mode
        super().__init__({"a": In(18), "b": In(18), "signed_a": In(1), "signed_b": In(1), "enable": In(1),
                          "clear": In(1), "p": Out(36)})

    def elaborate(self, platform):
        m = Module()
        # Without an own statement of the domain there is no clock.
        idle = m.submodules.idle = Module()
        idle.d.sync += wiring.Signature({"x": Out(1)}).create().x.eq(1)
        m.submodules += Instance(
            "MULT18X18D", **self.settings, i_CLK0=ClockSignal(), i_CE0=self.enable, i_RST0=self.clear,
            i_SIGNEDA=self.signed_a, i_SIGNEDB=self.signed_b, i_SOURCEA=0, i_SOURCEB=0,
            **{f"i_{port}{index}": value[index] for port, value in (("A", self.a), ("B", self.b))
               for index in range(18)},
            **{f"o_P{index}": self.p[index] for index in range(36)})
        return m


def run(registers, mode="SYNC", simulator="icarus"):
    unit = Multiplier(registers, mode)
    simulate.run(with_cells(design(unit)), "tb.netlist.mult18x18d", simulator=simulator, expected=3,
                 parameters={"registers": ",".join(registers), "mode": mode})


@pytest.mark.parametrize("registers", [(), ("input_a", "input_b", "output"), ("input_a", "pipeline"), REGISTERS])
def test_registers(registers):
    run(registers)


@pytest.mark.parametrize("registers", [("input_b",), REGISTERS])
def test_asynchronous_reset(registers):
    run(registers, "ASYNC")


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
@pytest.mark.parametrize("mode", ["SYNC", "ASYNC"])
@pytest.mark.parametrize("registers", [tuple(name for name, used in zip(REGISTERS, chosen) if used)
                                       for chosen in product((0, 1), repeat=4)])
def test_every_setting(registers, mode, simulator):
    run(registers, mode, simulator)


@pytest.mark.parametrize("setting", [
    'REG_OUTPUT_CLK("CLK1")', 'REG_INPUTA_CE("CE2")', 'REG_PIPELINE_RST("RST1")', 'REG_INPUTC_CLK("CLK0")',
    'MULT_BYPASS("ENABLED")', 'SOURCEB_MODE("C_SHIFT")', 'CLK0_DIV("DISABLED")', 'HIGHSPEED_CLK("CLK0")',
    'CAS_MATCH_REG("TRUE")', 'RESETMODE("LATE")'])
def test_refuses_what_it_does_not_know(setting, tmp_path):
    done = alone(tmp_path, f"MULT18X18D #(.{setting}) unit ();")
    assert done.returncode and "a parameter has a value that the model does not know" in done.stdout


def test_refuses_shift_chains(tmp_path):
    done = alone(tmp_path, "MULT18X18D unit (.SOURCEA(1'b1));")
    assert done.returncode and "no shift chains" in done.stdout
    assert not alone(tmp_path, "MULT18X18D unit (.SOURCEA(1'b0));").returncode


def alone(folder, cell):
    """Icarus with nothing but a cell."""
    (folder / "top.v").write_text(f"module top;\n    {cell}\nendmodule\n")
    command = [toolchain.icarus().path, "-g2012", "-s", "top", "-o", folder / "top.vvp", folder / "top.v",
               OURS / "mult18x18d.v"]
    subprocess.run(command, check=True, timeout=60)
    return subprocess.run(["vvp", "-n", folder / "top.vvp"], capture_output=True, text=True, timeout=60, check=False)
