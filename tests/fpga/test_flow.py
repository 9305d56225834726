"""The flow on designs that take seconds: files, bytes, reports, refusals."""

import json

import pytest
from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.units import UNITS
from olivine_host.cli import olivine as cli
from olivine_host.fpga import flow, summary
from olivine_host.fpga.boards import BOARDS, board_design, harnessed
from olivine_host.fpga.delays import keep_delays
from olivine_host.fpga.progress import Stage

ULX3S, ECPIX5 = BOARDS["ulx3s-85f"], BOARDS["ecpix5-85f"]
TINY = PRESETS["tiny"]


class Counter(wiring.Component):
    """Counts what is given."""

    i: In(8)
    o: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.o + self.i)
        return m


class Many(wiring.Component):
    """So many cells of a kind, which nobody connects."""

    i: In(1)
    o: Out(1)

    def __init__(self, kind, count):
        self.kind, self.count = kind, count
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        for index in range(self.count):
            m.submodules[f"cell_{index}"] = Instance(self.kind, a_keep=1)
        m.d.sync += self.o.eq(self.i)
        return m


def counter(board=ULX3S, mhz=100.0):
    return harnessed("counter", Counter(), board, "", mhz)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A build folder of the test's own."""
    monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path / "build"))
    return tmp_path / "build"


def through(design, **options):
    return flow.place_and_route(flow.synthesize(flow.prepare(design)), **options)


def test_plan_of_a_board():
    plan = flow.prepare(counter())
    assert plan.options == ["--85k", "--package", "CABGA381", "--speed", "6"]
    assert set(plan.files) == {"top.il", "top.ys", "top.lpf"}
    lpf = plan.files["top.lpf"]
    assert 'FREQUENCY PORT "clk25_0__io" 100000000 HZ;' in lpf
    for port, site in (("scan_0__i__io", "R1"), ("scan_0__o__io", "B2"), ("clk25_0__io", "G2")):
        assert f'LOCATE COMP "{port}" SITE "{site}";' in lpf


def test_board_keeps_its_own_clock():
    lpf = flow.prepare(counter(ECPIX5, None)).files["top.lpf"]
    assert 'FREQUENCY PORT "clk100_0__io" 100000000.0 HZ;' in lpf


def test_options_of_the_other_board():
    assert flow.prepare(counter(ECPIX5)).options == ["--um5g-85k", "--package", "CABGA554", "--speed", "8"]


def test_inputs_name_no_machine():
    """The same text everywhere: source lines begin at a package."""
    text = flow.prepare(harnessed("queue", UNITS["queue"].build(TINY), ULX3S, "tiny")).files["top.il"]
    assert '"olivine/stream/queue.py:' in text and '"amaranth/lib/' in text
    assert '"/' not in text and "|/" not in text
    again = flow.prepare(harnessed("queue", UNITS["queue"].build(TINY), ULX3S, "tiny")).files["top.il"]
    assert again == text


def test_unknown_units_and_boards():
    with pytest.raises(ValueError, match="unit is 'nothing': allowed are core, linear"):
        board_design("ulx3s-85f", "nothing", TINY)
    with pytest.raises(ValueError, match="board is 'icestick': allowed are ulx3s-85f, ecpix5-85f"):
        board_design("icestick", "array", TINY)


def test_bitstream_twice_is_the_same_bytes(tmp_path, monkeypatch):
    """Counter, ULX3S, the whole flow, twice from nothing; the third time nothing runs."""
    made, stages = [], []
    for index in range(2):
        monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path / str(index)))
        synthesis = flow.synthesize(flow.prepare(counter()), stages.append)
        routed = flow.place_and_route(synthesis, seed=3, progress=stages.append)
        made.append((flow.pack(routed, stages.append) / "top.bit").read_bytes())
    assert made[0] == made[1] and len(made[0]) > 100_000
    names = [stage.name for stage in stages]
    for name in ("packing", "refining the placement", "routing", "timing", "bitstream"):
        assert names.count(name) >= 2, name
    assert any(name.startswith("synthesis, ") for name in names)

    report = routed.report
    assert report.met and report.clocks[0].target_mhz == 100
    assert report.cells("TRELLIS_IO") == 3
    # 8 + 2 * 16 of the harness, 16 of the counter, twice 6 on the way, and the platform's reset.
    assert 68 <= report.cells("TRELLIS_FF") <= 76
    assert report.paths and report.paths[0].delay <= 1_000 / report.fmax_mhz + 0.1
    told = summary.summary(routed)
    assert told["seed"] == 3 and told["timing_met"] and told["part"] == "LFE5U-85F-6BG381"
    assert json.loads(json.dumps(told)) == told

    def never(*arguments, **options):
        raise AssertionError("it is there already")
    monkeypatch.setattr(flow.subprocess, "Popen", never)
    assert through(counter(), seed=3).report == report
    with pytest.raises(AssertionError, match="already"):
        through(counter(), seed=4)


def test_too_many_of_a_kind(build):
    with pytest.raises(flow.DoesNotFit, match="157 MULT18X18D of 156") as caught:
        through(harnessed("many", Many("MULT18X18D", 157), ULX3S, ""))
    assert caught.value.over == {"MULT18X18D": (157, 156)}
    assert not list(build.glob("fpga/many-pnr*")), "known before nextpnr runs"


def test_nextpnr_finds_too_many(build, monkeypatch):
    """Its log says the same."""
    monkeypatch.setattr(flow.Synthesis, "overflows", {})
    with pytest.raises(flow.DoesNotFit, match="157 MULT18X18D of 156"):
        through(harnessed("many", Many("MULT18X18D", 157), ULX3S, ""))


def test_yosys_refuses(build):
    with pytest.raises(flow.FlowError, match="(?s)yosys .* failed on many.*no_such_cell.*log: "):
        flow.synthesize(flow.prepare(harnessed("many", Many("no_such_cell", 1), ULX3S, "")))


# --- The command --------------------------------------------------------------------------------------

def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["bitstream", *map(str, arguments)], prog_name="olivine")


@pytest.fixture
def routed(monkeypatch, tmp_path):
    """Replace the tools: a report with a given frequency, and a bitstream of some bytes."""
    def prepare(achieved, over=None):
        folder = tmp_path / "made"
        folder.mkdir()
        piece = {"type": "setup", "delay": 9.0, "from": {"cell": "harness.unit.row_0.sum_1_TRELLIS_FF_Q"},
                 "to": {"cell": "harness.unit.row_0.sum_1_TRELLIS_FF_Q"}}
        text = json.dumps({"utilization": {"TRELLIS_COMB": {"used": 1_234, "available": 83_640}},
                           "fmax": {"clk": {"achieved": achieved, "constraint": 125}},
                           "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [piece]}]})
        for name in ("log", "top.bit", "top.svf"):
            (folder / name).write_text(name)
        (folder / "report.json").write_text(text)
        # A flip-flop that feeds itself.
        (folder / "top.sdf").write_text(
            "(INTERCONNECT made.clk/CLKO harness.unit.row_0.sum_1/CLK (0:0:0) (0:0:0))\n"
            "(INTERCONNECT harness.unit.row_0.sum_1/Q harness.unit.row_0.sum_1/DI (8000:8000:8000) (0:0:0))\n"
            "(INSTANCE harness.unit.row_0.sum_1)\n(IOPATH CLK Q (500:500:500) (0:0:0))\n"
            "(SETUPHOLD (posedge DI) (posedge CLK) (0:0:0) (0:0:0))\n")
        keep_delays(folder / "top.sdf")

        def synthesize(plan, progress=None):
            large = plan.design.preset != "tiny" and over
            return flow.Synthesis(plan, folder, dict(over) if large else {}, 1.0)

        def place_and_route(synthesis, *, seed, mhz, progress):
            if synthesis.overflows:
                raise flow.DoesNotFit(synthesis.plan.design.name, synthesis.overflows)
            progress(Stage("routing", 0.5))
            report = flow.read_report(text, synthesis.plan.design.inner)
            return flow.Routed(synthesis.plan, folder, report, seed, 2.0)

        monkeypatch.setattr(flow, "synthesize", synthesize)
        monkeypatch.setattr(flow, "place_and_route", place_and_route)
        monkeypatch.setattr(flow, "pack", lambda routed, progress: folder)
    return prepare


ARRAY = ("--board", "ulx3s-85f", "--unit", "array", "--preset", "tiny", "--freq", "125")


def test_command_writes_what_was_made(routed, tmp_path):
    routed(130.5)
    done = run(*ARRAY, "--seed", "7", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    for text in ("1,234", "130.50", "met", "row_0", "sum_1", "top.bit: 7 bytes"):
        assert text in done.output, text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "top.bit", "top.svf", "summary.json", "report.json", "nextpnr.log", "synthesis.log"}
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["name"] == "ulx3s-85f-array-tiny" and told["seed"] == 7
    assert told["paths"][0]["from"] == "row_0.sum_1 (TRELLIS_FF)"


def test_command_fails_when_timing_is_not_met(routed, tmp_path):
    """And leaves no bitstream, not even an older one."""
    routed(124.9)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "top.bit").write_text("old")
    done = run(*ARRAY, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "1 registers, in 1 pairs of modules, later than 8.00 ns" in done.output and "8.50" in done.output
    assert "MISSED" in done.output and "clk reaches 124.90 MHz of 125.00: no bitstream" in done.stderr
    assert not (tmp_path / "out" / "top.bit").exists() and (tmp_path / "out" / "summary.json").exists()


def test_command_says_what_does_not_fit_and_what_would(routed):
    routed(130.0, over={"DP16KD": 300})
    done = run("--board", "ulx3s-85f", "--unit", "array", "--preset", "ecp5")
    assert done.exit_code == 1
    assert "300 DP16KD of 208" in done.output and "preset tiny would" in done.stderr


def test_nothing_smaller_fits(routed):
    """There is no preset smaller than tiny."""
    routed(130.0)
    assert summary.preset_that_fits("ulx3s-85f", "array", TINY) is None


def test_command_names_its_boards():
    from olivine_host.cli.bitstream import BOARD_NAMES
    assert set(BOARD_NAMES) == set(BOARDS)
    assert run("--board", "icestick").exit_code == 2


def test_every_pin_is_the_boards():
    """Both boards have the pins that a unit alone is given, and no resource of that name."""
    for board in BOARDS.values():
        platform = board.make_platform()
        assert platform.default_clk_frequency == board.clock_mhz * 1e6
        assert platform.lookup("scan", 0).name == "scan"
