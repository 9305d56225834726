import pytest
from olivine.program.dispatch import ProgramDispatch

from tests.simulate import run

TESTS = 13


def _run(bus_bits, trials, simulator="verilator"):
    run(ProgramDispatch(bus_bits), "tb.program.dispatch", simulator=simulator, expected=TESTS, name="program_dispatch",
        parameters={"bus_bits": bus_bits, "trials": trials})


@pytest.mark.parametrize("bus_bits, trials", [(64, 12), (512, 3)])
def test_dispatch(bus_bits, trials):
    """Instructions of eight words, and of one."""
    _run(bus_bits, trials)


@pytest.mark.slow
@pytest.mark.parametrize("simulator, trials", [("verilator", 200), ("icarus", 3)])
@pytest.mark.parametrize("bus_bits", [32, 128])
def test_at_length(bus_bits, simulator, trials):
    _run(bus_bits, trials, simulator)
