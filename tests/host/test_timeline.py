"""Timelines, scaling pictures, buffers: bars by hand, ranges, files, the command's options, the Verilog's memories."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.control.job import Activity, Stall
from olivine_host.bench import buffers
from olivine_host.bench.buffers import attention_buffers
from olivine_host.bench.records import read_records
from olivine_host.bench.registry import BENCHMARKS
from olivine_host.bench.scaling import KEYS, with_keys, write_scaling
from olivine_host.bench.timeline import LANES, bars, cycle_range, write_timeline
from olivine_host.cli import olivine
from olivine_host.simulation.activity import ActivityTrace
from olivine_host.simulation.designs import cached_design

DOCS = Path(__file__).parents[2] / "docs"


def activity(*runs, cycles):
    """A trace from (first cycle, fields)."""
    words = [Activity.const({"busy": 1, **fields}).as_value().value for _, fields in runs]
    return ActivityTrace(np.array([start for start, _ in runs]), np.array(words), cycles)


# One page: keys, two steps of QK, a wait for the softmax, PV, a result.
TRACE = activity(
    (1, {"stall": Stall.LANE, "read_beat": 1}), (3, {"step": 1, "read_beat": 1}),
    (5, {"stall": Stall.SOFTMAX, "drain": 1}), (7, {"stall": Stall.SOFTMAX, "exp": 1}),
    (9, {"step": 1, "values": 1, "exp": 1}), (10, {"stall": Stall.DRAIN}), (11, {"step": 1, "values": 1}),
    (12, {"stall": Stall.DONE, "output": 1}), (13, {"stall": Stall.DONE, "write_beat": 1}), cycles=15)


def test_bars_of_attention():
    assert bars(TRACE, attention=True) == [
        ("read bus", "beats", 1, 4),
        ("array", "no page", 1, 2), ("array", "QK", 3, 2), ("array", "softmax at work", 5, 4), ("array", "PV", 9, 1),
        ("array", "draining", 10, 1), ("array", "PV", 11, 1), ("array", "no chunk", 12, 3),
        ("drain", "drain", 5, 2), ("softmax", "probabilities", 7, 3), ("output", "results", 12, 1),
        ("write bus", "beats", 13, 2),
    ]


def test_bars_of_linear_layers_know_no_softmax():
    found = bars(TRACE)
    assert {lane for lane, *_ in found} == set(LANES) - {"softmax", "output"}
    assert [what for lane, what, *_ in found if lane == "array"] == [
        "no weights", "step", "softmax at work", "step", "draining", "step", "results on their way"]


def test_bars_are_cut_at_the_range():
    assert bars(TRACE, True, (4, 8)) == [
        ("read bus", "beats", 4, 1), ("array", "QK", 4, 1), ("array", "softmax at work", 5, 3),
        ("drain", "drain", 5, 2), ("softmax", "probabilities", 7, 1)]
    assert bars(TRACE, True, (14, 1000)) == [("array", "no chunk", 14, 1), ("write bus", "beats", 14, 1)]
    assert bars(TRACE, True, (None, 2)) == [("read bus", "beats", 1, 1), ("array", "no page", 1, 1)]
    with pytest.raises(ValueError, match="cycles begins at 15: the job has 15"):
        bars(TRACE, True, (15, None))


@pytest.mark.parametrize("text, cycles", [("3:9", (3, 9)), (":9", (None, 9)), ("3:", (3, None)), (":", (None, None))])
def test_cycle_range(text, cycles):
    assert cycle_range(text) == cycles


@pytest.mark.parametrize("text", ["", "3", "3:2", "3:3", "-3:4", "a:b", "1:2:3", ":0"])
def test_bad_ranges_are_refused(text):
    with pytest.raises(ValueError, match=f"cycles is '{text}'"):
        cycle_range(text)


@pytest.mark.parametrize("kind, magic", [("png", b"\x89PNG"), ("svg", b"<?xml")])
@pytest.mark.parametrize("attention", [True, False])
def test_timeline_is_a_picture(tmp_path, kind, magic, attention):
    path = tmp_path / "folder" / f"timeline.{kind}"
    write_timeline(path, TRACE, "a job", attention, (2, 12))
    first = path.read_bytes()
    assert first.startswith(magic)
    write_timeline(path, TRACE, "a job", attention, (2, 12))
    assert path.read_bytes() == first, "the same trace gives the same bytes"


def test_timeline_names_what_it_shows(tmp_path):
    """Text of an SVG is paths; the comment before them is the text."""
    write_timeline(tmp_path / "t.svg", TRACE, "a job", True, (2, 12))
    text = (tmp_path / "t.svg").read_text()
    for shown in (*LANES, "QK", "PV", "no page", "softmax at work", "draining"):
        assert f"<!-- {shown} -->" in text
    assert "<!-- no chunk -->" not in text, "it begins in cycle 12"


def test_scaling(tmp_path):
    benchmarks = with_keys(BENCHMARKS["attention-decode-256"].reshaped(tokens=64))
    assert [benchmark.shape.keys for benchmark in benchmarks] == list(KEYS) == [64, 128, 256, 512, 1024, 2048, 4096,
                                                                                8192]
    assert len({benchmark.name for benchmark in benchmarks}) == 8
    assert all(benchmark.shape.tokens == 64 for benchmark in benchmarks)
    records = [{"keys": keys, "cycles": 16 * keys + 1000, "limit_cycles": 16 * keys, "ratio": .9, "tokens": 64,
                "heads": 1, "head_dim": 64, "kv_format": "int8", "preset": "edge", "simulator": "golden"}
               for keys in KEYS]
    write_scaling(tmp_path / "s.png", records)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="benchmark is 'linear-decode': only attention has keys"):
        with_keys(BENCHMARKS["linear-decode"])


@pytest.mark.parametrize("arguments, message", [
    (["linear-decode", "--cycles", "3"], "cycles is '3': must be FIRST:LAST"),
    (["linear-decode", "--cycles", "3:4"], "--cycles is of --timeline"),
    (["--scaling", "s.png"], "--scaling draws one benchmark"),
    (["linear-decode", "--scaling", "s.png"], "only attention has keys"),
    (["array-int8", "--synth", "--timeline", "t.png", "--scaling", "s.png"], "leave out --timeline, --scaling"),
])
def test_command_refuses(arguments, message):
    done = CliRunner().invoke(olivine, ["bench", *arguments])
    assert done.exit_code == 2 and message in done.output


def test_command_draws_the_timeline(tmp_path):
    """On Icarus: the bars are the cycles that the record counts."""
    done = CliRunner().invoke(olivine, [
        "bench", "linear-decode", "--preset", "tiny", "--simulator", "icarus", "--m", "3", "--k", "70", "--n", "20",
        "--timeline", str(tmp_path / "t.png"), "--cycles", ":200", "--trace", str(tmp_path / "t.json")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


def test_buffers_are_the_memories_of_the_verilog():
    """All but memories of fewer than 256 bits, queues of chunks and bursts, the writer's queue and tables."""
    memories = Counter()
    text = cached_design("attention_engine", PRESETS["tiny"]).text
    for bits, depth in re.findall(r"reg \[(\d+):0\] \S+ \[(\d+):0\]", text):
        memories[int(depth) + 1, int(bits) + 1] += 1
    for name, (words, bits) in attention_buffers(PRESETS["tiny"]).items():
        # A queue in block RAM has its last word in a register.
        place = (words, bits) if memories[words, bits] else (words - 1, bits)
        assert memories[place] > 0, f"{name} of {words} x {bits}"
        memories[place] -= 1
    left = sum(words * bits * count for (words, bits), count in memories.items())
    tables = 34 * 256 + 21 * 256
    # Chunks, bursts, and words of the gearboxes.
    assert left - tables < 18_000, memories


def _documented(part):
    return re.search(f"<!-- {part}: begin -->\n(.*?)<!-- {part}: end -->", (DOCS / "attention.md").read_text(),
                     re.DOTALL)[1]


def test_documented_buffers(capsys):
    buffers.main()
    assert capsys.readouterr().out == _documented("buffers"), "print them by python -m olivine_host.bench.buffers"


def test_documented_scaling():
    """Figures and their file say the same, and grow by what a key must take."""
    records = read_records(DOCS / "figures" / "attention-scaling.json")
    lines = [f"| {record['keys']:,} | {record['cycles']:,} | {record['limit_cycles']:,} | {record['ratio']:.3f} |"
             for record in records]
    assert _documented("scaling").splitlines()[2:] == lines and all(record["bit_exact"] for record in records)
    cycles = {record["keys"]: record["cycles"] for record in records}
    assert 16 <= (cycles[8192] - cycles[256]) / (8192 - 256) < 16.01
