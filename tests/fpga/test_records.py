"""Place and route as it is on record: the figures that are promised, and that a run gives them again."""

import json

import pytest
from olivine.config import PRESETS
from olivine_host.bench import pnr
from olivine_host.fpga import tools

from tests.imports import ROOT

RECORDS = {(record["name"], record["preset"]): record
           for record in json.loads((ROOT / "docs" / "figures" / "pnr.json").read_text())}
PROMISED_MHZ = {"pnr-array": 125, "pnr-attention": 100, "pnr-core-ulx3s": 75}
LARGE = [name for name, preset in RECORDS if preset == "ecp5" and name != pnr.OVP_SHARE]


def compared(name, preset):
    """Measure again, with the seed on record: the same cells, and with the same tools the same frequency."""
    before = RECORDS[name, preset]
    after = pnr.measure(name, PRESETS[preset], seed=before["seed"])
    same_tools = before["tool_versions"] == after["tool_versions"]
    figures = ("lut", "ff", "dsp", "bram", *(("fmax_mhz",) if same_tools else ()))
    assert {figure: after[figure] for figure in figures} == {figure: before[figure] for figure in figures}, \
        f"write the new record by `olivine bench --pnr {name} --preset {preset} --json FILE`"
    return after


@pytest.mark.parametrize("name", PROMISED_MHZ)
def test_promised_frequencies(name):
    assert RECORDS[name, "ecp5"]["fmax_mhz"] >= PROMISED_MHZ[name]


def test_multipliers_of_the_core_are_the_arrays():
    core, array = (RECORDS[name, "ecp5"]["dsp"] for name in ("pnr-core-ulx3s", "pnr-array"))
    assert array == PRESETS["ecp5"].rows * PRESETS["ecp5"].lanes == 128 and array < core <= 156


def test_everything_is_on_record():
    assert {name for name, preset in RECORDS if preset == "ecp5"} == set(pnr.listing())


def test_tiny_array_as_recorded():
    """With the tools of the Python packages, or native ones."""
    assert compared("pnr-array", "tiny")["tool_versions"]["nextpnr-ecp5"] == tools.nextpnr().version


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_as_recorded(name):
    """The arrays take minutes, the engines an hour, the core some hours."""
    compared(name, "ecp5")
