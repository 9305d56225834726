import pytest

from tests.memory.bench import MemoryBench
from tests.simulate import run


@pytest.mark.parametrize("bus_bytes, options", [
    (4, {"max_burst_beats": 4, "depth_beats": 16}),
    (4, {"max_burst_beats": 8, "depth_beats": 40}),
    (4, {"max_burst_beats": 1, "depth_beats": 4, "max_outstanding": 4}),
    (16, {}),
], ids=["b4", "b4-block-ram", "b4-single", "b16"])
def test_reader(bus_bytes, options):
    run(MemoryBench(bus_bytes, reader=options), "tb.memory.reader", name="memory_bench", expected=6)
