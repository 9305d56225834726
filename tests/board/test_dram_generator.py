"""LiteDRAM as a generator: the same bytes, the data sheet's numbers, and plain words where something is missing."""

import builtins
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from olivine.board.dram_parts import SDRAM_PARTS
from olivine_host.fpga import litedram

PART = SDRAM_PARTS["sdr-32m"]
SCRIPT = """
import hashlib
from olivine.board.dram_parts import SDRAM_PARTS
from olivine_host.fpga.litedram import sdr_core
core = sdr_core(SDRAM_PARTS["sdr-32m"], 75_000_000)
print(hashlib.sha256((core.text + repr(core.steps)).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")
    return litedram.sdr_core(PART, 75_000_000)


def test_same_bytes_every_time(core, tmp_path):
    """Another process, hash seed, folder and day."""
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OLIVINE_BUILD": str(tmp_path)}
    other = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, check=True,
                           capture_output=True, text=True).stdout.split()[-1]
    assert other == hashlib.sha256((core.text + repr(core.steps)).encode()).hexdigest()


def test_text_names_no_date_and_no_folder(core):
    assert "//" not in core.text and "/*" not in core.text
    assert not re.search(r"20\d\d-\d\d-\d\d|/home/|/tmp/|site-packages", core.text)
    assert re.match(r"module olivine_dram \(", core.text) and core.text.count("\nendmodule") == 1


def test_ports_and_sizes(core):
    assert (core.cas, core.addr_width, core.bus_bits) == (2, 25, 64)
    assert 1 << core.addr_width == PART.size == 32 << 20
    for port, width in (("araddr", 25), ("rdata", 64), ("wstrb", 8), ("pin_a", 13), ("pin_dq_o", 16), ("arid", 4)):
        assert re.search(rf"\[{width - 1}:0\] {port}\b", core.text), port


def test_initialisation(core):
    """Software control with the clock enable low, the wait after the power, refreshes, the mode register, hardware."""
    steps = core.steps
    assert steps[0][:2] == (0, 0) and steps[-1] == (0, 1, 0)
    assert steps[1][:2] == (0, 14) and steps[1][2] * 1e9 / core.clk_freq >= PART.power_up
    commands, command = [], None
    for register, value, wait in steps:
        if register == 1:
            command = value
        elif register == 2:
            commands.append((command, wait * 1e9 / core.clk_freq))
    precharge, refresh, mode = 0b1011, 0b1101, 0b1111
    kinds = [kind for kind, _ in commands]
    assert kinds.count(refresh) >= PART.refreshes and kinds[-1] == mode and kinds.count(mode) == 1
    assert kinds.index(precharge) < kinds.index(refresh)
    assert all(wait >= {precharge: PART.tRP, refresh: PART.tRFC, mode: 0}[kind] for kind, wait in commands)
    address = [value for register, value, _ in steps if register == 3][-1]
    assert address == core.cas << 4, "the mode register: burst length 1, sequential, the latency"


@pytest.mark.parametrize("clk_freq, cas", [(200_000_000, None), (120_000_000, 2)])
def test_refuses_a_clock_that_is_too_fast(clk_freq, cas):
    with pytest.raises(ValueError, match=rf"clk_freq is {clk_freq}, cas {cas}.* 10.0 ns at CAS 2, 7.5 ns at CAS 3"):
        litedram.sdr_core(PART, clk_freq, cas=cas)


def test_refuses_what_is_no_part():
    with pytest.raises(TypeError, match="part must be an SdramPart"):
        litedram.sdr_core("sdr-32m", 100_000_000)


def test_says_what_is_missing(monkeypatch):
    find = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == "litedram":
            raise ImportError("no module", name="litedram")
        return find(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(litedram.LiteDramMissing, match=r"litedram is not installed.*pip install '.\[fpga\]'"):
        litedram.sdr_core(replace(PART, name="another"), 100_000_000)
