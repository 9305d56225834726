"""Gateware of activations, gates and the residual stream against golden; its tables."""

import gc

import pytest
from olivine.vector.activation import ACTIVATION_LINES, Activation, Gate
from olivine.vector.residual import ResidualAdder, ResidualRequantizer
from olivine_golden.vector import activation

from tests.linear.configs import given
from tests.simulate import run
from tests.vector.sizes import NARROW, SIZES, names

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def simulate(component, bench, expected, count=60, simulator="verilator", **parameters):
    run(component, f"tb.vector.{bench}", simulator=simulator, expected=expected,
        parameters=given(component.config, latency=component.latency, count=count, **parameters))


@pytest.mark.parametrize("config", SIZES, ids=names)
@pytest.mark.parametrize("unit, bench", [(ResidualRequantizer, "requantize"), (Gate, "gate")])
def test_gateware_equals_golden(unit, bench, config):
    simulate(unit(config), bench, 1)


@pytest.mark.parametrize("config, bits", [(SIZES[0], 16), (SIZES[1], 16), (SIZES[0], 40), (SIZES[1], 36)])
def test_adder_equals_golden(config, bits):
    simulate(ResidualAdder(config, bits), "residual", 2, 600, source_bits=bits)


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_activation_equals_golden(config):
    simulate(Activation(config), "activation", 2, all=0)


@pytest.mark.slow
def test_every_argument_of_an_activation():
    simulate(Activation(SIZES[1]), "activation", 2, all=1)


def test_on_icarus():
    simulate(ResidualAdder(NARROW), "residual", 2, 40, "icarus", source_bits=16)
    simulate(ResidualRequantizer(NARROW), "requantize", 1, 10, "icarus")
    simulate(Gate(NARROW), "gate", 1, 10, "icarus")
    simulate(Activation(NARROW), "activation", 2, 10, "icarus", all=0)


def test_tables_agree():
    assert [line["base"] for line in ACTIVATION_LINES] == activation.BASE.tolist()
    assert [line["slope"] for line in ACTIVATION_LINES] == activation.SLOPE.tolist()


@pytest.mark.parametrize("bits", [7, 41, "16"])
def test_adder_refuses_widths(bits):
    with pytest.raises(ValueError, match="source_bits is .*: allowed is 8 to 40"):
        ResidualAdder(NARROW, bits)
    gc.collect()    # what was refused goes here, and not in another test
