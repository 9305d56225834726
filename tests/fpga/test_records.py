"""Place and route as it is on record: the figures that are promised, and that a run gives them again."""

import pytest
from olivine.config import PRESETS
from olivine_host.bench import pnr
from olivine_host.bench.records import read_records

from tests.imports import ROOT

RECORDS = {(record["name"], record["preset"]): record
           for record in read_records(ROOT / "docs" / "figures" / "pnr.json")}
ARRAY_MHZ = 125
LARGE = [name for name, preset in RECORDS if preset == "ecp5" and name != pnr.OVP_SHARE]


def compared(name, preset):
    """Measure again, with the seed on record: the same cells, and with the same tools the same frequency."""
    before = RECORDS[name, preset]
    after = pnr.measure(name, PRESETS[preset], seed=before["seed"])
    same_tools = before["tool_versions"] == after["tool_versions"]
    figures = ("lut", "ff", "dsp", "bram", *(("fmax_mhz",) if same_tools else ()))
    assert {figure: after[figure] for figure in figures} == {figure: before[figure] for figure in figures}, \
        f"write the new record by `olivine bench --pnr {name} --preset {preset} --json FILE`"


def test_the_array_keeps_its_promise():
    record = RECORDS["pnr-array", "ecp5"]
    assert record["fmax_mhz"] >= ARRAY_MHZ
    assert record["dsp"] == PRESETS["ecp5"].rows * PRESETS["ecp5"].lanes == 128
    assert record["part"].startswith("LFE5U-85F-6")


def test_records_have_names():
    assert {name for name, _ in RECORDS} <= set(pnr.listing())


def test_tiny_array_as_recorded():
    compared("pnr-array", "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_as_recorded(name):
    """Two minutes for each of the larger arrays, a quarter of an hour for the attention engine."""
    compared(name, "ecp5")
