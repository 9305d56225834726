import pytest

from tests.memory.bench import MemoryBench
from tests.simulate import run


@pytest.mark.parametrize("bus_bytes, options", [
    (4, {"max_burst_beats": 4, "depth_beats": 8, "max_outstanding": 8}),
    (4, {"max_burst_beats": 1, "depth_beats": 4, "max_outstanding": 8}),
    (16, {}),
], ids=["b4", "b4-single", "b16"])
def test_writer(bus_bytes, options):
    run(MemoryBench(bus_bytes, writer=options), "tb.memory.writer", name="memory_bench", expected=7)
