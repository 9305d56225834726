"""Plans of linear jobs: the golden walk by itself, the planner against it."""

import random
from dataclasses import replace

import pytest
from olivine.linear.descriptor import Group, RowFormat
from olivine.linear.plan import Planner
from olivine.olive.formats import LaneFormat
from olivine_golden.plan import Job

from tests.linear.configs import CONFIGS, TINY, given, names
from tests.simulate import run


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_planner(config):
    component = Planner(config)
    run(component, "tb.linear.plan", parameters=given(config, latency=component.latency), expected=5)


def job(rng, config):
    group = rng.choice(list(Group))
    return Job(config, rng.choice(list(LaneFormat)), rng.choice([RowFormat.INT8, RowFormat.INT12]),
               rng.choice(list(RowFormat)), group, 0, rng.randint(1, 2 * config.chunk_rows + 3),
               rng.randint(1, config.max_reduction), rng.randint(1, 3 * config.lanes), 0x1000, 0x2000, 0x3000)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_golden_walk_covers_everything_once(config):
    """Of the golden sequences themselves: nothing is left out, nothing overlaps."""
    rng = random.Random(config.name)
    for _ in range(20):
        one = job(rng, config)
        # Rows are fetched once, results written once, each byte of them.
        for blocks, base, size in ((one.row_blocks(), one.x, one.m * one.k * one.x_format.bytes),
                                   (one.result_blocks(), one.y, one.m * one.n * one.y_format.bytes)):
            spans = sorted((block.addr, block.addr + block.bytes) for block in blocks)
            assert spans[0][0] == base and spans[-1][1] == base + size
            assert all(end == begin for (_, end), (begin, _) in zip(spans, spans[1:]))
        # Panels are fetched once a chunk, and consist of their pieces.
        commands = list(one.weight_commands())
        assert len(commands) == one.panels * len(list(one.chunks()))
        size = sum(count * config.lanes * (8 if kind == "records" else 1)
                   for kind, count in one.weight_pieces())
        assert size == sum(count for _, count in commands[:one.panels])
        # Every multiply happens once; the words of a run are released once.
        done, released = set(), set()
        useful = 0
        for step in one.steps():
            place = (step.chunk, step.context, step.panel, step.half, step.run, step.step)
            assert place not in done
            done.add(place)
            useful += step.lanes * step.rows
            if step.release:
                word = step.run_number, step.word
                assert word not in released
                released.add(word)
        assert useful == one.m * one.k * one.n
        words = sum(count for kind, count in one.weight_pieces() if kind == "words")
        assert len(released) == words * len(list(one.chunks()))


def test_golden_steps_of_a_job_by_hand():
    config = replace(TINY, element="exponent")
    one = Job(config, LaneFormat.INT8, RowFormat.INT8, RowFormat.INT8, Group.CHANNEL, 0, m=3, k=2, n=9)
    assert [(s.panel, s.context, s.half, s.step, s.row_addr, s.lanes, s.rows, s.take_row, s.release)
            for s in one.steps()] == [
        (0, 0, 0, 0, 0, 4, 2, True, False), (0, 0, 0, 1, 1, 4, 2, True, False),
        (0, 0, 1, 0, 0, 4, 2, False, False), (0, 0, 1, 1, 1, 4, 2, False, False),
        (0, 1, 0, 0, 2, 4, 1, True, False), (0, 1, 0, 1, 3, 4, 1, True, False),
        (0, 1, 1, 0, 2, 4, 1, False, True), (0, 1, 1, 1, 3, 4, 1, False, True),
        (1, 0, 0, 0, 0, 1, 2, False, False), (1, 0, 0, 1, 1, 1, 2, False, False),
        (1, 1, 0, 0, 2, 1, 1, False, True), (1, 1, 0, 1, 3, 1, 1, False, True),
    ]
