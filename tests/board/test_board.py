"""A simulated board behind a pseudo-terminal, without an accelerator: all that a line and a host can do to it."""

import gc
import os
import select
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import serial
from click.testing import CliRunner
from olivine.bridge.frames import Operation
from olivine.config import PRESETS
from olivine.control.registers import BY_NAME
from olivine_host.board.frame import Frame
from olivine_host.board.link import Link, LinkError, NoAnswer, Noise
from olivine_host.board.memory_test import PATTERNS, test_memory
from olivine_host.board.self_test import check_registers
from olivine_host.board.serial_core import SerialCore, WrongCore
from olivine_host.cli import olivine as cli
from olivine_host.simulation import board as simulated
from olivine_host.simulation.board import SimulatedBoard, board_controller, build_board

from tests.board.stub import StubTop, stub_top

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")

TINY = PRESETS["tiny"]
PATIENCE = 3.0
"""A simulator shares its machine."""


@pytest.fixture(scope="module", autouse=True)
def program():
    """The stub's, for every simulated board here."""
    made = build_board(TINY, top=stub_top(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "build_board", lambda *arguments: made)
        yield made


@pytest.fixture(scope="module")
def board(program):
    with SimulatedBoard(TINY) as board:
        yield board
    assert board.counts is not None, board.log.read_text()
    assert board.counts.errors == 0, board.log.read_text()
    assert board.counts.framing == 0 and board.counts.writes > 5_000
    assert board.counts.restarts > 0, "resets initialise the chip again"


def connect(board, **options):
    return SerialCore(board.port, TINY, patience=PATIENCE, **options)


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, list(map(str, arguments)), prog_name="olivine")


def test_memory_and_its_refresh(board):
    """Content lives through rests, resets and other hosts."""
    with connect(board) as core:
        assert core.memory_bytes == 32 << 20
        regions = [(0, bytes(range(256)) * 3), ((32 << 20) - 8, b"theirend"), (0x123400, os.urandom(512))]
        core.write(*regions)
        assert [core.read(address, len(content)) for address, content in regions] == [r[1] for r in regions]
        core.reset()
    with connect(board) as core:
        assert [core.read(address, len(content)) for address, content in regions] == [r[1] for r in regions]


def test_patterns(board):
    with connect(board) as core:
        reports = list(test_memory(core, total=4096))
        assert [report.name for report in reports] == list(PATTERNS)
        assert all(report.wrong == 0 and report.explain(4) == "" and report.read >= 64 for report in reports)
        assert check_registers(core) == []


def test_registers(board):
    with connect(board) as core:
        core.write_register(BY_NAME["LENGTH"].offset, 77)
        assert core.read_register(BY_NAME["LENGTH"].offset) == 77
        core.reset()
        assert core.read_register(BY_NAME["LENGTH"].offset) == 0, "a reset reaches the core"


def test_reset_reaches_a_running_core(board):
    with connect(board) as core:
        core.write_register(BY_NAME["LENGTH"].offset, 1)
        core.write_register(BY_NAME["CONTROL"].offset, 1)
        assert core.read_register(BY_NAME["STATUS"].offset) & 1
        core.hang_seconds = 0.05
        assert core.wait().hangs
    with connect(board) as core:
        assert core.read_register(BY_NAME["STATUS"].offset) == 0
        core.write((64, bytes(64)))


def test_noise_between_and_in_frames(board):
    """What is no frame is dropped, counted, and does nothing."""
    with connect(board) as core:
        core.write((4096, b"unharmed" * 8))
    frame = Frame(Operation.WRITE_MEMORY, 9, 4096, 64, bytes(64)).pack()
    bad = bytearray(frame)
    bad[20] ^= 4
    with serial.Serial(board.port, 3_000_000) as line:
        for content in (os.urandom(300), bytes(bad), frame[:-9], b"\0" + frame[:30] + b"\0", os.urandom(2000) + b"\0"):
            line.write(content)
        line.flush()
    with Link(board.port, patience=PATIENCE) as link:
        assert link.status().damaged >= 2
        assert link.request(Operation.READ_MEMORY, 4096, 64) == b"unharmed" * 8


KILLED = """
import sys
from olivine.config import PRESETS
from olivine_host.board import SerialCore
core = SerialCore(sys.argv[1], PRESETS["tiny"], patience=3, loading=lambda done, total: print(done, flush=True))
core.write((0x10000, b"\\x5a" * (1 << 20)))
"""


def test_a_host_is_killed_in_the_middle_of_a_load(board):
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", KILLED, board.port], stdout=subprocess.PIPE, text=True) as host:
            done = [int(host.stdout.readline()) for _ in range(5)]
            os.kill(host.pid, signal.SIGKILL)
        assert done[-1] == 5 * 256
        with connect(board) as core:
            assert core.read(0x10000, 4 * 256) == b"\x5a" * 1024
            core.write((0x10000, bytes(64)))
            assert core.read(0x10000, 128) == bytes(64) + b"\x5a" * 64


def test_wrong_core(board):
    with pytest.raises(WrongCore, match="is not 'ecp5': it has rows 2, not 4; lanes 8, not 32"):
        SerialCore(board.port, PRESETS["ecp5"], patience=PATIENCE)
    with pytest.raises(LinkError, match="of memory are needed"):
        connect(board, memory_bytes=(32 << 20) + 1)


def test_wrong_baud_rate():
    """The host's bits are longer than the board's: it says what it looks like, and what to try."""
    with SimulatedBoard(TINY, line_divisor=13) as board:
        with pytest.raises((NoAnswer, Noise), match="baud rate"):
            Link(board.port, patience=0.3, tries=2)
        done = CliRunner().invoke(cli, ["doctor", "--board", "/dev/nowhere"])
        assert done.exit_code == 1 and "/dev/nowhere cannot be opened" in done.stderr


@pytest.mark.slow
def test_on_chip_memory(monkeypatch):
    program = build_board(TINY, None, 1 << 12, stub_top(TINY, None, 1 << 12))
    monkeypatch.setattr(simulated, "build_board", lambda *arguments: program)
    with SimulatedBoard(TINY) as board:
        with connect(board) as core:
            assert core.memory_bytes == 1 << 14
            assert not any(report.wrong for report in test_memory(core, total=1024))
    assert board.counts.framing == 0 and board.counts.bytes_in > 1000


# --- The commands -------------------------------------------------------------------------------------

def test_doctor(board):
    with connect(board):
        pass
    done = invoke("doctor", "--board", board.port)
    assert done.exit_code == 0, done.output
    for text in ("protocol 1, up to 256 bytes", "33,554,432 bytes, beats of 4, ready", "preset tiny: 2 rows x 8 lanes",
                 "nothing ran since the reset", "the board answers"):
        assert text in " ".join(done.output.split()), text


def test_memory_command(board):
    done = invoke("board", "memory", board.port, "--preset", "tiny", "--random", 2048, "--first", "0x10000", "--size",
                  "0x4000")
    assert done.exit_code == 0, done.output
    for name in PATTERNS:
        assert f"{name}: right" in done.output
    assert invoke("board", "memory", board.port, "--preset", "tiny", "--first", "2").exit_code == 2
    assert "'x' is no number" in invoke("board", "memory", board.port, "--preset", "tiny", "--first", "x").stderr


def test_simulate_command():
    done = invoke("board", "simulate", "--seconds", "0.2")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("/dev/") and ", 0 violations of the memory chip" in done.stderr


def test_a_simulation_that_ends_is_told(monkeypatch):
    monkeypatch.setattr(simulated, "build_board", lambda *arguments: "/bin/false")
    done = invoke("board", "simulate", "--seconds", "5")
    assert done.exit_code == 1 and "the simulation ended: see " in done.stderr


def test_a_simulation_ends_with_its_parent(program):
    """Even if that is killed."""
    text = ("import sys, olivine_host.simulation.board as board\n"
            "board.build_board = lambda *arguments: sys.argv[1]\n"
            "made = board.SimulatedBoard(None)\n"
            "print(made._process.pid, flush=True)\n"
            "made.wait()\n")
    with subprocess.Popen([sys.executable, "-c", text, str(program)], stdout=subprocess.PIPE, text=True) as parent:
        end = os.pidfd_open(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    # Readable when the process is over.
    assert select.select([end], [], [], 60)[0], "the simulation goes on"
    os.close(end)


def test_commands_on_a_wrong_port_or_preset(board):
    for arguments in (("board", "memory", board.port), ("board", "self-test", board.port)):
        done = invoke(*arguments, "--preset", "edge")
        assert done.exit_code == 1 and "is not 'edge'" in done.stderr and "Traceback" not in done.output
    done = invoke("board", "self-test", "/dev/nowhere")
    assert done.exit_code == 1 and "cannot be opened" in done.stderr


# --- The top ------------------------------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_top_refuses():
    with pytest.raises(ValueError, match="one of dram and words"):
        StubTop(TINY, 8)
    with pytest.raises(ValueError, match="one of dram and words"):
        stub_top(TINY, "sdr-32m", 1 << 12)
    with pytest.raises(ValueError, match="32 bits of data and 8 of ID: needed are 64"):
        StubTop(PRESETS["ecp5"], 8, dram=board_controller(TINY))
    with pytest.raises(ValueError, match="reaches into the scratchpad at 0xe000: addr_width 16 is too small"):
        stub_top(replace(TINY, addr_width=16), None, 1 << 14)
    gc.collect()    # what was refused goes here, and not in another test
