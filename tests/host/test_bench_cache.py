"""Cache benchmarks: limits by hand, scripts, records, the command; a fake core that runs golden stands for hardware."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from olivine.config import PRESETS, ConfigError
from olivine.control.job import COUNTERS, TALLIES, StatusCode
from olivine.core.descriptor import OPCODE_SETUP
from olivine_golden.cache_system import CacheSystem
from olivine_host.bench.cache_measure import together
from olivine_host.bench.cache_operations import OPERATIONS, CacheOperations
from olivine_host.bench.cache_workload import AppendDecode, ForkedDecode, HitterDecode, HitterPrefill, MixedDecode
from olivine_host.bench.measure import measure
from olivine_host.bench.records import compare
from olivine_host.bench.registry import BENCHMARKS
from olivine_host.cli import olivine
from olivine_host.simulation.activity import ActivityTrace
from olivine_host.simulation.run import JobResult, SimulationError

EDGE, TINY = PRESETS["edge"], PRESETS["tiny"]
SMALL = {"heads": 2, "head_dim": 8}

SHAPES = {
    "attention-decode-1024-h2o": HitterDecode(keys=30, **SMALL),
    "attention-decode-1024-h2o-ovp4": HitterDecode(keys=30, kv_format="ovp4_int", **SMALL),
    "attention-prefill-full-512-h2o": HitterPrefill(tokens=12, keys=20, **SMALL),
    "attention-decode-mixed": MixedDecode(lengths=(3, 8, 9, 17), **SMALL),
    "attention-decode-forked": ForkedDecode(prefix=16, suffixes=(3, 8, 9), **SMALL),
    "append-decode": AppendDecode(keys=20, **SMALL),
    "cache-operations": CacheOperations(layers=2, blocks=(1, 3), **SMALL),
}
ATTENDING = [name for name in SHAPES if name != "cache-operations"]


def small(name):
    return replace(BENCHMARKS[name], shape=SHAPES[name])


class GoldenCore:
    """Runs jobs on golden, each in 100 cycles, and is wrong if asked.

    A joined job begins 10 cycles after the one before it. ``harm`` is called with number, job, status and memory
    after each job, and may change status and memory.
    """

    name, progress = "golden", None

    def __init__(self, config, harm=None):
        self.config, self.harm, self.units, self.reports = config, harm, [], []

    def engine(self, unit):
        self.units.append(unit)
        return self

    def run_jobs(self, jobs, trace, progress):
        self.jobs, core, results, cycle = jobs, None, [], 0
        memory = bytearray(jobs[0].memory_bytes)
        for number, job in enumerate(jobs):
            for address, content in job.regions:
                memory[address:address + len(content)] = content
            start, size = job.output
            if not job.keeps:
                memory[start:start + size] = bytes([0xA5]) * size
            status = dict.fromkeys((*COUNTERS, *TALLIES), 1) | dict.fromkeys(TALLIES, 0)
            status |= {"code": StatusCode.OK, "detail": 0, "address": 0, "cycles": 90 + number}
            if job.descriptor & 0xff == OPCODE_SETUP:
                core = core or CacheSystem(self.config, self.geometry(job), memory)
            else:
                made = core.run(job.descriptor)
                status |= {"code": made.code, "detail": made.detail, **made.tallies}
                if made.handle:
                    status["address"] = made.handle.slot | made.handle.generation << 16
            if self.harm:
                self.harm(number, job, status, memory)
            cycle += 10 if job.joined else 1000
            results.append(JobResult(status, bytes(memory[start:start + size]), 100, cycle))
            if progress:
                progress(number, 50)
        return results

    @staticmethod
    def geometry(job):
        from olivine.core.descriptor import SetupDescriptor
        from olivine.kvcache.descriptor import CacheGeometry
        made = SetupDescriptor.from_bits(job.descriptor).geometry
        return {name: int(getattr(made[name], "value", made[name])) for name, _ in CacheGeometry}


# --- Shapes and limits --------------------------------------------------------------------------------

def test_named_benchmarks():
    shapes = {name: str(entry.shape) for name, entry in BENCHMARKS.items() if entry.shape.unit == "cache"}
    end = "12 heads, d 64, int8"
    assert shapes == {
        "attention-decode-1024-h2o": f"1 token, 1024 cells, 1023 kept, {end}",
        "attention-decode-1024-h2o-ovp4": "1 token, 1024 cells, 1023 kept, 12 heads, d 64, ovp4_int",
        "attention-prefill-full-512-h2o": f"512 tokens, 512 cells, {end}",
        "attention-decode-mixed": f"1 token each of sequences of 64, 65, 129, 333, 512, 1000, 1500, 2048 keys, {end}",
        "attention-decode-forked": "1 token each of 8 sequences, 1024 shared keys and 33, 65, 97, 129, 161, 193, 225, "
                                   f"257 own ones, {end}",
        "append-decode": f"1 token stored and attending, 1024 keys, {end}",
        "cache-operations": f"a sequence of 1 and 4 blocks, 12 layers, {end}",
    }
    short = {entry.shape.short for entry in BENCHMARKS.values() if entry.shape.unit == "cache"}
    assert {"1x1024 12h d64 int8", "8*1x64..2048 12h d64 int8", "8*1x(1024 + 33..257) 12h d64 int8"} < short
    assert {entry.engine for entry in BENCHMARKS.values()} == {"linear", "attention", "core"}
    for entry in BENCHMARKS.values():
        # Of the core a whole model is made.
        if entry.engine != "core":
            entry.shape.check(EDGE)


# Two heads of d 8, int8: a key and its value are 16 bytes, a query and a result 16 each. A cell's sum and position
# are 6 bytes.
@pytest.mark.parametrize("name, read, written, multiplies", [
    ("attention-decode-1024-h2o", 2 * (30 * 16 + 16 + 30 * 6), 2 * (16 + 30 * 6), 2 * 2 * 8 * 30),
    ("attention-decode-1024-h2o-ovp4", 2 * (30 * 8 + 16 + 30 * 6), 2 * (16 + 30 * 6), 2 * 2 * 8 * 30),
    # Chunks of 8 rows: two read the keys. Cells and the score job count nothing.
    ("attention-prefill-full-512-h2o", 2 * (2 * 20 * 16 + 12 * 16), 2 * 12 * 16, 2 * 2 * 8 * 12 * 20),
    ("attention-decode-mixed", 2 * (37 * 16 + 4 * 16), 2 * 4 * 16, 2 * 2 * 8 * 37),
    # The prefix is read once.
    ("attention-decode-forked", 2 * ((16 + 20) * 16 + 3 * 16), 2 * 3 * 16, 2 * 2 * 8 * (3 * 16 + 20)),
    # A key and a value come in 32 bytes and go in 16, then all are read.
    ("append-decode", 2 * (32 + 20 * 16 + 16), 2 * (16 + 16), 2 * 2 * 8 * 20),
])
def test_limits_by_hand(name, read, written, multiplies):
    assert TINY.chunk_rows == 8
    limit = SHAPES[name].script(TINY).limit
    assert (limit.bytes_read, limit.bytes_written, limit.multiplies) == (read, written, multiplies)


@pytest.mark.parametrize("make, message", [
    (lambda: HitterDecode(keys=0), "keys is 0: must be at least 1"),
    (lambda: HitterDecode(keys=2), "keys is 2: must be at least 3"),
    (lambda: MixedDecode(lengths=(3, 0)), r"lengths is \(3, 0\): must be at least 1"),
    (lambda: MixedDecode(lengths=()), r"lengths is \(\): must be at least 1"),
    (lambda: AppendDecode(head_dim=12), "head_dim is 12: must be a multiple of 8"),
    (lambda: AppendDecode(kv_format="fp8"), "kv_format is 'fp8': allowed are ovp4_int"),
    (lambda: AppendDecode().check(TINY), "head_dim is 64: preset 'tiny' holds at most 32"),
    (lambda: AppendDecode(keys=513, **SMALL).check(TINY), "the longest sequence is 513: preset 'tiny' holds at most"),
    (lambda: HitterDecode(keys=122, **SMALL).check(TINY), "the number of cells is 129: preset 'tiny' holds at most"),
    (lambda: MixedDecode(lengths=(8,) * 9, **SMALL).check(TINY), "the number of sequences is 9: preset 'tiny'"),
    (lambda: MixedDecode(lengths=(500, 20), **SMALL).check(TINY), "the number of blocks is 66: preset 'tiny' holds"),
    (lambda: ForkedDecode(prefix=12, **SMALL, suffixes=(3, 4)).check(TINY), "prefix is 12: must be a multiple of"),
])
def test_bad_shapes_are_refused(make, message):
    with pytest.raises((ValueError, ConfigError), match=message):
        make()


# --- Scripts ------------------------------------------------------------------------------------------

def test_a_full_budget_drops_one():
    script = SHAPES["attention-decode-1024-h2o"].script(TINY)
    handle = 0, 0
    sequence = script.sequence(handle)
    assert (sequence.length, sequence.reserved, sequence.used, sequence.filled) == (29, 1, 29, 30)
    positions = script.golden.memory[script.memory.record(0, 0):][4 * 64:][:2 * 30]
    free = np.frombuffer(bytes(positions), "<u2") == 0xffff
    assert free.sum() == 1 and script.measured == [len(script.jobs) - 1]


@pytest.mark.parametrize("kv_format", ["int8", "int4", "ovp4_int", "ovp4_flint"])
def test_random_operands_spread_the_softmax(kv_format):
    script = AppendDecode(keys=60, heads=2, head_dim=32, kv_format=kv_format).script(TINY, seed=1)
    results = np.frombuffer(script.jobs[script.measured[-1]].expected, "<i2")
    tallies = script.jobs[script.measured[-1]].status.tallies
    assert results.std() > 20 and tallies["sat_score"] == tallies["sat_output"] == tallies["illegal"] == 0


def test_seeds_choose_operands():
    first, again, other = (SHAPES["append-decode"].script(TINY, seed).kept() for seed in (1, 1, 2))
    assert first == again != other


def test_forks_read_the_prefix_of_the_first():
    script = SHAPES["attention-decode-forked"].script(TINY)
    tables = [script.sequence((slot, 0)).table for slot in range(3)]
    assert tables[0][:2] == tables[1][:2] == tables[2][:2]
    assert len({block for table in tables for block in table[2:]}) == 1 + 1 + 2


# --- Records ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ATTENDING)
def test_golden_hardware_is_bit_exact(name):
    core = GoldenCore(TINY)
    record, trace, waves = measure(small(name), core)
    assert record["bit_exact"] is True and "differs" not in record and trace is waves is None
    assert core.units == ["attention"]
    measured = len(SHAPES[name].script(TINY).measured)
    # Joined jobs overlap, and the counters of all add up.
    assert record["cycles"] == 100 + 10 * (measured - 1) and record["bytes_read"] == 4 * measured
    assert (record["bit_exact"], record["unit"], record["seed"]) == (True, "cache", 0)
    json.dumps(record)


def test_record():
    record, _, _ = measure(small("append-decode"), GoldenCore(TINY), seed=5)
    assert record == {
        "name": "append-decode", "preset": "tiny", "simulator": "golden", "version": record["version"],
        "unit": "cache", "heads": 2, "head_dim": 8, "kv_format": "int8", "keys": 20, "seed": 5, "cycles": 110,
        "limit_cycles": 184, "ratio": round(184 / 110, 4), "limited_by": "read",
        "array_useful": round(2 / (110 * 16), 4), "array_busy": round(2 / 110, 4), "bytes_read": 8,
        "bytes_written": 8, "limit_bytes_read": 736, "limit_bytes_written": 64,
        "stalls": {name.removeprefix("stall_"): 2 for name in COUNTERS if name.startswith("stall_")},
        "bit_exact": True, "added_cycles": 10}


def wrong(record):
    return record["bit_exact"], record.get("differs")


def test_what_differs_is_named():
    name = "attention-prefill-full-512-h2o"
    script = SHAPES[name].script(TINY)
    attend, score = script.measured

    def output(number, job, status, memory):
        memory[job.output[0]] ^= number == attend

    def tally(number, job, status, memory):
        status["sat_score"] += number == score

    def handle(number, job, status, memory):
        status["address"] += job.what == "OPEN"

    def record(number, job, status, memory):
        memory[script.memory.record(0, 1)] ^= number == score

    for harm, where in ((output, [f"job {attend} (attend)"]), (tally, [f"job {score} (score)"]),
                        (handle, ["job 1 (OPEN)"]), (record, [f"memory, first at {script.memory.record(0, 1):#x}"])):
        assert wrong(measure(small(name), GoldenCore(TINY, harm))[0]) == (False, where), harm


def test_a_job_that_fails_ends_the_benchmark():
    def harm(number, job, status, memory):
        if number == 3:
            status |= {"code": StatusCode.REFUSED, "detail": 13}

    with pytest.raises(SimulationError, match=r"job 3 \(append 8\) ended with REFUSED, detail 13, address 0x0: golden"):
        measure(small("append-decode"), GoldenCore(TINY, harm))


def test_operations():
    record, _, _ = measure(small("cache-operations"), GoldenCore(TINY))
    assert record["bit_exact"] is True and list(record["operations"]) == list(OPERATIONS)
    assert record["blocks"] == [1, 3] and record["block_bytes"] == 4096
    script = SHAPES["cache-operations"].script(TINY)
    for name, cycles in record["operations"].items():
        numbers = [script.operations[blocks][name] for blocks in (1, 3)]
        assert [script.jobs[number].what for number in numbers] == [name.split()[0].rstrip(",")] * 2
        assert cycles == {"1": 90 + numbers[0], "3": 90 + numbers[1]}
        assert record["per_block"][name] == round((numbers[1] - numbers[0]) / 2, 1)


def test_operations_move_what_they_should():
    """One copy for the fork, one place of the path, all blocks out and in."""
    script = SHAPES["cache-operations"].script(TINY)
    moves = []
    system = CacheSystem(TINY, script.memory.geometry, bytearray(script.memory.memory_bytes))
    original = system.cache.mover
    system.cache.mover = lambda move: (moves.append(type(move).__name__), original(move))[1]
    counts = []
    for job in script.jobs[1:]:
        for address, content in job.regions:
            system.memory[address:address + len(content)] = content
        before = len(moves)
        assert system.run(job.descriptor).ok
        counts.append(moves[before:])
    for blocks, numbers in script.operations.items():
        by_name = {name: counts[number - 1] for name, number in numbers.items()}
        assert by_name == {name: [] for name in OPERATIONS} | {
            "APPEND, copy on write": ["Copy"], "COMMIT by path": ["Place"], "SWAP_OUT": ["Copy"] * blocks,
            "SWAP_IN": ["Copy"] * blocks}


def test_compare_knows_operations_and_added_cycles():
    base = {"name": "a", "preset": "edge", "operations": {"OPEN": {"1": 5, "4": 6}}}
    assert compare([base], [{**base, "operations": {"OPEN": {"1": 5, "4": 9}}}]) == [("a", "OPEN, 4 blocks", 6, 9)]
    assert compare([{"name": "a", "added_cycles": 3}], [{"name": "a", "added_cycles": 4}]) == [
        ("a", "added_cycles", 3, 4)]


def traced(start, cycles, runs, scale):
    return JobResult({}, b"", cycles, start, ActivityTrace(np.array(runs), np.array(runs) * scale, cycles))


def test_traces_of_joined_jobs_become_one():
    # The second was accepted 20 cycles after the first; its log goes on where that of the first ends.
    trace = together([traced(1000, 50, [1, 5, 20, 30], 10), traced(1020, 90, [20, 30, 60], 7)])
    assert trace.starts.tolist() == [1, 5, 20, 30, 60] and trace.values.tolist() == [10, 50, 140, 210, 420]
    assert trace.cycles == 110
    # The second was accepted when the first had ended: it counts from itself.
    trace = together([traced(1000, 50, [1, 30], 10), traced(1060, 20, [1, 9], 7)])
    assert trace.starts.tolist() == [1, 30, 61, 69] and trace.cycles == 80


# --- The command --------------------------------------------------------------------------------------

def bench(*arguments):
    return CliRunner().invoke(olivine, ["bench", *map(str, arguments)])


def test_command_refuses():
    done = bench("append-decode", "--tokens", 3)
    assert done.exit_code == 2
    assert "append-decode has no --tokens: it has --heads, --head-dim, --kv-format, --keys" in done.output
    done = bench("append-decode", "--preset", "tiny")
    assert done.exit_code == 2 and "head_dim is 64: preset 'tiny' holds at most 32" in done.output


def test_command_shows_operations(monkeypatch, tmp_path):
    from olivine_host.simulation import backend

    class Backend(GoldenCore):
        def __init__(self, simulator, config, **_):
            super().__init__(config)

        def build(self, units):
            assert units == ["attention"]

    monkeypatch.setattr(backend, "SimulatedBackend", Backend)
    out = tmp_path / "bench.json"
    size = "--preset", "tiny", "--heads", 2, "--head-dim", 8
    done = bench("append-decode", *size, "--keys", 20)
    assert done.exit_code == 0 and "storing added 10 cycles" in done.output, done.output
    done = bench("cache-operations", *size, "--json", out)
    assert done.exit_code == 0 and "blocks: 4" in done.output and "APPEND, copy on write" in done.output, done.output
    assert [record["name"] for record in json.loads(out.read_text())] == ["cache-operations"]


@pytest.mark.slow
@pytest.mark.parametrize("simulator, arguments", [
    ("icarus", ["append-decode", "--keys", 20]), ("verilator", ["attention-decode-1024-h2o", "--keys", 30]),
])
def test_command_on_the_core(simulator, arguments, tmp_path):
    """The whole way: records, trace."""
    out, trace = tmp_path / "bench.json", tmp_path / "trace.json"
    done = bench(*arguments, "--preset", "tiny", "--simulator", simulator, "--heads", 2, "--head-dim", 8,
                 "--json", out, "--trace", trace)
    assert done.exit_code == 0, done.output
    record, = json.loads(out.read_text())
    assert record["bit_exact"] is True and 0 < record["ratio"] < 1
    steps = sum(event["dur"] for event in json.loads(trace.read_text())["traceEvents"]
                if event["name"] in ("QK", "PV"))
    assert record["array_busy"] == round(steps / record["cycles"], 4)
