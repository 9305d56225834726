"""Synthesis for ECP5, on units small enough to know what must come out."""

import json

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.olive.element import ELEMENTS
from olivine_host.bench import synthesis
from olivine_host.bench.synthesis import SynthesisError, synthesize, with_shares
from olivine_host.bench.synthesis_units import SYNTHESIS_UNITS, Int8Array, SynthesisUnit
from olivine_host.cli import olivine
from olivine_host.fpga.synthesis import cells_of, logic

TINY = PRESETS["tiny"]


class Multiply(wiring.Component):
    """A registered product of 12 by 9 bits."""

    a: In(signed(12))
    b: In(signed(9))
    o: Out(signed(21))

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a * self.b)
        return m


class Unknown(wiring.Component):
    """Needs a module that does not exist."""

    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        wire = Signal()
        m.submodules.part = Instance("no_such_module", o_o=wire)
        m.d.comb += self.o.eq(wire)
        return m


class Walk(wiring.Component):
    """Five states, which wait for one of as many inputs each."""

    go: In(5)
    at: Out(5)

    def elaborate(self, platform):
        m = Module()
        with m.FSM():
            for state in range(5):
                with m.State(f"AT_{state}"):
                    m.d.comb += self.at[state].eq(1)
                    with m.If(self.go[state]):
                        m.next = f"AT_{(state + 2) % 5}"
        return m


MULTIPLY = SynthesisUnit("a multiplier", lambda config: Multiply())


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path))


def test_a_multiplier_is_a_dsp_or_luts():
    with_dsp = synthesize("test-multiply", MULTIPLY, TINY)
    without = synthesize("test-multiply", MULTIPLY, TINY, dsp=False)
    assert with_dsp["cells"]["MULT18X18D"] == 1 and with_dsp["luts"] == 0
    assert "MULT18X18D" not in without["cells"] and without["luts"] > 50
    assert with_dsp["cells"]["TRELLIS_FF"] == 21
    assert (with_dsp["name"], with_dsp["preset"], with_dsp["target"]) == ("test-multiply", "tiny", "ecp5")
    assert (with_dsp["dsp"], without["dsp"]) == (True, False)


def test_a_state_has_a_flip_flop():
    made = synthesize("test-walk", SynthesisUnit("a state machine", lambda config: Walk()), TINY)
    assert made["cells"]["TRELLIS_FF"] == 5


def test_results_are_kept(fresh, monkeypatch):
    first = synthesize("test-multiply", MULTIPLY, TINY)
    monkeypatch.setattr(synthesis.subprocess, "run", lambda *_, **__: pytest.fail("synthesized again"))
    assert synthesize("test-multiply", MULTIPLY, TINY) == first


def test_a_broken_unit_shows_the_log(fresh):
    with pytest.raises(SynthesisError, match=r"broken is not synthesized by yosys(?s:.*)no_such_module"):
        synthesize("broken", SynthesisUnit("broken", lambda config: Unknown()), TINY)


def test_cells_are_those_of_the_target():
    report = {"design": {"num_cells_by_type": {"TRELLIS_FF": 3, "LUT4": 5, "$scopeinfo": 7}}}
    assert cells_of(json.dumps(report)) == {"LUT4": 5, "TRELLIS_FF": 3}
    assert logic({"LUT4": 5, "CCU2C": 2, "TRELLIS_DPR16X4": 1, "TRELLIS_FF": 9}) == 5 + 4 + 6


def test_decoder_share_is_beside_the_int8_array():
    def record(name, luts, dsp=True):
        return {"name": name, "dsp": dsp, "luts": luts}

    records = with_shares([record("array-int8", 100), record("array-int8", 2000, False),
                           record("array-folded", 100), record("array-folded", 2200, False),
                           record("decoders-folded", 50)])
    assert [entry.get("decoder_share") for entry in records] == [None, None, .5, .025, None]
    assert "decoder_share" not in with_shares([record("array-folded", 1), record("decoders-folded", 1)])[0]


def test_int8_array_sums_as_the_array_does():
    """Two steps of one tile, then the drain: lanes are int8."""
    from amaranth.sim import Simulator

    dut = Int8Array(2, 4)
    found = []

    async def bench(ctx):
        ctx.set(dut.row, [3, -5])
        for lanes, first in (([-128, 127, 1, -1], 1), ([2, 2, 2, 2], 0)):
            ctx.set(dut.lane, lanes)
            ctx.set(dut.step, {"valid": 1, "first": first, "last": 1 - first})
            await ctx.tick()
        ctx.set(dut.step, {"valid": 0})
        for _ in range(12):
            if ctx.get(dut.o.valid):
                found.append([ctx.get(dut.o.data[0][row]) for row in range(2)])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found == [[3 * (lane + 2), -5 * (lane + 2)] for lane in (-128, 127, 1, -1)]


@pytest.mark.parametrize("name", SYNTHESIS_UNITS)
def test_units_can_be_built(name):
    component = SYNTHESIS_UNITS[name].build(TINY)
    element = name.rsplit("-", 1)[-1]
    config = getattr(component, "config", component)
    assert element not in ELEMENTS or config.element == element
    assert "module \\top\n" in rtlil.convert(component, name="top", emit_src=False)


def test_command(tmp_path, monkeypatch):
    asked = []

    def fake(name, unit, config, *, dsp):
        asked.append((name, config.name, dsp))
        return {"name": name, "preset": config.name, "dsp": dsp, "cells": {"LUT4": 7, "ALU54B": 1}, "luts": 7}

    monkeypatch.setattr(synthesis, "synthesize", fake)
    arguments = ["bench", "--synth", "array-folded", "decoders-folded", "--json", str(tmp_path / "s.json")]
    done = CliRunner().invoke(olivine, arguments)
    assert done.exit_code == 0, done.output
    assert asked == [("array-folded", "ecp5", True), ("array-folded", "ecp5", False),
                     ("decoders-folded", "ecp5", True)]
    assert [record["cells"]["LUT4"] for record in json.loads((tmp_path / "s.json").read_text())] == [7, 7, 7]
    asked.clear()
    CliRunner().invoke(olivine, [*arguments, "--preset", "tiny"])
    assert {preset for _, preset, _ in asked} == {"tiny"}
