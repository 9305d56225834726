"""Gearbox: any packets, any word lengths, at full rate."""

import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from olivine.stream import Gearbox, SerialGearbox

from tests.simulate import run


def simulate(element, inputs, outputs, **options):
    run(Gearbox(element, inputs, outputs), "tb.stream.gearbox", expected=27 + 2 * (inputs <= outputs),
        parameters={"ELEMENT": element, "INPUTS": inputs, "OUTPUTS": outputs, "SERIAL": 0, "SKIPS": 0}, **options)


class SkippingGearbox(wiring.Component):
    """A serial gearbox that works out by itself, of the word on offer, whether what stays lies in one pair."""

    def __init__(self, element, inputs, outputs):
        self.gearbox = SerialGearbox(element, inputs, outputs, skips=True)
        super().__init__({name: member for name, member in self.gearbox.signature.members.items()
                          if name != "one_pair"})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gearbox = gearbox = self.gearbox
        for name, member in self.signature.members.items():
            if member.is_signature:
                ends = getattr(self, name), getattr(gearbox, name)
                wiring.connect(m, wiring.flipped(ends[0]), ends[1])
            elif member.flow == In:
                m.d.comb += getattr(gearbox, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(gearbox, name))
        m.d.comb += gearbox.one_pair.eq(self.skip >> 1 == (self.i.payload.count - 1)[:len(self.i.payload.count)] >> 1)
        return m


@pytest.mark.parametrize("element, inputs, outputs", [
    (8, 16, 16), (8, 4, 4), (8, 4, 16), (3, 5, 3), (1, 3, 7), (12, 1, 1), (8, 1, 2),
    *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((8, 8, 16), (8, 16, 8), (8, 16, 4))),
])
def test_gearbox(element, inputs, outputs):
    simulate(element, inputs, outputs)


@pytest.mark.parametrize("element, inputs, outputs", [
    (8, 8, 8), (8, 2, 4), (3, 6, 2), pytest.param(8, 8, 16, marks=pytest.mark.slow)])
def test_serial_gearbox(element, inputs, outputs):
    for skips, component in enumerate((SerialGearbox, SkippingGearbox)):
        run(component(element, inputs, outputs), "tb.stream.gearbox", expected=27 + skips, parameters={
            "ELEMENT": element, "INPUTS": inputs, "OUTPUTS": outputs, "SERIAL": 1, "SKIPS": skips})


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
    ({"skips": 1}, TypeError, "gearbox skips must be True or False, not 1"),
])
def test_serial_gearbox_refuses(arguments, error, text):
    with pytest.raises(error, match=text):
        SerialGearbox(**arguments)
