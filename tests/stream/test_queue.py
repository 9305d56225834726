"""Queue and register slice, in simulation."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import signed
from amaranth.lib import data
from olivine.stream import Queue, Skid

from tests.simulate import run

PAYLOAD = data.StructLayout({"a": signed(5), "b": 3})
TESTS = 29


@pytest.mark.parametrize("shape, depth", [(8, 1), (8, 2), (PAYLOAD, 3), (8, 4), (1, 16), (64, 31), (64, 32), (32, 45)])
def test_queue(shape, depth):
    queue = Queue(shape, depth)
    run(queue, "tb.stream.queue", parameters={"DEPTH": depth, "LATENCY": queue.latency, "LEVEL": 1},
        expected=TESTS)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_queue_of_payloads_without_bits(depth):
    run(Queue(0, depth), "tb.stream.queue", parameters={"DEPTH": depth, "LATENCY": 1, "LEVEL": 1}, expected=TESTS)


@pytest.mark.parametrize("shape", [8, PAYLOAD, 0])
def test_skid(shape):
    run(Skid(shape), "tb.stream.queue", parameters={"DEPTH": 2, "LATENCY": Skid.latency}, expected=TESTS)


def test_on_verilator():
    run(Queue(16, 5), "tb.stream.queue", simulator="verilator",
        parameters={"DEPTH": 5, "LATENCY": 1, "LEVEL": 1}, expected=TESTS)


def test_large_queues_live_in_block_ram():
    assert not Queue(64, 31).in_block_ram
    assert not Queue(8, 64).in_block_ram
    assert Queue(64, 32).in_block_ram
    assert Queue(64, 32).latency == 2


@pytest.mark.parametrize("depth, block_rams", [(31, 0), (64, 2)])
def test_yosys_finds_the_block_ram(depth, block_rams, tmp_path):
    yosys = pytest.importorskip("pyosys.libyosys", reason="pyosys is not installed")
    source, report = tmp_path / "queue.il", tmp_path / "report.txt"
    source.write_text(rtlil.convert(Queue(64, depth), name="queue", emit_src=False))
    design = yosys.Design()
    for command in (f"read_rtlil {source}", "synth_ecp5 -top queue"):
        yosys.run_pass(f"tee -q -o {tmp_path / 'log.txt'} {command}", design)
    yosys.run_pass(f"tee -q -o {report} select -count t:DP16KD", design)
    assert f"{block_rams} objects" in report.read_text()


@pytest.mark.parametrize("depth, error, text", [
    (0, ValueError, "queue depth must be at least 1, not 0"),
    (-3, ValueError, "queue depth must be at least 1, not -3"),
    ("4", TypeError, "queue depth must be a positive integer, not '4'"),
    (True, TypeError, "queue depth must be a positive integer, not True"),
])
def test_queue_refuses(depth, error, text):
    with pytest.raises(error, match=text):
        Queue(8, depth)
