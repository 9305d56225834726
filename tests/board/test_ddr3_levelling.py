"""The host's search for the read windows of DDR3: on a board made of numbers, and on simulated ones."""

import pytest
from click.testing import CliRunner
from olivine.board.ddr3_registers import BASE, INITIALISED, LANES, STATE, Phy
from olivine.bridge.frames import Operation
from olivine.config import PRESETS
from olivine_host.board import SerialCore, levelling
from olivine_host.board.frame import Identity, Status
from olivine_host.board.levelling import LevellingError, Window, level, longest_run
from olivine_host.board.link import Link
from olivine_host.board.memory_test import PATTERNS
from olivine_host.cli import olivine as cli
from olivine_host.simulation import board as simulated
from olivine_host.simulation.board import SimulatedBoard, build_board

from tests.board.stub import stub_top

TINY = PRESETS["tiny"]
PART = "mt41k256m16"
PATIENCE = 3.0


class Numbers:
    """A link to a memory whose lanes are read rightly with the settings of ``right``, by lane, as (delay, slip); with
    those of ``strobes`` besides its strobes come in time, and with those of ``data`` the bytes are right."""

    identity = Identity(0, 256, 4, 20)

    def __init__(self, right, strobes=(), data=(), initialised=True):
        self.right, self.strobes, self.data, self.initialised = right, set(strobes), set(data), initialised
        self.settings, self.chosen, self.state, self.memory = [(0, 0)] * len(right), 0, 0, b""

    def request(self, operation, address=0, count=0, payload=b""):
        if operation == Operation.WRITE_MEMORY:
            self.memory = payload
        elif operation == Operation.READ_MEMORY:
            found = bytearray(self.memory)
            for lane, setting in enumerate(self.settings):
                if setting not in self.right[lane] and setting not in self.data:
                    found[lane + len(self.right)] ^= 1
            return bytes(found)
        elif operation == Operation.WRITE_REGISTER:
            self._write(address, int.from_bytes(payload, "little"))
        else:
            return self._read(address).to_bytes(4, "little")
        return b""

    def _write(self, address, value):
        if address == STATE:
            self.state = value
            return
        register = Phy((address - BASE) // 4)
        if register == Phy.DLY_SEL:
            self.chosen = value
        for lane, (delay, slip) in enumerate(self.settings):
            if self.chosen >> lane & 1:
                self.settings[lane] = {
                    Phy.RDLY_DQ_RST: (0, slip), Phy.RDLY_DQ_INC: ((delay + 1) % 8, slip),
                    Phy.RDLY_DQ_BITSLIP_RST: (delay, 0), Phy.RDLY_DQ_BITSLIP: (delay, (slip + 1) % 4),
                }.get(register, (delay, slip))

    def _read(self, address):
        if address == STATE:
            return self.state | INITIALISED * self.initialised | len(self.right) << LANES
        assert Phy((address - BASE) // 4) == Phy.BURSTDET_SEEN and self.chosen == 0, "the lanes' clocks rest"
        return sum(1 << lane for lane, setting in enumerate(self.settings)
                   if setting in self.right[lane] or setting in self.strobes)


def _run_of(first, last, slip):
    return {(delay, slip) for delay in range(first, last + 1)}


def test_middle_of_the_longest_run():
    link, tried = Numbers([_run_of(0, 1, 0) | _run_of(3, 7, 2), _run_of(5, 5, 1)]), []
    assert level(link, lambda *so_far: tried.append(so_far)) == [Window(0, 2, 3, 7), Window(1, 1, 5, 5)]
    assert link.settings == [(5, 2), (5, 1)] and link.state == 1
    assert tried[0] == (1, 32) and tried[-1] == (32, 32)


def test_strobes_alone_or_data_alone_are_not_right():
    right = [_run_of(2, 4, 1), _run_of(6, 7, 0)]
    link = Numbers(right, strobes=_run_of(0, 7, 3), data=_run_of(0, 7, 2))
    assert [(window.delay, window.slip) for window in level(link)] == [(3, 1), (6, 0)]


def test_four_lanes():
    lanes = [_run_of(lane, lane + 2, lane) for lane in range(4)]
    link = Numbers(lanes)
    level(link)
    assert link.settings == [(lane + 1, lane) for lane in range(4)]


def test_no_window():
    link = Numbers([_run_of(0, 3, 0), set()])
    with pytest.raises(LevellingError, match="byte lane 1 .* all of 8 delays and 4 slips"):
        level(link)
    assert link.state == 0, "the board is not told that it is ready"


def test_what_changes_while_one_looks(monkeypatch):
    link = Numbers([_run_of(0, 3, 0)])

    def tried(done, altogether):
        if done == altogether:
            link.right[0].clear()

    with pytest.raises(LevellingError, match=r"byte lanes \[0\] are read wrongly where they were read rightly before"):
        level(link, tried)
    assert link.state == 0


def test_a_chip_that_never_is_initialised():
    with pytest.raises(LevellingError, match="not initialised after 0.02 seconds: its clock does not run"):
        level(Numbers([set()], initialised=False), init_seconds=0.02)


@pytest.mark.parametrize("delays, run", [
    ((), (0, -1)), ((3,), (3, 3)), ((0, 1, 4, 5, 6), (4, 6)), ((0, 1, 3, 4), (0, 1)), (range(8), (0, 7))])
def test_longest_run(delays, run):
    assert longest_run(set(delays)) == run


# --- A simulated board, without an accelerator ---------------------------------------------------------------------

@pytest.fixture(scope="module")
def program():
    pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")
    made = build_board(TINY, PART, top=stub_top(TINY, PART))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "build_board", lambda *arguments: made)
        yield made


@pytest.fixture
def board(program):
    with SimulatedBoard(TINY, PART) as board:
        yield board
    assert board.counts is not None and board.counts.errors == 0 and board.counts.framing == 0, board.log.read_text()


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "160"}).invoke(cli, list(map(str, arguments)), prog_name="olivine")


def test_level_command(board):
    done = invoke("board", "level", board.port)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[:2] == ["byte lane 0: slip 1, delays 3 to 6, 4 is set",
                                            "byte lane 1: slip 2, delays 5 to 7, 6 is set"]
    with Link(board.port, patience=PATIENCE) as link:
        assert link.status().memory_ready
    done = invoke("doctor", "--board", board.port)
    assert done.exit_code == 0 and "levelling" not in done.output, "once is enough"


def test_doctor_levels(board):
    done = invoke("doctor", "--board", board.port)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "byte lane 1: slip 2, delays 5 to 7" in text and "33,554,432 bytes, beats of 4, ready" in text


def test_memory_command_levels(board):
    done = invoke("board", "memory", board.port, "--preset", "tiny", "--random", 4096)
    assert done.exit_code == 0, done.output
    for name in PATTERNS:
        assert f"{name}: right" in done.output


def test_a_reset_is_followed_by_levelling(board):
    with SerialCore(board.port, TINY, patience=PATIENCE) as core:
        core.write((0x100, b"to be lost or not" * 8 + bytes(8)))
        core.reset()
        assert core.link.status().memory_ready
        core.write((0x100, bytes(range(128))))
        assert core.read(0x100, 128) == bytes(range(128))


def test_lines_that_are_too_long(program):
    """A board whose second lane comes later than any setting can meet."""
    with SimulatedBoard(TINY, PART, flight=(2, 9)) as board:
        for arguments in (("board", "level", board.port), ("doctor", "--board", board.port),
                          ("board", "memory", board.port, "--preset", "tiny")):
            done = invoke(*arguments)
            assert done.exit_code == 1 and "byte lane 1 of the memory is read wrongly" in done.output, done.output
        with Link(board.port, patience=PATIENCE) as link:
            assert not link.status().memory_ready


def test_simulate_command(program):
    done = invoke("board", "simulate", "--board", "ecpix5-85f", "--seconds", "0.2")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("/dev/") and ", 0 violations of the memory chip" in done.stderr


def test_a_board_without_ddr3_has_nothing_to_level(monkeypatch):
    class Other(Numbers):
        counters = None

        def __init__(self, *arguments, **options):
            super().__init__([])

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def status(self):
            return Status(0, 0, 0, 1, 0, 0, 0)

    monkeypatch.setattr("olivine_host.board.Link", Other)
    done = invoke("board", "level", "/dev/ttyUSB9")
    assert done.exit_code == 1 and "the board on /dev/ttyUSB9 has no memory that its host levels" in done.stderr


@pytest.mark.parametrize("flight, settings", [((1, 1), [(2, 0), (2, 0)]), ((4, 3), [(7, 3), (6, 2)])])
def test_other_lines(program, flight, settings):
    with SimulatedBoard(TINY, PART, flight=flight) as board, Link(board.port, patience=PATIENCE) as link:
        assert [(window.delay, window.slip) for window in levelling.level(link)] == settings
