"""Parts of the bridge."""

import pytest
from olivine.bridge.cobs import CobsDecoder, CobsEncoder
from olivine.bridge.uart import UartReceiver, UartTransmitter, divisor_of

from tests.simulate import run


@pytest.mark.parametrize("divisor", [8, 25, pytest.param(9, marks=pytest.mark.slow),
                                     pytest.param(217, marks=pytest.mark.slow)])
def test_uart(divisor):
    given = {"divisor": divisor}
    run(UartReceiver(divisor), "tb.bridge.uart", parameters={**given, "unit": "receiver"}, expected=8)
    run(UartTransmitter(divisor), "tb.bridge.uart", parameters={**given, "unit": "transmitter"}, expected=3)


def test_cobs():
    run(CobsDecoder(), "tb.bridge.cobs", parameters={"unit": "decoder"}, expected=3)
    run(CobsEncoder(), "tb.bridge.cobs", simulator="verilator", parameters={"unit": "encoder"}, expected=4)


@pytest.mark.parametrize("clock, baud, cycles", [(75e6, 3_000_000, 25), (48e6, 3e6, 16), (25e6, 115_200, 217)])
def test_divisor(clock, baud, cycles):
    assert divisor_of(clock, baud) == cycles


@pytest.mark.parametrize("clock, baud, why", [(20e6, 3e6, "at most 2500000"), (25e6, 3e6, "too far from it")])
def test_bad_divisor(clock, baud, why):
    with pytest.raises(ValueError, match=why):
        divisor_of(clock, baud)
