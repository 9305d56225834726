"""Gateware of the statistics of norms against golden; the table of roots."""

import pytest
from olivine.vector.norm import NormStatistics
from olivine.vector.rsqrt import RSQRT_LINES, Rsqrt
from olivine_golden.vector import rsqrt as golden

from tests.linear.configs import given
from tests.simulate import run
from tests.vector.sizes import HALVES, NARROW, PARTS, WIDE


def statistics(config, simulator="verilator"):
    component = NormStatistics(config)
    assert component.latency == (6 * config.rows + 12 if config.vector_cycles == 1 else 27 * config.rows)
    run(component, "tb.vector.statistics", simulator=simulator, expected=2,
        parameters=given(config, latency=component.latency, count=0))


@pytest.mark.parametrize("config", [NARROW, PARTS, *(pytest.param(config, marks=pytest.mark.slow)
                                                     for config in (WIDE, HALVES))], ids=lambda config: config.name)
def test_statistics_equal_golden(config):
    statistics(config)


def test_root_equals_golden():
    run(Rsqrt(), "tb.vector.rsqrt", simulator="verilator", expected=1, parameters={"latency": Rsqrt.latency})


@pytest.mark.slow
@pytest.mark.parametrize("config", [NARROW, PARTS], ids=lambda config: config.name)
def test_statistics_on_icarus(config):
    statistics(config, "icarus")


def test_root_on_icarus():
    run(Rsqrt(), "tb.vector.rsqrt", expected=1, parameters={"latency": Rsqrt.latency})


def test_tables_agree():
    assert [line["base"] for line in RSQRT_LINES] == golden.BASE.tolist()
    assert [line["slope"] for line in RSQRT_LINES] == golden.SLOPE.tolist()
