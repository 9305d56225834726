"""Gearbox: any packets, any word lengths, at full rate."""

import pytest
from amaranth.hdl import unsigned
from olivine.stream import Gearbox, SerialGearbox

from tests.simulate import run


def simulate(element, inputs, outputs, **options):
    run(Gearbox(element, inputs, outputs), "tb.stream.gearbox", expected=27 + 2 * (inputs <= outputs),
        parameters={"ELEMENT": element, "INPUTS": inputs, "OUTPUTS": outputs, "SERIAL": 0}, **options)


@pytest.mark.parametrize("element, inputs, outputs", [
    (8, 16, 16), (8, 4, 4), (8, 4, 16), (3, 5, 3), (1, 3, 7), (12, 1, 1), (8, 1, 2),
    *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((8, 8, 16), (8, 16, 8), (8, 16, 4))),
])
def test_gearbox(element, inputs, outputs):
    simulate(element, inputs, outputs)


@pytest.mark.parametrize("element, inputs, outputs", [
    (8, 8, 8), (8, 2, 4), (3, 6, 2), pytest.param(8, 8, 16, marks=pytest.mark.slow)])
def test_serial_gearbox(element, inputs, outputs):
    run(SerialGearbox(element, inputs, outputs), "tb.stream.gearbox", expected=28,
        parameters={"ELEMENT": element, "INPUTS": inputs, "OUTPUTS": outputs, "SERIAL": 1})


@pytest.mark.slow
def test_on_verilator():
    simulate(8, 4, 8, simulator="verilator")


def test_sizes():
    assert Gearbox(unsigned(8), 12, 5).lanes == 16
    assert Gearbox(unsigned(8), 12, 5).capacity == 64
    assert Gearbox(unsigned(8), 1, 1).capacity == 4


@pytest.mark.parametrize("arguments, error, text", [
    ({"inputs": 0}, ValueError, "gearbox inputs must be at least 1, not 0"),
    ({"outputs": -1}, ValueError, "gearbox outputs must be at least 1, not -1"),
    ({"outputs": 2.0}, TypeError, "gearbox outputs must be a positive integer, not 2.0"),
    ({"element": 0}, ValueError, "gearbox element must have bits, not 0"),
])
def test_gearbox_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        Gearbox(**arguments)


@pytest.mark.parametrize("arguments, error, text", [
    ({"inputs": 0}, ValueError, "gearbox inputs must be even and at least 2, not 0"),
    ({"outputs": 5}, ValueError, "gearbox outputs must be even and at least 2, not 5"),
    ({"outputs": 2.0}, TypeError, "gearbox outputs must be an even integer, not 2.0"),
    ({"element": 0}, ValueError, "gearbox element must have bits, not 0"),
])
def test_serial_gearbox_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        SerialGearbox(**arguments)
