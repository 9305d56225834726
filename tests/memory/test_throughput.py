from tests.memory.bench import MemoryBench
from tests.simulate import run


def test_throughput():
    """Sizes of the edge preset."""
    run(MemoryBench(16), "tb.memory.throughput", name="memory_bench", expected=8)
