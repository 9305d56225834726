"""BlockMover: cycles of a whole block, of a model of 12 layers with 12 heads of 64 dims in 8 bit.

Parameters: those of `tb.kvcache.mover`.
"""

import cocotb
from olivine.kvcache.moves import MoveKind
from olivine.olive.formats import LaneFormat

from tb.kvcache.mover import OVERHEAD, B, Bench, L, geometry_of, sent, timed

HEADS, LATENCY = 144, 30


@cocotb.test
async def block(dut):
    """A beat a cycle on W, and the whole as the docstring counts it."""
    bench = await Bench(dut, geometry_of(HEADS, 64, LaneFormat.INT8, LaneFormat.INT8), latency=LATENCY).start()
    for fields in ({"kind": MoveKind.COPY, "places": L, "zero": 0}, {"kind": MoveKind.COPY, "places": 20, "zero": 1},
                   {"kind": MoveKind.COPY, "places": 20, "zero": 0}, {"kind": MoveKind.PLACE}):
        count, bursts, gaps = await timed(bench, bench.command(**fields))
        cocotb.log.info(f"{fields}: {count} cycles, {sum(bursts)} beats of {B} bytes, {gaps} gaps on W")
        assert count == sent(bursts) + 2 * LATENCY + OVERHEAD
        assert sum(bursts) / count > 0.98
