"""Benchmarks: limits by hand, records, traces, plots, comparison, the command."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.control.job import Activity, Stall, StatusCode
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import linear
from olivine_host.bench.limits import linear_limit
from olivine_host.bench.measure import measure
from olivine_host.bench.perfetto import trace_events, write_trace
from olivine_host.bench.plot import shares, write_plot
from olivine_host.bench.records import compare, read_records, write_records
from olivine_host.bench.registry import BENCHMARKS, find
from olivine_host.bench.workload import LinearShape, random_linear
from olivine_host.cli import olivine
from olivine_host.cli.bench import _named
from olivine_host.jobs import pack_rows
from olivine_host.simulation import designs
from olivine_host.simulation.activity import ActivityTrace
from olivine_host.simulation.run import JobResult

EDGE, TINY = PRESETS["edge"], PRESETS["tiny"]
INT8, INT12, INT16 = RowFormat
OVP, WIDE = LaneFormat.OVP4_INT, LaneFormat.INT8


# --- Limits -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("config, shape, read, written, cycles, limited_by", [
    # 512 KiB of weights, 16 multipliers and 7 bytes a channel, 1 KiB in; 16 bytes a beat.
    (EDGE, (1, 1024, 1024, OVP, Group.G64, INT8, INT8), 524288 + 16384 + 7168 + 1024, 1024, 34304, "read"),
    (EDGE, (1, 1024, 1024, WIDE, Group.CHANNEL, INT8, INT8), 1048576 + 7168 + 1024, 1024, 66048, "read"),
    # Four chunks of 64 rows, but 2^28 multiplies by 512 multipliers take longer.
    (EDGE, (256, 1024, 1024, OVP, Group.G64, INT8, INT8), 4 * (524288 + 16384 + 7168) + 262144, 262144,
     524288, "multipliers"),
    # 65 rows are two chunks. 130 steps are two groups of 128.
    (EDGE, (65, 130, 3, OVP, Group.G128, INT12, INT8), 2 * (195 + 6 + 21) + 65 * 130 * 2, 195, 1084, "read"),
    # An odd number of 4-bit weights ends in the middle of a byte.
    (TINY, (1, 3, 3, LaneFormat.INT4, Group.CHANNEL, INT8, INT8), 5 + 21 + 3, 3, 8, "read"),
    # 2 input channels, int16 results: writing takes longest.
    (TINY, (8, 2, 100, OVP, Group.CHANNEL, INT8, INT16), 100 + 700 + 16, 1600, 400, "write"),
])
def test_limits_by_hand(config, shape, read, written, cycles, limited_by):
    limit = linear_limit(config, *shape)
    assert (limit.bytes_read, limit.bytes_written) == (read, written)
    assert (limit.cycles, limit.limited_by) == (cycles, limited_by)
    m, k, n, *_ = shape
    assert limit.multiplies == m * k * n


# --- Benchmarks and their operands --------------------------------------------------------------------

def test_named_benchmarks():
    shapes = {name: str(benchmark.shape) for name, benchmark in BENCHMARKS.items()
              if benchmark.shape.unit == "linear"}
    assert shapes == {
        "linear-decode": "1 x 1024 x 1024, ovp4_int in groups of 64, int8 to int8",
        "linear-decode-int8": "1 x 1024 x 1024, int8 per channel, int8 to int8",
        "linear-prefill": "256 x 1024 x 1024, ovp4_int in groups of 64, int8 to int8",
    }
    assert [benchmark.name for benchmark in find(())] == list(BENCHMARKS)
    assert [benchmark.name for benchmark in find(("linear-prefill",))] == ["linear-prefill"]
    with pytest.raises(ValueError, match="benchmark is 'linear': allowed are linear-decode, "):
        find(("linear",))


def test_reshaped_keeps_what_is_not_given():
    shape = BENCHMARKS["linear-decode"].reshaped(m=3, k=None, format="int4").shape
    assert shape == LinearShape(3, 1024, 1024, format="int4")


@pytest.mark.parametrize("changes, message", [
    ({"k": 0}, "k is 0: must be at least 1"),
    ({"format": "fp8"}, "format is 'fp8': allowed are ovp4_int, ovp4_flint, int4, int8"),
    ({"group": "32"}, "group is '32': allowed are channel, 64, 128"),
    ({"x_format": "int16"}, "x_format is 'int16': row operands have 12 bits"),
])
def test_bad_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(LinearShape(1, 64, 64), **changes)


@pytest.mark.parametrize("group", ["channel", "64", "128"])
@pytest.mark.parametrize("fmt", ["ovp4_int", "ovp4_flint", "int4", "int8"])
def test_random_operands_use_the_range_of_results(fmt, group):
    shape = LinearShape(16, 300, 20, fmt, group, "int12", "int8")
    weights, x = random_linear(shape, seed=3)
    y, tallies = linear(x, weights, RowFormat.INT8)
    assert x.min() < -2000 and x.max() > 2000 and tallies["sat_row"] == 0
    assert 20 < y.std() < 60 and tallies["sat_output"] < .1 * y.size
    again, other = random_linear(shape, seed=3), random_linear(shape, seed=4)
    assert np.array_equal(again[1], x) and np.array_equal(again[0].codes, weights.codes)
    assert not np.array_equal(other[1], x)


class GoldenHardware:
    """Runs a `LinearJob` by the golden model, in a given number of cycles, wrong if asked."""

    name = "golden"

    def __init__(self, config, flip=0, illegal=0):
        self.config, self.flip, self.illegal = config, flip, illegal

    def run(self, job, trace):
        y, tallies = linear(job.x, job.weights, job.y_format, job.passes)
        image = bytearray(pack_rows(y, self.config.rows, job.y_format))
        image[-1] ^= self.flip
        tallies["illegal"] += self.illegal
        counters = {"cycles": 1000, "array_busy": 500, "array_useful": job.m * job.k * job.n, "beats_read": 7,
                    "beats_written": 5, "stall_lane": 3, "stall_row": 2, "stall_drain": 1, "stall_output": 0}
        return JobResult({"code": StatusCode.OK, **counters, **tallies}, bytes(image), 1001)


BENCH = BENCHMARKS["linear-decode"].reshaped(m=3, k=70, n=10)


def test_record():
    record, _, _ = measure(BENCH, GoldenHardware(TINY), seed=5)
    assert record == {
        "name": "linear-decode", "preset": "tiny", "simulator": "golden", "version": record["version"],
        "unit": "linear",
        "m": 3, "k": 70, "n": 10, "format": "ovp4_int", "group": "64", "x_format": "int8", "y_format": "int8",
        "seed": 5, "cycles": 1000, "limit_cycles": 163, "ratio": .163, "limited_by": "read",
        "array_useful": round(2100 / 16000, 4), "array_busy": .5, "bytes_read": 28, "bytes_written": 20,
        "limit_bytes_read": 350 + 20 + 70 + 210, "limit_bytes_written": 30,
        "stalls": {"lane": 3, "row": 2, "drain": 1, "output": 0}, "bit_exact": True,
    }


@pytest.mark.parametrize("fault", [{"flip": 1}, {"illegal": 1}])
def test_a_wrong_result_is_not_bit_exact(fault):
    record, _, _ = measure(BENCH, GoldenHardware(TINY, **fault))
    assert record["bit_exact"] is False


# --- Traces and plots ---------------------------------------------------------------------------------

def activity(*runs, cycles):
    """A trace from (first cycle, fields)."""
    words = [Activity.const(fields).as_value().value for _, fields in runs]
    return ActivityTrace(np.array([start for start, _ in runs]), np.array(words), cycles)


STEP = {"busy": 1, "step": 1}
TRACE = activity((0, {"busy": 1}), (1, {"busy": 1, "stall": Stall.LANE}), (4, {**STEP, "read_beat": 1}),
                 (6, {**STEP, "drain": 1}), (9, {"busy": 1, "stall": Stall.DRAIN, "drain": 1}),
                 (10, {"busy": 1, "stall": Stall.DONE}),
                 (11, {"busy": 1, "stall": Stall.DONE, "write_beat": 1}), (13, {}), cycles=14)


def test_perfetto_slices():
    events = trace_events(TRACE, "a job")
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    slices = [(names[event["tid"]], event["name"], event["ts"], event["dur"])
              for event in events if event["ph"] == "X"]
    assert slices == [
        ("job", "a job", 0, 14),
        ("array", "no weights", 1, 3), ("array", "step", 4, 5), ("array", "draining", 9, 1),
        ("array", "results on their way", 10, 3),
        ("drain", "drain", 6, 4), ("read bus", "beats", 4, 2), ("write bus", "beats", 11, 2),
    ]


def test_perfetto_curves_are_shares_of_a_window():
    long = activity((1, {**STEP, "read_beat": 1}), (601, STEP), (1001, {"busy": 1}), cycles=1201)
    curve = [(event["ts"], event["args"]["share"]) for event in trace_events(long, "")
             if event["ph"] == "C" and event["name"] == "read bus in use"]
    assert curve[0] == (1, 1.0) and curve[-1] == (1197, 0.0) and len(curve) == 300
    assert dict(curve)[597] == 1.0 and dict(curve)[601] == 0.0


def test_trace_file_is_json_for_perfetto(tmp_path):
    write_trace(tmp_path / "folder" / "trace.json", TRACE, "a job")
    read = json.loads((tmp_path / "folder" / "trace.json").read_text())
    assert all({"name", "ph", "pid"} <= set(event) for event in read["traceEvents"])


def test_shares_of_time():
    edges, array, rates, values = shares(TRACE, bins=2)
    assert list(edges) == [0, 7, 14]
    assert list(array[Stall.LANE]) == [3 / 7, 0] and list(array[Stall.NONE]) == [3 / 7, 2 / 7]
    assert list(array[Stall.DRAIN]) == [0, 1 / 7] and list(array[Stall.DONE]) == [0, 3 / 7]
    assert list(rates["read bus"]) == [2 / 7, 0] and list(rates["write bus"]) == [0, 2 / 7]
    assert not values.any()
    # Logs start in cycle 1.
    edges, array, *_ = shares(activity((1, STEP), (3, {"busy": 1}), cycles=5), bins=2)
    assert list(edges) == [1, 3, 5] and list(array[Stall.NONE]) == [1, 0]


@pytest.mark.parametrize("kind, magic", [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_plot_is_a_picture(tmp_path, kind, magic):
    write_plot(tmp_path / f"plot.{kind}", TRACE, "a job")
    assert (tmp_path / f"plot.{kind}").read_bytes().startswith(magic)


# --- Records ------------------------------------------------------------------------------------------

def test_compare_finds_what_changed():
    base = {"name": "a", "preset": "edge", "simulator": "icarus", "m": 1, "cycles": 100, "bytes_read": 5}
    synth = {"name": "s", "preset": "ecp5", "dsp": True, "cells": {"LUT4": 10, "MULT18X18D": 2}}
    assert compare([base, synth], [{**base, "simulator": "verilator"}, synth]) == []
    assert compare([base], [{**base, "cycles": 90}]) == [("a", "cycles", 100, 90)]
    assert compare([base], [{**base, "m": 2}]) == [("a", "cycles", None, 100), ("a", "bytes_read", None, 5)]
    assert compare([synth], [{**synth, "cells": {"LUT4": 12, "CCU2C": 1}}]) == [
        ("s", "LUT4", 10, 12), ("s", "CCU2C", 0, 1), ("s", "MULT18X18D", 2, 0)]


def test_records_survive_a_file(tmp_path):
    write_records(tmp_path / "new" / "records.json", [{"name": "a"}])
    assert read_records(tmp_path / "new" / "records.json") == [{"name": "a"}]


@pytest.mark.parametrize("text, message", [("{", "is not JSON"), ("{}", "holds no list of records"),
                                           ("[{}]", "holds no list of records")])
def test_files_without_records_are_refused(tmp_path, text, message):
    (tmp_path / "records.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_records(tmp_path / "records.json")


# --- The cache of designs -----------------------------------------------------------------------------

def test_designs_are_made_once(monkeypatch, tmp_path):
    monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path))
    first = designs.cached_design("queue", TINY)
    assert first == designs.unit_design("queue", TINY)
    monkeypatch.setattr(designs, "unit_design", lambda *_: pytest.fail("made again"))
    assert designs.cached_design("queue", TINY) == first
    with pytest.raises(pytest.fail.Exception, match="made again"):
        designs.cached_design("queue", replace(TINY, windows=5))
    monkeypatch.setattr(designs, "gateware_digest", lambda: "changed")
    with pytest.raises(pytest.fail.Exception, match="made again"):
        designs.cached_design("queue", TINY)


# --- The command --------------------------------------------------------------------------------------

def bench(*arguments):
    return CliRunner().invoke(olivine, ["bench", *map(str, arguments)])


def test_command_lists_benchmarks_and_units():
    assert [line.split()[0] for line in bench("--list").output.splitlines()] == list(BENCHMARKS)
    assert "linear-folded" in bench("--list", "--synth").output


@pytest.mark.parametrize("arguments, message", [
    (["unknown"], "benchmark is 'unknown': allowed are linear-decode"),
    (["--k", 5000], "k is 5000: preset 'edge' holds at most 4096"),
    (["--x-format", "int16"], "'int16' is not one of"),
    (["--synth", "--m", 4, "--trace", "t"], "--synth simulates nothing: leave out --m, --trace"),
    (["--synth", "unknown"], "unit is 'unknown': allowed are array-int8"),
])
def test_command_refuses(arguments, message):
    done = bench(*arguments)
    assert done.exit_code == 2 and message in done.output


def test_several_benchmarks_write_several_files(tmp_path):
    assert _named(tmp_path / "t.json", "linear-decode", True) == tmp_path / "t-linear-decode.json"
    assert _named(tmp_path / "t.json", "linear-decode", False) == tmp_path / "t.json"


def test_command_on_the_engine(tmp_path):
    """The whole way on Icarus: records, trace, plot, comparison with itself."""
    out = tmp_path / "bench.json"
    arguments = ["linear-decode", "--preset", "tiny", "--simulator", "icarus", "--m", 3, "--k", 70, "--n", 20,
                 "--y-format", "int16"]
    done = bench(*arguments, "--json", out, "--trace", tmp_path / "trace.json",
                 "--plot", tmp_path / "plot.png")
    assert done.exit_code == 0, done.output
    record, = json.loads(out.read_text())
    assert record["bit_exact"] is True and record["simulator"] == "icarus"
    assert 0 < record["ratio"] < 1 and record["bytes_written"] >= 3 * 20 * 2
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    steps = sum(event["dur"] for event in events if event["name"] == "step")
    # 2 row groups, 3 panels.
    assert steps == 2 * 3 * 70 and record["array_busy"] == round(steps / record["cycles"], 4)
    reads = sum(event["dur"] for event in events if event["name"] == "beats" and event["cat"] == "read bus")
    assert reads * TINY.bus_bytes == record["bytes_read"]
    assert (tmp_path / "plot.png").exists()
    assert "All figures are those of" in bench(*arguments, "--compare", out).output


def test_command_fails_when_the_hardware_is_wrong(monkeypatch):
    from olivine_host.simulation import backend
    monkeypatch.setattr(backend, "SimulatedBackend", lambda simulator, config, **_: SimpleNamespace(
        build=lambda units: None, run=GoldenHardware(config, flip=1).run, config=config, name=simulator))
    done = bench("linear-decode", "--preset", "tiny", "--k", 64, "--n", 8)
    assert done.exit_code == 1 and "the results of linear-decode are not the golden model's" in done.output
