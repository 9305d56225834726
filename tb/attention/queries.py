"""Queries: the walk over the row groups of chunks.

Parameter: OLIVINE_CONFIG.
"""

import random

import cocotb
from olivine.attention.queries import QueryAddresses
from olivine.linear.descriptor import RowFormat

from tb.attention.jobs import CONFIG, ROWS, kinds_of_chunks, random_batch, random_job, unit_ports
from tb.attention.walk import Walk
from tb.streams import PAIRS

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")


def walk(dut, job_format, pair=("always", "always")):
    """A block's fields follow from its container."""
    def fields(block):
        return {"take": block.stored * job_format.bytes, "wide": int(job_format.bytes == 2), "start": block.start,
                "turn": block.turn, "rows": (1 << block.rows) - 1 << block.first_row, "keep": int(block.first_row > 0),
                "more": int(block.more)}

    return Walk(dut, lambda job: job.query_blocks(), {"o_block": (unit_ports(QueryAddresses, "o_block"), fields)}, pair)


@test
@cocotb.parametrize(pair=PAIRS[::2], q_format=["INT8", "INT12"])
async def walks_any_job(dut, pair, q_format):
    rng, q_format = random.Random(f"walk {pair} {q_format}"), RowFormat[q_format]
    bench = walk(dut, q_format, pair)
    for _ in range(2):
        await bench.walk(random_job(rng, q_format=q_format))


@test
@cocotb.parametrize(pair=PAIRS[::3])
async def walks_batches(dut, pair):
    """Groups in a batch and others, of one head and of several."""
    rng = random.Random(f"batch {pair}")
    bench = walk(dut, RowFormat.INT12, pair)
    for _ in range(6):
        await bench.walk(random_batch(rng))
    for heads in (2, ROWS):
        await bench.walk(random_batch(rng, heads=heads, head_dim=CONFIG.max_head_dim))


@test
@cocotb.parametrize(q_format=["INT8", "INT12"])
async def walks_each_kind(dut, q_format):
    """Blank chunks have queries too: they meet one key that they do not see."""
    bench, rng = walk(dut, RowFormat[q_format]), random.Random(f"kinds {q_format}")
    for job in kinds_of_chunks(rng, q_format=RowFormat[q_format]):
        await bench.walk(job)


@test
async def fills_its_store(dut):
    """Chunks of the most contexts, of every head dimension: two of them fit, and no two words share a place."""
    bench, rng = walk(dut, RowFormat.INT12), random.Random("store")
    for head_dim in range(8, CONFIG.max_head_dim + 1, 8):
        job = random_job(rng, groups=1, head_dim=head_dim, rows=4 * ROWS * CONFIG.contexts, q_format=RowFormat.INT12)
        await bench.walk(job)
        blocks, depth = list(job.query_blocks()), 2 * CONFIG.state_words
        contexts = job.chunks()[0].contexts
        for first in range(0, len(blocks) - 2 * contexts, contexts):
            places = [block.start + dim for block in blocks[first:first + 2 * contexts] for dim in range(head_dim)]
            assert len(set(places)) == len(places) and max(places) < depth


@test
async def a_row_group_in_four_cycles(dut):
    """Row groups of a chunk come every fourth cycle; one cycle more between chunks."""
    bench, rng = walk(dut, RowFormat.INT8), random.Random("speed")
    job = random_job(rng, groups=1, rows=5 * ROWS * CONFIG.contexts, head_dim=8, q_format=RowFormat.INT8)
    await at_full_speed(bench, job)


@test
async def a_head_in_four_cycles(dut):
    """So do the heads of a token in a batch."""
    bench, rng = walk(dut, RowFormat.INT12), random.Random("heads")
    await at_full_speed(bench, random_batch(rng, groups=5, heads=ROWS, head_dim=8))


async def at_full_speed(bench, job):
    count = await bench.walk(job)
    for sink in bench.sinks.values():
        cycles = sink.cycles[-count:]
        assert cycles[-1] - cycles[0] == 4 * (count - 1) + len(job.chunks()) - 1
