from dataclasses import replace

import pytest
from olivine.config import PRESETS

from tests.linear.configs import given
from tests.program.bench import FetchBench
from tests.simulate import run


def _run(config, trials, simulator="verilator"):
    run(FetchBench(config), "tb.program.fetch", simulator=simulator, expected=18, name="fetch_bench",
        parameters=given(config, trials=trials))


def test_fetch():
    """Memory is the whole address space, so that programs can run past its end."""
    _run(replace(PRESETS["tiny"], addr_width=16), 6)


def test_on_icarus():
    """Addresses of 48 bits."""
    _run(replace(PRESETS["ecp5"], addr_width=48), 1, simulator="icarus")


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_at_length(name):
    _run(PRESETS[name], 60)
