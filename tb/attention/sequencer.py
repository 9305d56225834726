"""Sequencer: the steps of jobs in golden order, against a `World` in which operands and room come as they like.

Parameter: OLIVINE_CONFIG.
"""

import random

import cocotb
from olivine.attention.descriptor import OutputFormat
from olivine.control.job import Stall
from olivine.olive.formats import LaneFormat

from tb.attention.jobs import CONFIG, LANES, ROWS, kinds_of_chunks, random_job
from tb.attention.sequencer_world import FILL, RATES, ROOM, SPACING, Scored, World

# A unit that stands still fails, and does not wait for ever.
test = cocotb.test(timeout_time=500, timeout_unit="us")


def small_job(rng, limit=1500, **fixed):
    """A random job of not too many steps."""
    while True:
        job = random_job(rng, **fixed)
        if sum(chunk.pages * chunk.contexts * (job.head_dim + LANES * len(job.passes))
               for chunk in job.chunks()) <= limit:
            return job


@test
@cocotb.parametrize(scarce=[*RATES, "all", "none"])
async def any_job(dut, scarce):
    """Jobs of any shape; one thing, all, or nothing is scarce."""
    scarce = {"all": RATES, "none": ()}.get(scarce, (scarce,))
    rng = random.Random(f"any {scarce}")
    world = World(dut, seed=scarce)
    for _ in range(3):
        world.rates = {name: rng.choice((0.15, 0.5)) if name in scarce else 1 for name in RATES}
        await world.run(small_job(rng))


@test
@cocotb.parametrize(scarce=[*RATES[:5], "all", "none"])
async def any_score_job(dut, scarce):
    """Keys only: no results, no probabilities, and the chunk is over with its last page."""
    scarce = {"all": RATES, "none": ()}.get(scarce, (scarce,))
    rng = random.Random(f"score {scarce}")
    world = World(dut, seed=scarce)
    for job in [small_job(rng), *(kinds_of_chunks(rng) if not scarce else [small_job(rng)])]:
        world.rates = {name: rng.choice((0.15, 0.5)) if name in scarce else 1 for name in RATES}
        await world.run(Scored.of(job))


@test
@cocotb.parametrize(key_format=["OVP4_INT", "INT8"], value_format=["OVP4_FLINT", "INT8"])
async def each_kind(dut, key_format, value_format):
    """Every kind of chunk, in both word lengths, everything there at once."""
    world = World(dut, word=2, query=2, probability=2)
    rng = random.Random(f"{key_format} {value_format}")
    for job in kinds_of_chunks(rng, key_format=LaneFormat[key_format], value_format=LaneFormat[value_format]):
        await world.run(job)


def plain(rng, **fixed):
    return random_job(rng, **{"groups": 1, "rows": 1, "heads": 1, "causal": False, "window": 0, "head_dim": 8,
                              "o_format": OutputFormat.INT16, **fixed})


@test
async def a_step_a_cycle(dut):
    """With as many contexts as there are, the softmax hides behind the other contexts, and tiles as long as a drain
    hide it: a step in every cycle of a chunk."""
    world = World(dut, latency=1, softmax=1, word=2, query=2, probability=2)
    rng = random.Random("full")
    for head_dim in {max(LANES, 8), CONFIG.max_head_dim // LANES * LANES}:
        job = plain(rng, rows=ROWS * CONFIG.attention_contexts(head_dim), keys=3 * LANES, head_dim=head_dim)
        assert job.chunks()[0].contexts > 1
        await world.run(job)
        assert world.issued == list(range(FILL, FILL + len(world.steps))), job


@test
async def one_context_looks_ahead(dut):
    """Of one context: the keys of the second page come before the values of the first, and hide its softmax."""
    rng = random.Random("ahead")
    job = plain(rng, keys=3 * LANES, head_dim=CONFIG.max_head_dim)
    world = World(dut, softmax=SPACING, word=2, query=2, probability=2)
    await world.run(job)
    order = list(dict.fromkeys((step.values, step.page) for step in world.steps))
    assert order == [(False, 0), (False, 1), (True, 0), (False, 2), (True, 1), (True, 2)]
    # Only the last page's softmax shows, if its own scores are the last thing before its values.
    last = next(index for index, step in enumerate(world.steps) if (step.values, step.page) == (True, 2))
    softmax = [cycle for cycle, stall in enumerate(world.stalls) if stall is Stall.SOFTMAX]
    assert all(world.issued[last - 1] < cycle < world.issued[last] for cycle in softmax), softmax


@test
async def waits_for_words(dut):
    """Without words LANE, as often as there is none."""
    world = World(dut, word=0, query=2)
    job = plain(random.Random("lane"), keys=LANES, key_format=LaneFormat.INT8)
    await world.begin(job)
    assert [await world.tick() for _ in range(FILL + 3)] == [Stall.DONE] * FILL + [Stall.LANE] * 3
    world.rates["word"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.LANE] + [Stall.NONE] * 2
    world.rates["word"] = 0
    assert [await world.tick() for _ in range(3)] == [Stall.NONE] + [Stall.LANE] * 2


@test
async def waits_for_queries(dut):
    """Without queries ROW, in the first page's scores alone."""
    world = World(dut, word=2, query=0, probability=2)
    job = plain(random.Random("row"), keys=2 * LANES)
    await world.begin(job)
    assert [await world.tick() for _ in range(FILL + 3)] == [Stall.DONE] * FILL + [Stall.ROW] * 3
    world.rates["query"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.ROW] + [Stall.NONE] * 2
    world.rates["query"] = 0
    assert [await world.tick() for _ in range(3)] == [Stall.NONE] + [Stall.ROW] * 2
    world.rates["query"] = 1
    assert await world.tick() is Stall.ROW
    while world.steps[world.next].page == 0 and not world.steps[world.next].values:
        assert await world.tick() is Stall.NONE
    while not world.over:
        assert await world.tick() is not Stall.ROW


@test
async def waits_for_cells(dut):
    """Without cells ROW before every page's scores, not before values."""
    world = World(dut, word=2, query=2, probability=2)
    job = plain(random.Random("cells"), keys=2 * LANES)
    await world.begin(job)
    while not world.over:
        step = world.steps[world.next]
        if step.values or world.next and world.next - 1 not in world.page_ends:
            assert await world.tick() is not Stall.ROW
            continue
        # The first steps of a page; its cells come late.
        world.rates["cells"] = 0
        assert [await world.tick() for _ in range(20)][-10:] == [Stall.ROW] * 10
        world.rates["cells"] = 1
        while world.steps[world.next] is step:
            await world.tick()
        world.rates["cells"] = 0


@test
async def waits_for_the_softmax(dut):
    """Without probabilities SOFTMAX from the first step of values; with them and no factors at a tile's last step."""
    world = World(dut, word=2, query=2, probability=0, unit=0)
    job = plain(random.Random("softmax"), keys=LANES, head_dim=max(8, LANES))
    await world.begin(job)
    while not world.steps[world.next].values:
        await world.tick()
    assert [await world.tick() for _ in range(40)] == [Stall.SOFTMAX] * 40
    world.rates["probability"] = 2
    assert [await world.tick() for _ in range(LANES)] == [Stall.SOFTMAX] + [Stall.NONE] * (LANES - 1)
    assert [await world.tick() for _ in range(20)] == [Stall.SOFTMAX] * 20
    # Factors are counted in the cycle after they were told, and looked at in that.
    world.rates["unit"] = 1
    assert [await world.tick() for _ in range(3)] == [Stall.SOFTMAX] * 2 + [Stall.NONE]


@test
async def waits_for_the_factors_of_its_own_context(dut):
    """With several passes the factors stay: in the first, the second context's last step needs those of both."""
    world = World(dut, word=2, query=2, probability=2, unit=0)
    job = plain(random.Random("factors"), rows=2 * ROWS, keys=LANES, head_dim=2 * LANES)
    await world.begin(job)
    assert len(job.passes) == 2 and job.chunks()[0].contexts == 2
    for context in (0, 1):
        for _ in range(200):
            await world.tick()
        step = world.steps[world.next]
        assert (step.values, step.number, step.context, step.last) == (True, 0, context, True), step
        assert world.stalls[-20:] == [Stall.SOFTMAX] * 20
        world.rates["unit"] = 1
        await world.tick()
        world.rates["unit"] = 0
    for _ in range(200):
        if not world.over:
            await world.tick()
    assert world.over


@test
async def waits_for_the_drain(dut):
    """Tiles of values of one key end exactly a drain apart."""
    world = World(dut, latency=1, softmax=1, word=2, query=2, probability=2)
    job = plain(random.Random("drain"), rows=ROWS * CONFIG.contexts, keys=1, head_dim=8)
    await world.run(job)
    ends = [cycle for cycle, step in zip(world.issued, world.steps) if step.last and step.values]
    assert len(ends) == CONFIG.contexts > 1
    assert [after - before for before, after in zip(ends, ends[1:])] == [SPACING] * (len(ends) - 1)
    assert world.stalls.count(Stall.DRAIN) >= (len(ends) - 1) * (SPACING - 1)


@test
async def waits_for_room(dut):
    """While no result leaves, exactly as many tiles of results end as their queue holds; then OUTPUT."""
    world = World(dut, word=2, query=2, probability=2, credit=0)
    rng = random.Random("room")
    for head_dim in range(8, CONFIG.max_head_dim + 1, 8):
        job = plain(rng, rows=3 * ROWS * CONFIG.contexts, keys=LANES, head_dim=head_dim)
        world.rates["credit"] = 0
        await world.begin(job)
        stalls = [await world.tick() for _ in range(2000)]
        room, fits = ROOM, 0
        for step in world.steps:
            if step.last and step.values:
                if room < step.lanes:
                    break
                room, fits = room - step.lanes, fits + 1
        done = sum(step.last and step.values for step in world.steps[:world.next])
        assert done == fits and stalls[-100:] == [Stall.OUTPUT] * 100, (done, fits, stalls[-1])
        world.rates["credit"] = 1
        before = world.next
        for _ in range(200):
            if not world.over:
                await world.tick()
        assert world.next > before
