"""The unit for heavy hitters, and its parts."""

from dataclasses import replace

import pytest
from olivine.attention.hitters.accumulate import Accumulator
from olivine.attention.hitters.loader import Loader
from olivine.attention.hitters.selector import Selector
from olivine.attention.hitters.unit import HitterUnit
from olivine.attention.hitters.weights import WEIGHT_TABLE, Weights
from olivine.config import PRESETS
from olivine_golden.heavy_hitter import TABLE

from tests.linear.configs import given
from tests.simulate import run

# What is only constructed is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

TINY, EDGE = PRESETS["tiny"], PRESETS["edge"]

WIDE = replace(TINY, name="wide", rows=4, lanes=16, bus_bits=128, contexts=3, cells=64, tile_bytes=0)
"""Contexts that are no power of two, eight numbers a beat."""

SHARED = replace(TINY, name="shared", vector_cycles=2)
"""A selector of fewer places."""

SIZES = (TINY, WIDE)

names = [config.name for config in SIZES]

PARTS = "tb.attention.hitters.parts"


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_weights(config):
    assert WEIGHT_TABLE == tuple(TABLE)
    component = Weights(config)
    assert component.latency == 5 + config.rows.bit_length() - 1
    run(component, PARTS, parameters=given(config, unit="weights", latency=component.latency), expected=1)


@pytest.mark.parametrize("config", [TINY, SHARED], ids=["tiny", "shared"])
def test_selector(config):
    component = Selector(config)
    run(component, PARTS, parameters=given(config, unit="selector", latency=component.latency), expected=1)


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_loader(config):
    run(Loader(config), PARTS, parameters=given(config, unit="loader"), expected=3)


def run_unit(config, expected, simulator="icarus", **parameters):
    component = HitterUnit(config)
    assert component.latency == Accumulator(config).latency + 2 == Weights(config).latency + 3
    run(component, "tb.attention.hitters.unit", parameters=given(config, latency=component.latency, **parameters),
        expected=expected, simulator=simulator)


@pytest.mark.parametrize("config", [pytest.param(TINY, id="tiny"), pytest.param(SHARED, id="shared"),
                                    pytest.param(WIDE, id="wide", marks=pytest.mark.slow)])
def test_unit(config):
    """Jobs of every mode, under stalls: memory, events, positions."""
    run_unit(config, 16, "verilator", run="random")


def test_unit_on_icarus():
    run_unit(TINY, 3, run="short")


def test_budget():
    """Groups that use all of the cells, in the time in which a 4-bit cache brings the next."""
    run_unit(replace(TINY, name="budget", cells=256), 1, run="budget", cells=256)


@pytest.mark.slow
def test_budget_of_edge():
    run_unit(EDGE, 1, "verilator", run="budget", cells=1024)
