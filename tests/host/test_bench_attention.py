"""Attention benchmarks: limits by hand, shapes, operands, records, traces, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from olivine.attention.descriptor import OutputFormat
from olivine.config import PRESETS, ConfigError
from olivine.control.job import Activity, Stall, StatusCode
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine.units import UNITS
from olivine_host.attention_jobs import POISON, pack_partial
from olivine_host.bench.attention_workload import AttentionShape, random_attention
from olivine_host.bench.limits import attention_limit
from olivine_host.bench.measure import measure
from olivine_host.bench.perfetto import trace_events
from olivine_host.bench.plot import shares, write_plot
from olivine_host.bench.registry import BENCHMARKS
from olivine_host.cli import olivine
from olivine_host.jobs import pack_rows
from olivine_host.simulation.activity import ActivityTrace
from olivine_host.simulation.run import JobFailed, JobResult
from olivine_host.simulation.status import explain

EDGE, TINY = PRESETS["edge"], PRESETS["tiny"]
INT8, OVP = LaneFormat.INT8, LaneFormat.OVP4_INT
INT12, O16 = RowFormat.INT12, OutputFormat.INT16


# --- Limits -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("groups, options, read, written, multiplies", [
    # One row: keys and values of 64 bytes each, a query of 128 bytes.
    ([(1, 1000, 999)], {}, 1000 * 128 + 128, 128, 2 * 64 * 1000),
    # 65 rows are two chunks of 64.
    ([(65, 10, 0)], {}, 2 * 10 * 128 + 65 * 128, 65 * 128, 2 * 64 * 650),
    # Causal: the first chunk sees 64 keys, the second 100; row t sees t + 1.
    ([(100, 100, 0)], {"causal": True}, (64 + 100) * 128 + 100 * 128, 100 * 128, 2 * 64 * 5050),
    # Window 10: rows 64 to 99 see keys 55 to 99.
    ([(100, 100, 0)], {"causal": True, "window": 10}, (64 + 45) * 128 + 100 * 128, 100 * 128,
     2 * 64 * (45 + 91 * 10)),
    # Shared heads: 128 rows are 16 tokens, at positions 4 to 19; a chunk of 8 tokens sees 12, the next 20.
    ([(128, 20, 4)], {"causal": True, "heads": 8}, (12 + 20) * 128 + 128 * 128, 128 * 128,
     2 * 64 * 8 * sum(range(5, 21))),
    # Rows before the first key see nothing and read no key; log-sum-exps are written.
    ([(2, 7, -5)], {"causal": True, "lse": True}, 2 * 128, 2 * 132, 0),
])
def test_limits_by_hand(groups, options, read, written, multiplies):
    limit = attention_limit(EDGE, groups, 64, INT8, INT8, INT12, O16, **options)
    assert (limit.bytes_read, limit.bytes_written, limit.multiplies) == (read, written, multiplies)


def test_limits_count_formats_and_chunks_of_large_heads():
    # 4-bit keys, 8-bit values, int8 queries and results.
    limit = attention_limit(EDGE, [(1, 100, 0)] * 3, 64, OVP, INT8, RowFormat.INT8, OutputFormat.INT8)
    assert (limit.bytes_read, limit.bytes_written) == (3 * (100 * 96 + 64), 3 * 64)
    # Of head dimension 128 half as many row groups fit: 64 rows are two chunks.
    limit = attention_limit(EDGE, [(64, 100, 0)], 128, INT8, INT8, INT12, O16)
    assert limit.bytes_read == 2 * 100 * 256 + 64 * 256
    # Partial results: 3 + 3 * 64 words of 2 bytes.
    limit = attention_limit(EDGE, [(5, 100, 0)], 64, INT8, INT8, INT12, OutputFormat.PARTIAL)
    assert limit.bytes_written == 5 * 195 * 2


def test_a_job_has_the_limit_of_its_shape():
    shape = AttentionShape(9, 21, 6, 2, 16, "ovp4_int", causal=True, sequences=2)
    assert shape.job(TINY).limit() == shape.limit(TINY)


# --- Shapes -------------------------------------------------------------------------------------------

def test_named_benchmarks():
    shapes = {name: str(benchmark.shape) for name, benchmark in BENCHMARKS.items()
              if benchmark.shape.unit == "attention"}
    full = {f"attention-prefill-full-{s}": f"{s} tokens, {s} keys, 8 heads, d 64, int8" for s in (256, 512, 1024)}
    decode = {f"attention-decode-{s}{end}": f"1 tokens, {s} keys, 8 heads, d 64, {fmt}"
              for end, fmt in (("", "int8"), ("-ovp4", "ovp4_int")) for s in (256, 1024, 4096)}
    assert shapes == {
        **full, "attention-prefill-causal-512": "512 tokens, 512 keys, 8 heads, d 64, int8, causal", **decode,
        "attention-decode-gqa-1024-ovp4": "1 tokens, 1024 keys, 32 heads on 4 KV heads, d 64, ovp4_int"}


@pytest.mark.parametrize("changes, message", [
    ({"keys": 0}, "keys is 0: must be at least 1"),
    ({"heads": 12}, "heads is 12: must be a multiple of kv_heads, 8"),
    ({"head_dim": 60}, "head_dim is 60: must be a multiple of 8"),
    ({"kv_format": "fp8"}, "kv_format is 'fp8': allowed are ovp4_int, ovp4_flint, int4, int8"),
])
def test_bad_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(AttentionShape(1, 64), **changes)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="head_dim is 64: preset 'tiny' holds at most 32"):
        AttentionShape(1, 64).check(TINY)
    with pytest.raises(ConfigError, match="keys is 513: preset 'tiny' holds at most 512"):
        AttentionShape(1, 513, head_dim=8).check(TINY)


@pytest.mark.parametrize("fmt", ["ovp4_int", "ovp4_flint", "int4", "int8"])
def test_random_operands_spread_the_softmax(fmt):
    shape = AttentionShape(4, 200, 4, 2, 32, fmt)
    outputs, tallies = shape.job(TINY, seed=1).golden()
    assert tallies["sat_score"] == tallies["sat_output"] == tallies["sat_row"] == 0
    assert (tallies["illegal"] > 0) == fmt.startswith("ovp4")
    assert outputs[0].y.std() > 20
    groups = random_attention(shape, 1)
    assert len(groups) == 2 and groups[0].q.shape == (8, 32) and groups[0].position == 196
    assert np.array_equal(random_attention(shape, 1)[1].k_codes, groups[1].k_codes)
    assert not np.array_equal(random_attention(shape, 2)[1].k_codes, groups[1].k_codes)


# --- Records ------------------------------------------------------------------------------------------

class GoldenHardware:
    """Runs an `AttentionJob` by the golden model, in a given number of cycles, wrong if asked."""

    name = "golden"

    def __init__(self, config, flip=0, score=0):
        self.config, self.flip, self.score = config, flip, score

    def run(self, job, trace):
        outputs, tallies = job.golden()
        image = bytearray([POISON]) * job.output[1]
        for entry, output in zip(job.entries, outputs):
            content = pack_partial(output.partial, self.config.rows) if output.partial else \
                pack_rows(output.y, self.config.rows, RowFormat.INT16)
            start = entry["o"] - job.output[0]
            image[start:start + len(content)] = content
        image[-1] ^= self.flip
        tallies["sat_score"] += self.score
        counters = {"cycles": 1000, "array_busy": 500, "array_useful": 640, "beats_read": 7, "beats_written": 5,
                    "stall_lane": 3, "stall_softmax": 9}
        return JobResult({"code": StatusCode.OK, **counters, **tallies}, bytes(image), 1001)


BENCH = BENCHMARKS["attention-decode-gqa-1024-ovp4"].reshaped(keys=50, head_dim=16)


def test_record():
    record, _, _ = measure(BENCH, GoldenHardware(TINY), seed=5)
    read = 4 * (50 * 16 + 8 * 32)
    assert record == {
        "name": "attention-decode-gqa-1024-ovp4", "preset": "tiny", "simulator": "golden",
        "version": record["version"], "unit": "attention", "tokens": 1, "keys": 50, "heads": 32, "kv_heads": 4,
        "head_dim": 16, "kv_format": "ovp4_int", "causal": False, "sequences": 1, "seed": 5, "cycles": 1000,
        "limit_cycles": 3200, "ratio": 3.2, "limited_by": "multipliers", "array_useful": round(640 / 16000, 4),
        "array_busy": .5, "bytes_read": 28, "bytes_written": 20, "limit_bytes_read": read,
        "limit_bytes_written": 32 * 32, "stalls": {"lane": 3, "softmax": 9}, "bit_exact": True}


@pytest.mark.parametrize("fault", [{"flip": 1}, {"score": 1}])
def test_a_wrong_result_is_not_bit_exact(fault):
    record, _, _ = measure(BENCH, GoldenHardware(TINY, **fault))
    assert record["bit_exact"] is False


@pytest.mark.parametrize("status, message", [
    ({"code": StatusCode.BAD_FIELD, "detail": 6, "address": 0}, "field 'lse' holds a value"),
    ({"code": StatusCode.BAD_ENTRY, "detail": 10, "address": 0x40}, "entry at 0x40 has a field 'rows'"),
    ({"code": StatusCode.BAD_BASE, "detail": 0, "address": 0x1001}, "page at 0x1001 does not start"),
])
def test_failures_are_explained(status, message):
    assert message in explain(status, "attention")
    with pytest.raises(JobFailed, match=message.split("'")[0]):
        JobResult(status, b"", 1).check("attention")


# --- Traces and plots ---------------------------------------------------------------------------------

def activity(*runs, cycles):
    """A trace from (first cycle, fields)."""
    words = [Activity.const(fields).as_value().value for _, fields in runs]
    return ActivityTrace(np.array([start for start, _ in runs]), np.array(words), cycles)


STEP = {"busy": 1, "step": 1}
TRACE = activity((0, {"busy": 1}), (1, STEP), (5, {**STEP, "exp": 1}),
                 (7, {"busy": 1, "stall": Stall.SOFTMAX, "exp": 1}),
                 (8, {**STEP, "values": 1}), (12, {**STEP, "values": 1, "output": 1}), (14, {}), cycles=15)


def test_perfetto_shows_products_softmax_and_output():
    events = trace_events(TRACE, "a job", attention=True)
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    slices = [(names[event["tid"]], event["name"], event["ts"], event["dur"])
              for event in events if event["ph"] == "X"]
    assert slices == [
        ("job", "a job", 0, 15),
        ("array", "QK", 1, 6), ("array", "softmax at work", 7, 1), ("array", "PV", 8, 6),
        ("softmax", "probabilities", 5, 3), ("output", "results", 12, 2),
    ]
    assert list(names.values()) == ["job", "array", "drain", "softmax", "output", "read bus", "write bus"]


def test_linear_traces_have_no_track_of_attention():
    names = [event["args"]["name"] for event in trace_events(TRACE, "a job") if event["name"] == "thread_name"]
    assert names == ["job", "array", "drain", "read bus", "write bus"]


def test_shares_of_products(tmp_path):
    _, array, rates, values = shares(TRACE, bins=3)
    assert list(values) == [0, .4, .8] and list(array[Stall.NONE]) == [.8, .8, .8]
    assert list(array[Stall.SOFTMAX]) == [0, .2, 0] and list(rates["softmax"]) == [0, .6, 0]
    assert list(rates["output"]) == [0, 0, .4]
    write_plot(tmp_path / "plot.svg", TRACE, "a job", attention=True)
    text = (tmp_path / "plot.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in ("QK", "PV", "softmax", "output", "softmax at work"))


# --- The command --------------------------------------------------------------------------------------

def bench(*arguments):
    return CliRunner().invoke(olivine, ["bench", *map(str, arguments)])


@pytest.mark.parametrize("arguments, message", [
    (["attention-decode-256", "--m", 3], "attention-decode-256 has no --m: it has --tokens, --keys, --heads"),
    (["linear-decode", "--keys", 3], "linear-decode has no --keys: it has --m, --k, --n"),
    (["--keys", 3, "--m", 3], "no benchmark has all of --keys, --m"),
    (["attention-decode-256", "--head-dim", 136], "head_dim is 136: preset 'edge' holds at most 128"),
    (["attention-decode-256", "--head-dim", 12], "head_dim is 12: must be a multiple of 8"),
    (["attention-decode-256", "--kv-heads", 3], "heads is 8: must be a multiple of kv_heads, 3"),
    (["--synth", "--no-causal"], "--synth simulates nothing: leave out --causal"),
])
def test_command_refuses(arguments, message):
    done = bench(*arguments)
    assert done.exit_code == 2 and message in done.output


@pytest.mark.skipif("attention" not in UNITS, reason="the attention engine is not there yet")
@pytest.mark.parametrize("arguments", [
    ["--tokens", 5, "--keys", 21, "--heads", 4, "--kv-heads", 2, "--kv-format", "ovp4_int", "--causal"],
    pytest.param(["--tokens", 3, "--keys", 40, "--heads", 2, "--kv-heads", 2, "--sequences", 2],
                 marks=pytest.mark.slow),
])
def test_command_on_the_engine(arguments, tmp_path):
    """The whole way on Icarus: records, trace, plot."""
    out = tmp_path / "bench.json"
    done = bench("attention-decode-256", "--preset", "tiny", "--simulator", "icarus", "--head-dim", 16, *arguments,
                 "--json", out, "--trace", tmp_path / "trace.json", "--plot", tmp_path / "plot.png")
    assert done.exit_code == 0, done.output
    record, = json.loads(out.read_text())
    assert record["bit_exact"] is True and 0 < record["ratio"] < 1
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    steps = sum(event["dur"] for event in events if event["name"] in ("QK", "PV"))
    assert record["array_busy"] == round(steps / record["cycles"], 4)
    assert {"QK", "PV", "probabilities", "results"} <= {event["name"] for event in events}
    assert (tmp_path / "plot.png").exists()
