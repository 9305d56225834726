"""The whole bridge, and all of it but the UART."""

import pytest
from olivine.bridge.bridge import Bridge
from olivine.bridge.responder import Responder

from tests.simulate import run


def simulate(testbench, expected, *, addr_width=16, bus_bits=64, divisor=0, payload=256, timeout=300, **options):
    component = (Bridge(addr_width, bus_bits, divisor, max_payload=payload, timeout=timeout) if divisor else
                 Responder(addr_width, bus_bits, max_payload=payload, timeout=timeout))
    run(component, testbench, simulator="verilator", expected=expected, parameters={
        "addr_width": addr_width, "bus_bits": bus_bits, "divisor": divisor, "payload": payload, "timeout": timeout},
        **options)


@pytest.mark.parametrize("sizes", [
    {}, pytest.param({"bus_bits": 32, "payload": 64, "addr_width": 13}, marks=pytest.mark.slow),
    pytest.param({"bus_bits": 128, "payload": 1024, "addr_width": 32}, marks=pytest.mark.slow)], ids=str)
def test_responder(sizes):
    simulate("tb.bridge.responder", 22, **sizes)


def test_bridge():
    simulate("tb.bridge.bridge", 4, divisor=8, payload=128)
