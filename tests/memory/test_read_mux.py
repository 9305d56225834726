import pytest
from olivine.memory.mux import ReadMux

from tests.memory.bench import MemoryBench
from tests.simulate import run


@pytest.mark.parametrize("readers", [2, 3])
def test_mux(readers):
    run(MemoryBench(4, readers, reader={"max_burst_beats": 8, "depth_beats": 64}), "tb.memory.mux",
        name="memory_bench", expected=5)


def test_latency_through_the_mux():
    run(MemoryBench(16, 2), "tb.memory.throughput", name="memory_bench", expected=8)


@pytest.mark.parametrize("arguments, message", [
    ((32, 32, 0), "ports is 0: allowed is 1 to 16"),
    ((32, 32, 5, 2), "id_width is 2: allowed is 3 to 16"),
])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReadMux(*arguments)
