"""The pipeline of the vector unit against golden, operation by operation; its tables."""

import pytest
from olivine.vector.activation import ACTIVATION_LINES
from olivine.vector.pipeline import Pipeline
from olivine_golden.vector import activation

from tests.linear.configs import given
from tests.simulate import run
from tests.vector.sizes import NARROW, PARTS, WIDE

TESTS = 6


def simulate(config, count=60, simulator="verilator", all=0):
    run(Pipeline(config), "tb.vector.pipeline", simulator=simulator, expected=TESTS,
        parameters=given(config, count=count, all=all))


@pytest.mark.parametrize("config", [NARROW, PARTS, pytest.param(WIDE, marks=pytest.mark.slow)],
                         ids=lambda config: config.name)
def test_equals_golden(config):
    simulate(config)


@pytest.mark.slow
def test_every_argument_of_an_activation():
    simulate(WIDE, all=1)


@pytest.mark.slow
def test_on_icarus():
    simulate(PARTS, 10, "icarus")


def test_tables_agree():
    assert [line["base"] for line in ACTIVATION_LINES] == activation.BASE.tolist()
    assert [line["slope"] for line in ACTIVATION_LINES] == activation.SLOPE.tolist()
