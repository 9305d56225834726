"""The decoder in gateware against golden: both forms, whole pairs and single elements."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator
from olivine.olive.decoder import PairDecoder, element_term, folded_element
from olivine.olive.formats import LaneFormat
from olivine_golden.ovp import decode_pairs, decode_terms

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("element", ["folded", "exponent"])
@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
def test_every_byte(element, simulator):
    component = PairDecoder(element)
    run(component, "tb.olive.decoder", simulator=simulator, expected=2,
        parameters={"element": element, "latency": component.latency})


def test_single_elements_equal_those_of_pairs():
    m = Module()
    byte, odd, fmt = Signal(8), Signal(), Signal(LaneFormat)
    value, exponent, integer = Signal(signed(12)), Signal(4), Signal(signed(8))
    illegal = Signal(2)
    folded, folded_illegal = folded_element(byte, odd, fmt)
    term, term_illegal = element_term(byte, odd, fmt)
    assert folded.shape() == signed(9) and term.integer.shape() == signed(5) and len(term.exponent) == 3
    m.d.comb += [value.eq(folded), exponent.eq(term.exponent), integer.eq(term.integer),
                 illegal[0].eq(folded_illegal), illegal[1].eq(term_illegal)]

    async def bench(ctx):
        for lane_format in LaneFormat:
            ctx.set(fmt, lane_format)
            pairs = [a.tolist() for a in decode_pairs(np.arange(256), lane_format)]
            terms = [a.tolist() for a in decode_terms(np.arange(256), lane_format)]
            for code in range(256):
                for second in range(2):
                    ctx.set(byte, code)
                    ctx.set(odd, second)
                    await ctx.delay(1e-9)
                    got = ctx.get(value), ctx.get(exponent), ctx.get(integer), ctx.get(illegal)
                    assert got == (pairs[second][code], terms[2 * second][code], terms[2 * second + 1][code],
                                   3 * pairs[2][code]), (lane_format, hex(code), second)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_refusal():
    with pytest.raises(ValueError, match="element is 'float': allowed are 'folded', 'exponent'"):
        PairDecoder("float")
