from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine.program.registers import Registers

from tests.linear.configs import SINGLE, given
from tests.program.bench import RegistersBench
from tests.simulate import run

TINY = PRESETS["tiny"]


def _run(config, trials, simulator="verilator"):
    run(RegistersBench(config), "tb.program.registers", simulator=simulator, expected=12, name="registers_bench",
        parameters=given(config, trials=trials))


def test_registers():
    _run(TINY, 4)


def test_on_icarus():
    """Addresses of 48 bits, and the fewest windows."""
    _run(replace(SINGLE, windows=2), 1, simulator="icarus")


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, SINGLE, replace(PRESETS["edge"], windows=16, addr_width=20)],
                         ids=lambda config: config.name)
def test_at_length(config):
    _run(config, 100)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("config, base, words, message", [
    (replace(TINY, windows=1), 0, 64, "windows is 1: allowed is 2 to 16"),
    (TINY, 1 << 32, 64, "scratchpad_base is 4294967296: allowed is 0 to 4294967295"),
    (TINY, 0xffff_ff00, 65, "scratchpad_words is 65: allowed is 1 to 64"),
])
def test_refuses(config, base, words, message):
    with pytest.raises(ValueError, match=message):
        Registers(config, base, words)
