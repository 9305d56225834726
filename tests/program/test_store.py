import pytest
from olivine.control.instruction import PAYLOAD_BITS, SHORT_BITS, Unit
from olivine.program.store import InstructionStore

from tests.simulate import run

BITS = {unit: PAYLOAD_BITS if unit is Unit.VECTOR else SHORT_BITS for unit in Unit}


@pytest.mark.parametrize("bus_bits", [64, 512])
def test_store(bus_bits):
    """Instructions of several words, and of one."""
    run(InstructionStore(bus_bits, BITS), "tb.program.store", simulator="verilator", expected=4, name="store",
        parameters={"bus_bits": bus_bits, "bits": " ".join(str(BITS[unit]) for unit in Unit), "trials": 6})
