import pytest
from olivine.control.instruction import SHORT_BITS, Unit
from olivine.program.station import Station

from tests.simulate import run

BUS_BITS = 64


@pytest.mark.parametrize("beside", [None, Unit.APPEND])
def test_station(beside):
    """Opcode 6 needs its rows at once."""
    station = Station(SHORT_BITS, BUS_BITS, lambda opcode: opcode == 6, () if beside is None else (beside,))
    run(station, "tb.program.station", simulator="verilator", expected=6, name="station",
        parameters={"bus_bits": BUS_BITS, "holds": 6, "beside": -1 if beside is None else beside.value, "trials": 8})


@pytest.mark.slow
@pytest.mark.parametrize("simulator, trials", [("verilator", 150), ("icarus", 3)])
def test_at_length(simulator, trials):
    station = Station(SHORT_BITS, BUS_BITS, lambda opcode: opcode == 6, (Unit.APPEND,))
    run(station, "tb.program.station", simulator=simulator, expected=6, name="station",
        parameters={"bus_bits": BUS_BITS, "holds": 6, "beside": Unit.APPEND.value, "trials": trials})
