"""Plans of attention jobs: the golden walk by itself, the planner against it."""

import random

import pytest
from olivine.attention.descriptor import OutputFormat
from olivine.attention.plan import Planner
from olivine.config import PRESETS
from olivine.kvcache.page import page_bytes
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.attention import row_bounds
from olivine_golden.attention_plan import Group, Job

from tests.attention.configs import CONFIGS, TINY, names
from tests.linear.configs import given
from tests.simulate import run

PLANNED = (*CONFIGS, PRESETS["edge"])


@pytest.mark.parametrize("config", PLANNED, ids=[config.name for config in PLANNED])
def test_planner(config):
    component = Planner(config)
    run(component, "tb.attention.plan", parameters=given(config, latency=component.latency), expected=5)


def job(rng, config, merge=False):
    """A job whose pages, or parts, lie one after the other."""
    head_dim = 8 * rng.randint(1, config.max_head_dim // 8)
    formats = rng.choice(list(LaneFormat)), rng.choice(list(LaneFormat))
    o_format = rng.choice(list(OutputFormat))
    rows, keys = rng.randint(1, 3 * config.chunk_rows), rng.randint(1, 4 if merge else 6 * config.lanes)
    size = (3 + 3 * head_dim) * 2 * rows if merge else page_bytes(config.lanes, config.bus_bytes, head_dim, *formats)
    group = Group(rows, keys, rng.randint(-rows, keys), 0x10000, 0x40000, 0x80000, 0x1000, 64,
                  listed=tuple(0x100000 + size * place for place in range(-(-keys // (1 if merge else config.lanes)))))
    return Job(config, (group,), head_dim, *formats, rng.choice([RowFormat.INT8, RowFormat.INT12]), o_format,
               rng.random() < 0.5, o_format is not OutputFormat.PARTIAL, rng.choice((1, 3, 5)),
               rng.choice((0, 0, 2, 2 * config.lanes)), merge), size


def whole(spans):
    """Whether spans (address, bytes) meet end to end; returns the whole."""
    spans = sorted(spans)
    assert all(addr + size == after for (addr, size), (after, _) in zip(spans, spans[1:])), spans
    return spans[0][0], sum(size for _, size in spans)


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_golden_walk_covers_everything_once(config):
    """Of the golden sequences themselves: nothing is left out, nothing overlaps."""
    rng = random.Random(config.name)
    for _ in range(40):
        one, size = job(rng, config)
        group, chunks = one.groups[0], one.chunks()
        assert sum(sum(chunk.rows) for chunk in chunks) == group.rows
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        # Queries are fetched once, results written once, each byte of them.
        assert whole((block.addr, block.bytes) for block in one.query_blocks()) == \
            (group.q, group.rows * one.head_dim * one.q_format.bytes)
        results = [block for chunk in chunks for block in one.result_blocks(chunk)]
        words = 2 * (3 + 3 * one.head_dim) if one.partial else one.head_dim * one.o_format.bytes
        assert whole((block.addr, block.bytes) for block in results if not block.lse) == (group.o, group.rows * words)
        if one.lse:
            assert whole((block.addr, block.bytes) for block in results if block.lse) == (group.lse, 4 * group.rows)
        assert sum(block.last for block in results) == len(chunks)
        # Every key that some row sees is in one page of its chunk, and tiles stay within their pages.
        low, high = row_bounds(group.keys, group.rows, one.heads, one.causal, one.window, group.position)
        for chunk in chunks:
            met = {chunk.first_page * config.lanes + key for key in range(
                (chunk.pages - 1) * config.lanes + chunk.last_keys)} if not chunk.blank else set()
            rows = range(chunk.first_row, chunk.first_row + sum(chunk.rows))
            assert met >= {key for row in rows for key in range(max(low[row], 0), high[row])}
            assert max(met, default=0) < group.keys
        for tile in one.tiles():
            first = one.bases(tile.chunk)[tile.page] + group.page_offset
            assert first <= tile.addr and tile.addr + tile.bytes <= first + size
        check_steps(one)


def check_steps(one):
    """Every product once, words given back once and in order, and no more units at a time than there are slots."""
    config, done, given_back, units, consumed = one.config, set(), [], {}, 0
    for step in one.steps():
        place = step.chunk.number, step.values, step.page, step.number, step.context, step.step
        assert place not in done
        done.add(place)
        if step.last_look:
            given_back.append((step.tile, step.word))
        if not step.values and step.last:
            assert step.unit == len(units) and step.unit - consumed < config.contexts
            units[step.unit] = step.chunk.number, step.page, step.context
        if step.values:
            assert units[step.unit] == (step.chunk.number, step.page, step.context)
            if step.last and step.last_pass:
                assert step.unit == consumed
                consumed += 1
    assert consumed == len(units)
    assert given_back == sorted(set(given_back))
    words = 0
    for tile in one.tiles():
        pairs = tile.values and one.value_format is not LaneFormat.INT8
        words += (tile.keys + pairs) // (1 + pairs) if tile.values else one.key_words
    assert len(given_back) == words
    steps = sum(chunk.contexts * (one.head_dim * chunk.pages + len(one.passes) * (
        (chunk.pages - 1) * config.lanes + chunk.last_keys)) for chunk in one.chunks())
    assert len(done) == steps


@pytest.mark.parametrize("config", CONFIGS, ids=names)
def test_golden_walk_of_merge_jobs(config):
    rng = random.Random(config.name)
    for _ in range(20):
        one, size = job(rng, config, merge=True)
        group = one.groups[0]
        records = list(one.parts())
        assert whole((part.addr, part.bytes) for part in records) == (
            group.listed[0] + group.page_offset, size * group.keys)
        assert sum(part.rows for part in records if part.first) == sum(part.rows for part in records if part.final) \
            == group.rows
        assert not any(chunk.blank for chunk in one.chunks())


def test_golden_steps_of_a_job_by_hand():
    """Two pages of one row, the second with one key: keys, keys, values, values."""
    one = Job(TINY, (Group(1, 9, position=8, listed=(0x1000, 0x2000)),), 16, LaneFormat.INT4, LaneFormat.OVP4_INT)
    assert [(tile.values, tile.page, tile.number, tile.addr, tile.bytes) for tile in one.tiles()] == [
        (False, 0, 0, 0x1000, 64), (False, 1, 0, 0x2000, 32), (True, 0, 0, 0x1040, 32), (True, 0, 1, 0x1060, 32),
        (True, 1, 0, 0x2040, 4), (True, 1, 1, 0x2060, 4)]
    steps = list(one.steps())
    assert len(steps) == 2 * 16 + 2 * 8 + 2 * 1
    assert [(s.word, s.odd, s.last_look, s.first_look) for s in steps[:3]] == [
        (0, False, False, True), (0, True, True, False), (1, False, False, True)]
    assert [(s.unit, s.lanes, s.position) for s in steps[::16][:2]] == [(0, 8, 0), (1, 1, 8)]
    assert [(s.address, s.lanes, s.last_pass, s.last, s.chunk_end) for s in steps[-2:]] == [
        (0, 8, False, True, False), (8, 8, True, True, True)]


def test_golden_bounds_by_hand():
    """Three heads a token, two rows a context: the first token sees the keys 0 and 1, the second 1 and 2."""
    one = Job(TINY, (Group(5, 9, position=1, listed=(0, 0)),), 8, causal=True, window=2, heads=3)
    chunk, = one.chunks()
    assert (chunk.rows, chunk.first_page, chunk.pages, chunk.last_keys) == ((2, 2, 1), 0, 1, 3)
    assert one.bounds(chunk) == [[(0, 2), (0, 2)], [(0, 2), (1, 3)], [(1, 3), (0, 0)]]
