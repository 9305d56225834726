from tests.memory.bench import MemoryBench
from tests.simulate import run


def test_independent_slave():
    """Protocol as others read it: cocotbext-axi's memory."""
    run(MemoryBench(8, 2), "tb.memory.axi_ram", name="memory_bench", expected=4)
