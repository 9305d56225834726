"""The native harness, on a stand-in engine whose timing is known to the cycle."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from olivine.config import PRESETS
from olivine.control.job import Activity, JobStatus, StatusCode
from olivine.linear.descriptor import LinearDescriptor, RowFormat
from olivine.verilog import Design, design
from olivine_golden.linear import linear
from olivine_host.bench.workload import LinearShape, random_linear
from olivine_host.simulation.activity import ActivityTrace
from olivine_host.simulation.backend import SimulatedBackend, Simulator, one_window
from olivine_host.simulation.memory import FILL, Undefined, read_image, write_image
from olivine_host.simulation.native import BuildError
from olivine_host.simulation.run import JobFailed, SimulationError
from olivine_host.simulation.status import decode_status

from tests.host.copy_engine import COPY, READ, WRITE, CopyEngine

CONFIG = PRESETS["tiny"]
BEAT = CONFIG.bus_bytes
SOURCE, TARGET = 0x1000, 0x4000
SIMULATORS = ("icarus", "verilator")


@pytest.fixture(scope="module")
def engine():
    return design(CopyEngine(CONFIG))


def job(mode, bursts, beats, *, source=SOURCE, target=TARGET, size=None, masked=0, seed=0):
    """Move bursts of beats; the output region is what is written, or ``size`` bytes."""
    size = (bursts * beats * BEAT if mode != READ else 1) if size is None else size
    content = np.random.default_rng(seed).integers(0, 256, 4096, np.uint8).tobytes()
    return SimpleNamespace(
        regions=[(SOURCE, content)], output=(TARGET, size), memory_bytes=0x8000, content=content,
        descriptor=LinearDescriptor.const({"m": bursts, "k": beats, "n": mode, "x": source, "y": target,
                                           "reserved": masked}).as_value().value)


def inverted(content, size):
    return bytes(byte ^ 0xFF for byte in content[:size])


# --- Memory images and status words -------------------------------------------------------------------

@pytest.mark.parametrize("word", [4, 16])
def test_image_is_little_endian_whole_words(tmp_path, word):
    write_image(tmp_path / "image", [(word * 8, bytes(range(1, word + 2))), (1, b"\x77")], word)
    lines = (tmp_path / "image").read_text().split()
    assert lines[0] == "@0" and lines[2] == "@8"
    assert lines[1] == f"{FILL:02x}" * (word - 2) + f"77{FILL:02x}"
    assert lines[3] == bytes(range(word, 0, -1)).hex()
    assert lines[4] == f"{FILL:02x}" * (word - 1) + f"{word + 1:02x}"


def test_image_survives_a_round_trip(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, 160, np.uint8).tobytes()
    write_image(tmp_path / "image", [(32, data)], 16)
    assert read_image(tmp_path / "image", 16) == data


def test_image_refuses_regions_in_one_word(tmp_path):
    with pytest.raises(ValueError, match="the region at address 6 shares a bus word"):
        write_image(tmp_path / "image", [(0, bytes(5)), (6, bytes(2))], 4)


def test_image_refuses_undefined_bits(tmp_path):
    (tmp_path / "image").write_text("// comment\n00000000\n0000xx00\n")
    with pytest.raises(Undefined, match="word 1 is 0000xx00"):
        read_image(tmp_path / "image", 4)


def test_status_is_decoded_by_its_layout():
    fields = {"code": StatusCode.TIMEOUT, "detail": 7, "address": 0x123456789A, "cycles": 1 << 47,
              "illegal": 0xFFFFFFFF}
    status = decode_status(JobStatus.const(fields).as_value().value)
    assert {name: status[name] for name in fields} == fields
    assert list(status) == [name for name, _ in JobStatus]


def test_one_window_opens_all_and_only_the_first():
    windows = one_window(CONFIG, 0xFFFF)
    one = 2 * CONFIG.addr_width + 2
    assert windows >> one == 0
    assert windows & 0xFFFFFFFF == 0 and windows >> CONFIG.addr_width & 0xFFFFFFFF == 0xFFFF
    assert windows >> 2 * CONFIG.addr_width == 3


# --- The harness --------------------------------------------------------------------------------------

@pytest.mark.parametrize("simulator", SIMULATORS)
def test_jobs_run_one_after_the_other(engine, simulator):
    """Data, statuses, and the latencies: 30 cycles from address to beat, and from last beat to response."""
    shapes = [(1, 1), (3, 4), (1, 64), (2, 7)]
    jobs = [job(COPY, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    results = Simulator(CONFIG, engine, simulator).run_jobs(jobs)
    for (bursts, beats), made, result in zip(shapes, jobs, results, strict=True):
        size = bursts * beats * BEAT
        assert result.output == inverted(made.content, size)
        assert result.status["code"] is StatusCode.OK
        # A burst: address, 30 to the first beat, the others, address, beats, 30 to the response.
        assert result.cycles == bursts * (1 + 30 + (beats - 1) + 1 + beats + 30) + 1
        assert result.status["cycles"] == result.cycles - 1
        assert result.status["beats_read"] == result.status["beats_written"] == bursts * beats


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_memory_gives_a_beat_a_cycle(engine, simulator):
    """Bursts in flight hide the latency: it is paid once."""
    read, write = Simulator(CONFIG, engine, simulator).run_jobs([job(READ, 64, 4), job(WRITE, 64, 4)])
    assert read.cycles == 1 + 30 + 64 * 4
    assert write.cycles == 1 + 64 * 4 - 1 + 30 + 1
    assert write.output == bytes(64 * 4 * BEAT)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_strobes_keep_bytes(engine, simulator):
    made = job(COPY, 1, 3, masked=0b0110)
    result, = Simulator(CONFIG, engine, simulator).run_jobs([made])
    expected = bytearray(inverted(made.content, 3 * BEAT))
    for beat in range(3):
        expected[beat * BEAT + 1:beat * BEAT + 3] = bytes([FILL, FILL])
    assert result.output == expected


def test_latencies_are_options(engine):
    simulator = Simulator(CONFIG, engine, "icarus", read_latency=1, write_latency=5)
    read, write = simulator.run_jobs([job(READ, 64, 1), job(WRITE, 64, 1)])
    assert (read.cycles, write.cycles) == (1 + 1 + 64, 1 + 64 - 1 + 5 + 1)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_activity_is_logged_cycle_by_cycle(engine, simulator):
    results = Simulator(CONFIG, engine, simulator).run_jobs([job(COPY, 2, 8), job(READ, 5, 3)], trace=True)
    for result, (reads, writes) in zip(results, [(16, 16), (15, 0)]):
        trace = result.trace
        assert trace.cycles == result.cycles and trace.starts[0] == 1
        assert trace.per_cycle("read_beat").sum() == reads
        assert trace.per_cycle("write_beat").sum() == writes
        assert trace.per_cycle("busy").sum() == result.cycles - 1
    first = results[0].trace
    # The first beat comes 30 cycles after the address of cycle 1.
    assert list(first.slices(first.field("read_beat")))[:3] == [(1, 30, 0), (31, 8, 1), (39, 69, 0)]


def test_both_simulators_log_the_same_activity(engine):
    traces = [Simulator(CONFIG, engine, simulator).run_jobs([job(COPY, 3, 5)], trace=True)[0].trace
              for simulator in SIMULATORS]
    assert np.array_equal(traces[0].starts, traces[1].starts)
    assert np.array_equal(traces[0].values, traces[1].values)


def test_progress_is_reported(engine):
    seen = []
    Simulator(CONFIG, engine, "icarus", progress_cycles=50).run_jobs(
        [job(COPY, 3, 4), job(COPY, 1, 1)], progress=lambda *report: seen.append(report))
    assert [cycles for number, cycles in seen if number == 0] == [50, 100, 150, 200, 208]
    assert seen[-1] == (1, 64)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_hang_is_reported(engine, simulator):
    jobs = [job(COPY, 1, 1), job(COPY, 0, 1, size=4)]
    with pytest.raises(SimulationError, match=r"job 1 hangs: no transfer on the bus up to cycle (299|30\d)"):
        Simulator(CONFIG, engine, simulator, hang_cycles=300).run_jobs(jobs)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_memory_ends(engine, simulator):
    outside = 1 << 28
    jobs = [job(COPY, 1, 2, source=outside), job(COPY, 1, 2, target=outside), job(COPY, 1, 2)]
    read, write, good = Simulator(CONFIG, engine, simulator).run_jobs(jobs)
    assert (read.status["code"], read.status["address"]) == (StatusCode.READ_DECERR, outside)
    assert (write.status["code"], write.status["address"]) == (StatusCode.WRITE_DECERR, outside)
    assert write.output == bytes([FILL]) * 2 * BEAT
    good.check()
    with pytest.raises(JobFailed, match="READ_DECERR: the bus answered the read of address 0x10000000"):
        read.check()


@pytest.mark.parametrize("excess", [1, BEAT])
def test_a_stray_write_is_an_error(engine, excess):
    size = 4 * BEAT - excess
    with pytest.raises(SimulationError, match=rf"wrote to address {TARGET + size:#x}, outside"):
        Simulator(CONFIG, engine, "icarus").run_jobs([job(COPY, 1, 4, size=size)])


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_burst_across_a_boundary_is_an_error(engine, simulator):
    with pytest.raises(SimulationError, match="breaks the bus protocol: a burst crosses 4 KiB"):
        Simulator(CONFIG, engine, simulator).run_jobs([job(COPY, 1, 2, source=0x2000 - BEAT)])


@pytest.mark.parametrize("port, value, message", [
    ("m_axi_arsize", "3'h1", "a beat is narrower or wider than the bus"),
    ("m_axi_awburst", "2'h0", "a burst is not INCR"),
    ("m_axi_wlast", "1'h0", "WLAST is in the wrong beat"),
])
def test_other_faults_on_the_bus_are_errors(engine, port, value, message):
    text, count = re.subn(rf"assign {port} = .*?;", f"assign {port} = {value};", engine.text)
    assert count == 1
    with pytest.raises(SimulationError, match=f"breaks the bus protocol: {message}"):
        Simulator(CONFIG, Design(engine.name, text, engine.ports), "icarus").run_jobs([job(COPY, 1, 2)])


def test_a_job_larger_than_the_memory_is_refused(engine):
    large = job(COPY, 1, 1)
    large.regions.append((0x100000, b"x"))
    with pytest.raises(ValueError, match="job 0 ends at byte 1048577: the memory has 65536"):
        Simulator(CONFIG, engine, "icarus").run_jobs([large])


def test_waves_are_kept(engine):
    result, = Simulator(CONFIG, engine, "icarus", waves=True).run_jobs([job(COPY, 1, 1)])
    assert "job_payload" in result.waves.read_text()


def test_a_build_error_shows_the_log(engine):
    broken = Design(engine.name, engine.text + "\nmodule broken(;\n", engine.ports)
    with pytest.raises(BuildError, match=r"copyengine does not build on icarus(?s:.*)syntax error"):
        Simulator(CONFIG, broken, "icarus").run_jobs([job(COPY, 1, 1)])


def test_a_design_without_a_bus_is_refused(engine):
    ports = [port for port in engine.ports if port["name"] != "m_axi_rdata"]
    with pytest.raises(ValueError, match="the design has no port 'm_axi_rdata'"):
        Simulator(CONFIG, Design(engine.name, engine.text, ports), "icarus").run_jobs([job(COPY, 1, 1)])


# --- Traces -------------------------------------------------------------------------------------------

def test_slices_merge_runs_of_equal_values():
    values = [Activity.const({"busy": 1, "stall": stall}).as_value().value for stall in (1, 2, 2)]
    trace = ActivityTrace(np.array([1, 4, 9]), np.array(values), 12)
    assert list(trace.slices(trace.field("busy"))) == [(1, 11, 1)]
    assert list(trace.slices(trace.field("stall"))) == [(1, 3, 1), (4, 8, 2)]
    assert list(trace.lengths) == [3, 5, 3]


# --- The linear engine --------------------------------------------------------------------------------

@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("fmt, group, y_format", [("ovp4_int", "64", "int8"), ("int8", "channel", "int16")])
def test_linear_jobs_equal_golden(simulator, fmt, group, y_format):
    seen = []
    backend = SimulatedBackend(simulator, CONFIG, progress=seen.append)
    weights, x = random_linear(LinearShape(11, 150, 21, fmt, group, "int12", y_format), seed=7)
    result = backend.run_linear(weights, x, RowFormat.INT12, RowFormat[y_format.upper()])
    passes = -(-11 // CONFIG.chunk_rows)
    expected, tallies = linear(x, weights, RowFormat[y_format.upper()], passes)
    assert np.array_equal(result.y, expected)
    assert {name: result.status[name] for name in tallies} == tallies
    assert result.status["array_useful"] == 11 * 150 * 21 and result.seconds > 0
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_a_failed_job_says_why():
    backend = SimulatedBackend("icarus", CONFIG)
    backend.options = {"windows": 0}
    weights, x = random_linear(LinearShape(1, 64, 8))
    with pytest.raises(JobFailed, match=r"GUARD_READ: a read at address 0x[0-9a-f]+ is outside the windows"):
        backend.run_linear(weights, x, RowFormat.INT8, RowFormat.INT8)
