import pytest

from tests.memory.pins import Pins
from tests.simulate import run


@pytest.mark.parametrize("simulator", ["icarus", pytest.param("verilator", marks=pytest.mark.slow)])
def test_memory_model(simulator):
    run(Pins(), "tb.memory.axi_memory", simulator=simulator, expected=19)
