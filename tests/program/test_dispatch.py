import pytest
from olivine.program.dispatch import ProgramDispatch

from tests.simulate import run

TESTS = 12


def test_dispatch():
    run(ProgramDispatch(), "tb.program.dispatch", simulator="verilator", expected=TESTS, name="program_dispatch",
        parameters={"trials": 12})


@pytest.mark.slow
@pytest.mark.parametrize("simulator, trials", [("verilator", 200), ("icarus", 3)])
def test_at_length(simulator, trials):
    run(ProgramDispatch(), "tb.program.dispatch", simulator=simulator, expected=TESTS, name="program_dispatch",
        parameters={"trials": trials})
