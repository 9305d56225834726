"""nextpnr's report and log: names, figures, paths, what is too much."""

import json

import pytest
from olivine_host.fpga.flow import full
from olivine_host.fpga.report import Place, ReportError, overflows, place, read_report


@pytest.mark.parametrize("name, inner, expected", [
    ("harness.unit.row_1.product_3_TRELLIS_FF_Q_20_DI_MULT18X18D_P20", "harness.unit.",
     Place("row_1", "product_3", "MULT18X18D")),
    ("harness.unit.row_operand[1]_TRELLIS_FF_Q_11", "harness.unit.", Place("", "row_operand[1]", "TRELLIS_FF")),
    ("harness.unit.linear.epilogue.total_LUT4_Z_3", "harness.unit.", Place("linear.epilogue", "total", "LUT4")),
    ("top.linear.sum_CCU2C_S0$CCU2_COMB0", "", Place("top.linear", "sum", "CCU2C")),
    ("$flatten\\linear.\\epilogue.$procdff$17", "", Place("linear.epilogue", "$procdff$17", "")),
    ("$glbnet$cd_sync.clk", "", Place("cd_sync", "clk", "")),
    ("linear.row.payload[a.b]_LUT4_A", "", Place("linear.row", "payload[a.b]", "LUT4")),
    ("tiles.memory.0.0", "", Place("tiles.memory.0", "0", "")),
    ("total", "", Place("", "total", "")),
])
def test_names_are_taken_apart(name, inner, expected):
    assert place(name, inner) == expected


def test_place_in_words():
    assert str(Place("row_1", "sum_3", "TRELLIS_FF")) == "row_1.sum_3 (TRELLIS_FF)"
    assert str(Place("", "sum_3", "")) == "sum_3"


def _piece(kind, delay, start, end, **more):
    return {"type": kind, "delay": delay, "from": {"cell": start, "loc": [1, 2], "port": "Q"},
            "to": {"cell": end, "loc": [3, 4], "port": "A"}, **more}


def _report(**changes):
    """Two clocks: `fast` reaches 200 MHz of 100, `slow` 50 of 60."""
    first, last = "unit.a.x_TRELLIS_FF_Q_1", "unit.b.y_TRELLIS_FF_Q_2"
    path = [_piece("clk-to-q", 0.5, first, first),
            _piece("routing", 17.5, first, last, net="unit.a.x[1]",
                   sources=["/usr/share/cells_map.v:9.1", "olivine/olive/array.py:20"]),
            _piece("setup", 0.0, last, last)]
    quick = [_piece("clk-to-q", 0.5, first, first), _piece("setup", 0.25, first, first)]
    return json.dumps({
        "utilization": {"TRELLIS_COMB": {"used": 10, "available": 100}, "DP16KD": {"used": 0, "available": 4}},
        "fmax": {"$glbnet$fast": {"achieved": 200.0, "constraint": 100},
                 "$glbnet$slow": {"achieved": 50.0, "constraint": 60}},
        "critical_paths": [
            {"from": "posedge $glbnet$fast", "to": "posedge $glbnet$fast", "path": quick},
            {"from": "posedge $glbnet$fast", "to": "posedge $glbnet$slow", "path": quick},
            {"from": "<async>", "to": "posedge $glbnet$slow", "path": quick},
            {"from": "posedge $glbnet$slow", "to": "posedge $glbnet$slow", "path": path}],
        **changes})


def test_report_is_read():
    report = read_report(_report(), "unit.")
    assert report.used == {"TRELLIS_COMB": (10, 100), "DP16KD": (0, 4)}
    assert report.cells("TRELLIS_COMB") == 10 and report.cells("MULT18X18D") == 0
    slow, fast = report.clocks
    assert (slow.name, slow.met, fast.name, fast.met) == ("slow", False, "fast", True)
    assert slow.slack_ns == pytest.approx(1_000 / 60 - 20) and fast.slack_ns == pytest.approx(5)
    assert not report.met and report.fmax_mhz == 50


def test_slowest_path_comes_first_and_pins_not_at_all():
    report = read_report(_report(), "unit.")
    assert [(path.start, path.end) for path in report.paths] == [
        ("posedge $glbnet$slow", "posedge $glbnet$slow"), ("posedge $glbnet$fast", "posedge $glbnet$fast"),
        ("posedge $glbnet$fast", "posedge $glbnet$slow")]
    path = report.paths[0]
    assert path.delay == pytest.approx(18.0) and path.routing == pytest.approx(17.5)
    assert path.modules == ["a", "b"]
    assert [step.total for step in path.steps] == pytest.approx([0.5, 18.0, 18.0])
    assert path.steps[1].source == "olivine/olive/array.py:20", "not that of Yosys's library"
    assert str(path) == "a.x (TRELLIS_FF) -> b.y (TRELLIS_FF): 18.00 ns, 17.50 of them wires"


def test_clock_just_at_its_target_is_met():
    report = read_report(_report(fmax={"clk": {"achieved": 60.0, "constraint": 60}}))
    assert report.met and report.clocks[0].slack_ns == 0


@pytest.mark.parametrize("text", ["{}", "not json", _report(fmax={"clk": {}})])
def test_other_reports_are_refused(text):
    with pytest.raises(ReportError, match="nextpnr's report is not as expected"):
        read_report(text)


def test_overflows():
    capacity = {"LUT4": 100, "DP16KD": 4, "MULT18X18D": 2}
    assert overflows({"LUT4": 100, "DP16KD": 5}, capacity) == {"DP16KD": (5, 4)}
    assert overflows({"LUT4": 101, "OTHER": 7}, capacity) == {"LUT4": (101, 100)}
    assert overflows({}, capacity) == {}


LOG = """\
Info: Device utilisation:
Info: \t          TRELLIS_IO:       3/    365     0%
Info: \t              DP16KD:     {}/    208   115%
Info: \t         TRELLIS_FF:    1710/  83640     2%
"""


def test_what_nextpnr_found_no_room_for(tmp_path):
    log = tmp_path / "log"
    log.write_text(LOG.format(240))
    assert full(log) == {"DP16KD": (240, 208)}
    log.write_text(LOG.format(200) + "ERROR: Unable to place cell 'a.b', no BELs remaining to implement cell type "
                                     "'DP16KD'\n")
    assert full(log) == {"DP16KD": (200, 208)}
    log.write_text(LOG.format(200) + "ERROR: something else\n")
    assert full(log) == {}
