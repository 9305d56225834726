import pytest
from olivine.verilog import design

from tests.memory.bench import MemoryBench
from tests.simulate import run


@pytest.mark.parametrize("bus_bytes, options", [
    (4, {"max_burst_beats": 4, "depth_beats": 16}),
    (4, {"max_burst_beats": 8, "depth_beats": 40}),
    (4, {"max_burst_beats": 1, "depth_beats": 4, "max_outstanding": 4}),
    (4, {"max_burst_beats": 4, "depth_beats": 16, "serial": True}),
    pytest.param(16, {}, marks=pytest.mark.slow), pytest.param(16, {"serial": True}, marks=pytest.mark.slow),
], ids=["b4", "b4-block-ram", "b4-single", "b4-serial", "b16", "b16-serial"])
def test_reader(bus_bytes, options):
    run(MemoryBench(bus_bytes, reader=options), "tb.memory.reader", name="memory_bench", expected=6)


@pytest.mark.slow
def test_verilator():
    """The same tests in the other simulator, sizes of the edge preset."""
    bench = design(MemoryBench(16), "memory_bench")
    run(bench, "tb.memory.reader", simulator="verilator", expected=6)
    run(bench, "tb.memory.writer", simulator="verilator", expected=7)
    run(bench, "tb.memory.throughput", simulator="verilator", expected=8)


def test_aligned_only():
    """Without the shifter, commands that start at a beat."""
    run(MemoryBench(4, reader={"realign": False, "max_burst_beats": 8, "depth_beats": 40}),
        "tb.memory.aligned", name="memory_bench", expected=1)
