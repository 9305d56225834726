"""Gateware of the normalisations against golden; the table of roots."""

import pytest
from olivine.vector.norm import Normaliser, NormStatistics
from olivine.vector.rsqrt import RSQRT_LINES, Rsqrt
from olivine_golden.vector import rsqrt as golden

from tests.linear.configs import given
from tests.simulate import run
from tests.vector.sizes import NARROW, SIZES, names


def simulate(component, bench, expected, count, simulator="verilator"):
    run(component, f"tb.vector.{bench}", simulator=simulator, expected=expected,
        parameters=given(component.config, latency=component.latency, count=count))


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_normaliser_equals_golden(config):
    simulate(Normaliser(config), "normaliser", 1, 40)


@pytest.mark.parametrize("config", SIZES, ids=names)
def test_statistics_equal_golden(config):
    component = NormStatistics(config)
    assert component.latency == 6 * config.rows + 17
    simulate(component, "statistics", 2, 0)


def test_root_equals_golden():
    run(Rsqrt(), "tb.vector.rsqrt", simulator="verilator", expected=1, parameters={"latency": Rsqrt.latency})


def test_on_icarus():
    simulate(Normaliser(NARROW), "normaliser", 1, 5, "icarus")
    run(Rsqrt(), "tb.vector.rsqrt", expected=1, parameters={"latency": Rsqrt.latency})


def test_tables_agree():
    assert [line["base"] for line in RSQRT_LINES] == golden.BASE.tolist()
    assert [line["slope"] for line in RSQRT_LINES] == golden.SLOPE.tolist()
