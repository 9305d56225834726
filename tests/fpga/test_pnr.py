"""`olivine bench --pnr`: names, records, comparisons, gates."""

import json

import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.units import UNITS
from olivine_host.bench import pnr, pnr_share
from olivine_host.bench.synthesis import SynthesisError
from olivine_host.bench.synthesis_units import SYNTHESIS_UNITS, SynthesisUnit
from olivine_host.cli import olivine as cli
from olivine_host.fpga import flow
from olivine_host.fpga.boards import BOARDS
from olivine_host.fpga.report import Clock, Path, Place, Report, Step

TINY, ECP5 = PRESETS["tiny"], PRESETS["ecp5"]


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["bench", "--pnr", *map(str, arguments)],
                                                    prog_name="olivine")


@pytest.fixture
def routed(monkeypatch, tmp_path):
    """Replace the tools by a report; remembers what was asked for."""
    asked = []
    steps = (Step("clk-to-q", 0.5, 0.5, Place("row_0", "sum_1", "TRELLIS_FF")),
             Step("routing", 7.0, 7.5, Place("", "o", "TRELLIS_FF"), "net"))
    report = Report({"TRELLIS_COMB": (100, 83_640), "TRELLIS_FF": (200, 83_640), "MULT18X18D": (16, 156)},
                    (Clock("clk", 131.237, 125.0),), (Path("posedge clk", "posedge clk", steps),))

    def place_and_route(synthesis, *, seed, mhz, progress):
        asked.append((synthesis.plan.design.name, seed, mhz))
        return flow.Routed(synthesis.plan, tmp_path, report, seed, 60.5)

    monkeypatch.setattr(flow, "synthesize", lambda plan, progress=None: flow.Synthesis(plan, tmp_path, {}, 1.0))
    monkeypatch.setattr(flow, "place_and_route", place_and_route)
    return asked


def test_names():
    names = set(pnr.listing())
    assert {"pnr-array", "pnr-attention", "pnr-core-ulx3s", "ovp-share", "growth-p2-l8", "growth-p4-l16"} <= names
    done = run("--list")
    assert done.exit_code == 0
    assert names == {line.split()[0] for line in done.output.splitlines()}
    assert all(entry.board in BOARDS for entry in pnr.PNR.values())


@pytest.mark.parametrize("name, rows, lanes", [("growth-p2-l16", 2, 16), ("growth-p4-l8", 4, 8), ("pnr-array", 4, 32)])
@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_arrays_have_their_sizes(name, rows, lanes):
    design = pnr.PNR[name].build(name, ECP5, BOARDS["ulx3s-85f"])
    array = design.component.harness.component
    assert (array.rows, array.lanes, array.element) == (rows, lanes, "folded")
    assert design.pin_mhz == 125 and design.name == name


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_record(routed, tmp_path):
    path = tmp_path / "pnr.json"
    done = run("growth-p2-l8", "--seed", "5", "--json", path)
    assert done.exit_code == 0, done.output
    assert routed == [("growth-p2-l8", 5, 125.0)]
    record, = json.loads(path.read_text())
    assert record["tool_versions"].keys() == {"yosys", "nextpnr-ecp5"}
    expected = {"name": "growth-p2-l8", "preset": "ecp5", "part": "LFE5U-85F-6BG381", "target_mhz": 125.0,
                "fmax_mhz": 131.24, "lut": 100, "ff": 200, "dsp": 16, "bram": 0, "seed": 5, "seconds": 60.5,
                "path": {"ns": 7.5, "wires_ns": 7.0, "from": "row_0.sum_1 (TRELLIS_FF)", "to": "o (TRELLIS_FF)",
                         "through": ["row_0", ""]}}
    assert {name: record[name] for name in expected} == expected
    assert "131.24" in done.output and "row_0.sum_1 (TRELLIS_FF) -> o (TRELLIS_FF)" in done.output

    same = run("growth-p2-l8", "--compare", path)
    assert f"All figures are those of {path}" in same.output
    record.update(fmax_mhz=120.0, lut=90)
    path.write_text(json.dumps([record]))
    changed = run("growth-p2-l8", "--compare", path)
    assert "fmax, kHz" in changed.output and "+11240 (+9.4%)" in changed.output and "+10 (+11.1%)" in changed.output


def test_what_cannot_be_built_is_told_and_the_rest_goes_on(routed, monkeypatch, tmp_path):
    def no_top(name, config, board):
        raise ValueError("there is no top")

    monkeypatch.setattr(pnr, "PNR", {"growth-p2-l8": pnr.PNR["growth-p2-l8"],
                                     "pnr-core-ulx3s": pnr.PnrEntry("core", no_top, None)})
    monkeypatch.setattr(pnr_share, "share_record", lambda config, progress: {"name": "ovp-share"})
    done = run("--json", tmp_path / "all.json")
    assert done.exit_code == 0, done.output
    assert "pnr-core-ulx3s: there is no top" in done.output
    assert [record["name"] for record in json.loads((tmp_path / "all.json").read_text())] == \
        ["growth-p2-l8", "ovp-share"]
    assert run("pnr-core-ulx3s").exit_code == 2, "one that was asked for must not be left out"


def test_wrong_uses():
    assert "allowed are pnr-array" in run("pnr-nothing").stderr
    assert "--synth and --pnr are two things" in run("--synth").stderr
    assert "--pnr simulates nothing: leave out --m" in run("pnr-array", "--m", "4").stderr


# --- Gates --------------------------------------------------------------------------------------------

def test_area_counts_each_kind():
    assert pnr_share.area({"$_NAND_": 3, "$_DFF_P_": 2}) == pytest.approx(3 + 2 * 5.67)
    with pytest.raises(ValueError, match=r"no area is known of \$_DLATCH_P_"):
        pnr_share.area({"$_NAND_": 3, "$_DLATCH_P_": 2})


def test_gates_of_decoders():
    """Without flip-flops, no depth of more than some gates; the exponent form is the smaller one."""
    folded, exponent = (pnr_share.gates(f"decoders-{element}", TINY) for element in ("folded", "exponent"))
    for counted in (folded, exponent):
        assert counted["flip_flops"] == 0 and 5 < counted["depth"] < 25
        assert counted["cells"] < counted["area"] < 3 * counted["cells"]
    assert exponent["area"] < folded["area"]


def test_gates_of_a_unit_with_submodules(monkeypatch):
    """Registers are counted, and what Yosys notes of the hierarchy is not."""
    unit = SynthesisUnit("queue", lambda config: UNITS["queue"].build(config))
    monkeypatch.setitem(SYNTHESIS_UNITS, "queue", unit)
    counted = pnr_share.gates("queue", TINY)
    assert counted["flip_flops"] >= 16 * 32, "the memory of 16 beats as flip-flops"
    assert counted["area"] > 5.67 * counted["flip_flops"]


def test_share(monkeypatch):
    areas = {name: {"area": 100 if name.startswith("decoders") else 900} for name in pnr_share.UNITS_COUNTED}
    monkeypatch.setattr(pnr_share, "gates", lambda name, config, progress: areas[name])
    asked = []

    def synthesize(name, unit, config, *, dsp):
        asked.append((name, dsp))
        return {"luts": 50 if name.startswith("decoders") else 950}

    monkeypatch.setattr(pnr_share, "synthesize", synthesize)
    record = pnr_share.share_record(TINY)
    assert record["share"] == {element: {"gates": 0.1, "luts": 0.05} for element in ("folded", "exponent")}
    assert record["paper_share"] == 0.037 and record["preset"] == "tiny"
    assert ("array-folded", False) in asked, "multipliers as LUTs"
    assert pnr.compare([record], [record]) == []


def test_gates_fail_with_the_log(monkeypatch, tmp_path):
    monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path))
    monkeypatch.setattr(pnr_share, "_SCRIPT", "read_rtlil unit.il\nno_such_pass\n")
    with pytest.raises(SynthesisError, match="(?s)decoders-folded is not mapped to gates.*no_such_pass"):
        pnr_share.gates("decoders-folded", TINY)
