"""Attention over the cache with rows in a batch: the joined core against golden, random operations mixed with jobs."""

import itertools
from dataclasses import replace

import pytest

from tests.attention.batches import in_batch
from tests.core import machine
from tests.core.test_cached_attention import FORMATS, TINY, simulate


class BatchMachine(machine.Machine):
    """Every attention job lies in a batch, as far as it can.

    Attributes
    ----------
    groups : dict
        Number of groups by (in a batch, what their rows are, with heavy hitters).
    """

    def __init__(self, *arguments, **options):
        self.groups, self.seeds = {}, itertools.count()
        super().__init__(*arguments, **options)

    def make(self, memory, requests, **options):
        job = in_batch(memory, requests, seed=next(self.seeds), **options)
        for entry in job.entries:
            rows = "lanes" if entry["rows"] <= self.config.rows else "tokens"
            kind = entry.get("batch", 0), "heads" if job.heads > 1 else rows, job.hitters
            self.groups[kind] = self.groups.get(kind, 0) + 1
        return job

    def run(self, descriptor, regions=(), output=None, **more):
        status = super().run(descriptor, regions, output, **more)
        # Words of a batch that are partly written keep the rest.
        if output and any(output[0] <= address < sum(output) for address, _ in regions):
            self.jobs[-1].keeps = True
        return status


def run(monkeypatch, formats, seed, steps, *, config=TINY, simulator="verilator", stall=0, faults=0.0,
        **shape):
    keys, values = FORMATS[formats]
    made = BatchMachine(config, seed, key_format=keys, value_format=values, faults=faults, **shape)
    monkeypatch.setattr(machine, "CachedAttentionJob", made.make)
    for _ in range(steps):
        made.step()
    made.compare(*simulate(made, simulator, stall=stall))
    return made.groups


@pytest.mark.parametrize("formats, seed, stall, faults, shape, kinds", [
    ("int8", 21, 0, 0.0, {}, {"heads"}),
    ("ovp4", 22, 40, 0.0, {"group": 1, "head_dim": 16}, {"tokens", "lanes"}),
    pytest.param("mixed", 23, 0, 0.1, {"group": 1, "head_dim": 24, "kv_heads": 1}, {"tokens", "lanes"},
                 marks=pytest.mark.slow),
    pytest.param("int8", 24, 80, 0.0, {"head_dim": 32, "layers": 1}, {"heads"}, marks=pytest.mark.slow)])
def test_random_operations(monkeypatch, formats, seed, stall, faults, shape, kinds):
    groups = run(monkeypatch, formats, seed, 250, stall=stall, faults=faults, **shape)
    for kind in kinds:
        assert groups.get((1, kind, False), 0) > 20 and (kind == "tokens" or groups.get((1, kind, True), 0)), groups


def test_on_icarus(monkeypatch):
    assert run(monkeypatch, "int8", 25, 8, simulator="icarus", group=1)


@pytest.mark.slow
@pytest.mark.parametrize("group", [1, 2, 3])
def test_more_rows_than_heads(monkeypatch, group):
    """Lanes on both sides of those that are written."""
    config = replace(TINY, name="wide", rows=4, lanes=16, bus_bits=64, contexts=3, tile_bytes=0)
    groups = run(monkeypatch, "ovp4", 30 + group, 250, config=config, stall=20, group=group, head_dim=24)
    assert groups.get((1, "heads" if group > 1 else "tokens", False), 0) > 10, groups


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_many_operations(monkeypatch, seed):
    run(monkeypatch, list(FORMATS)[seed % 3], 200 + seed, 3000, stall=(0, 25, 60)[seed % 3], faults=0.05 * (seed % 2),
        group=1 + seed % 2, head_dim=(8, 16, 32)[seed // 2])
