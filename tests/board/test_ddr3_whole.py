"""A board with DDR3 in a simulator, with the accelerator: from prompts to golden's tokens, levelled on the way."""

import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine_host.board.self_test import CASES
from olivine_host.cli import olivine as cli
from olivine_host.fpga.boards import BOARDS
from olivine_host.simulation.board import SimulatedBoard

from tests.host.lm_models import tiny_text, write_folder

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def board():
    with SimulatedBoard(TINY, BOARDS["ecpix5-85f"].dram) as board:
        yield board
    assert board.counts is not None and board.counts.errors == 0, board.log.read_text()
    assert board.counts.framing == 0 and board.counts.reads > 10_000


@pytest.mark.slow
def test_self_test_command(board):
    done = CliRunner().invoke(cli, ["board", "self-test", board.port, "--preset", "tiny"])
    assert done.exit_code == 0, done.output
    assert "registers: hold what is written" in done.output
    for case in CASES:
        assert f"{case.name}: equal to golden" in done.output


@pytest.mark.slow
def test_run_command(board, tmp_path):
    """From a model's folder to text, with the golden model beside it."""
    write_folder(tmp_path / "gpt2", tiny_text())
    done = CliRunner().invoke(cli, [
        "run", "--backend", f"serial:{board.port}", "--preset", "tiny", "--model", str(tmp_path / "gpt2"),
        "--calibration", str(tmp_path / "gpt2" / "held_out.txt"), "--prompt", "abc de", "--tokens", "2"])
    assert done.exit_code == 0, done.output
    assert "Board = golden: all 2 tokens" in done.output
