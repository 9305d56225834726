"""LiteDRAM as a generator: the same bytes, the data sheet's numbers, and plain words where something is missing."""

import builtins
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from olivine.board.dram_parts import DDR3_PARTS, SDRAM_PARTS
from olivine_host.fpga import litedram

PART = SDRAM_PARTS["sdr-32m"]
DDR3 = DDR3_PARTS["mt41k256m16"]
SCRIPT = """
import hashlib
from olivine.board.dram_parts import DDR3_PARTS, SDRAM_PARTS
from olivine_host.fpga.litedram import ddr3_core, sdr_core
for core in (sdr_core(SDRAM_PARTS["sdr-32m"], 75_000_000), ddr3_core(DDR3_PARTS["mt41k256m16"], 75_000_000)):
    print(hashlib.sha256((core.text + repr(core.steps)).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")
    return litedram.sdr_core(PART, 75_000_000)


@pytest.fixture(scope="module")
def ddr3():
    pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")
    return litedram.ddr3_core(DDR3, 75_000_000)


def test_same_bytes_every_time(core, ddr3, tmp_path):
    """Another process, hash seed, folder and day."""
    environment = {**os.environ, "PYTHONHASHSEED": "77", "OLIVINE_BUILD": str(tmp_path)}
    other = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, cwd=tmp_path, check=True,
                           capture_output=True, text=True).stdout.split()[-2:]
    assert other == [hashlib.sha256((made.text + repr(made.steps)).encode()).hexdigest() for made in (core, ddr3)]


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


def test_ddr3_ports_and_sizes(ddr3):
    assert (ddr3.cas, ddr3.cas_write, ddr3.addr_width, ddr3.bus_bits) == (6, 5, 29, 128)
    assert 1 << ddr3.addr_width == DDR3.size == 512 << 20
    for port, width in (("araddr", 29), ("rdata", 128), ("wstrb", 16), ("pin_a", 15), ("pin_dq_oe", 16)):
        assert re.search(rf"\[{width - 1}:0\] {port}\b", ddr3.text), port
    for primitive, count in (("DQSBUFM", 2), ("IDDRX2DQA", 16), ("ODDRX2DQA", 18), ("DDRDLLA", 1)):
        assert len(re.findall(rf"^{primitive}\b", ddr3.text, re.MULTILINE)) == count, primitive


def test_ddr3_initialisation(ddr3):
    """Waits for power and reset, all rows closed, registers 2, 3, 1, 0, the long calibration, hardware."""
    control, command, issue, address, bank = 32, 33, 34, 35, 36
    assert [step[1] for step in ddr3.steps if step[0] == control] == [0, 12, 14, 1] and ddr3.steps[-1][0] == control
    waits = [wait * 1e9 / ddr3.clk_freq for register, _, wait in ddr3.steps if register == control]
    assert waits[0] >= DDR3.power_up and waits[1] >= DDR3.reset_to_cke and waits[2] >= DDR3.tXPR
    sent, now = [], {}
    for register, value, wait in ddr3.steps:
        now[register] = value
        if register == issue:
            sent.append((now[command], now[bank], now[address], 2 * wait))
    precharge, mode, calibrate = 0b1011, 0b1111, 0b0011
    assert [(kind, bank) for kind, bank, _, _ in sent] == \
        [(precharge, 0), (mode, 2), (mode, 3), (mode, 1), (mode, 0), (calibrate, 0)]
    by_bank = {bank: address for kind, bank, address, _ in sent if kind == mode}
    assert by_bank[2] >> 3 & 7 == ddr3.cas_write - 5 and by_bank[0] >> 4 & 7 == ddr3.cas - 4
    assert by_bank[0] & 0b1_0000_0011 == 0x100, "bursts of 8, and the DLL is reset"
    assert sent[-2][3] >= DDR3.nDLLK and sent[-1][2] == 1 << 10 and sent[-1][3] >= DDR3.nZQinit


def test_ddr3_refuses():
    with pytest.raises(ValueError, match="clk_freq is 250000000: allowed of DDR3 on an ECP5 is up to 200000000"):
        litedram.ddr3_core(DDR3, 250_000_000)
    with pytest.raises(TypeError, match="part must be a Ddr3Part"):
        litedram.ddr3_core(PART, 75_000_000)


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
