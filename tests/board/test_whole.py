"""The whole board in a simulator: gateware, memory controller, chip and serial line, and a model through all of it."""

import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine_host.board.self_test import CASES, _where, self_test
from olivine_host.board.serial_core import PREFIX
from olivine_host.cli import olivine as cli
from olivine_host.cli.board import SERIAL
from olivine_host.compiler.model import CompiledModel
from olivine_host.device import Device
from olivine_host.generate.comparison import GoldenMachine
from olivine_host.generate.measure import differences, generate
from olivine_host.simulation.board import SimulatedBoard

from tests.host.lm_models import tiny_text, write_folder

pytest.importorskip("litedram", reason="needs LiteDRAM: pip install '.[fpga]'")

TINY = PRESETS["tiny"]
SMALL = CASES[0]
PATIENCE = 5.0
"""A simulator shares its machine."""


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_holds_the_self_test(preset):
    for case in CASES:
        assert CompiledModel(PRESETS[preset], case.model().with_cache(case.cache)).memory.end < 1 << 21


def test_self_test_finds_what_is_wrong(monkeypatch):
    """Golden in the place of a device, with a weight changed after golden computed what must come."""
    class Damaged(Device):
        def __init__(self, backend, **options):
            options.pop("patience", None)
            self.damaged = backend != "golden"
            super().__init__("golden", **options)

        def load(self, model, cache="int8"):
            if self.damaged:
                model.decoder.layers[0].up.bias[:] += 1 << 20
            return super().load(model, cache)

    monkeypatch.setattr("olivine_host.board.self_test.Device", Damaged)
    monkeypatch.setattr("olivine_host.board.self_test._where", lambda device, prompt: ["where"])
    result, = self_test("serial:nowhere", TINY, [SMALL], patience=1)
    assert result.wrong and result.wrong[-1] == "where" and result.tokens == 2


def test_self_test_names_the_stage():
    """The stages of the golden machine, of which one is changed."""
    decoder = SMALL.model().decoder

    class Engine:
        pass

    device = Engine()
    device.engine, device.decoder = GoldenMachine(TINY, decoder), SMALL.model().decoder
    assert _where(device, [3, 1]) == ["stage by stage, in a step of the first prompt's first tokens, all is equal"]
    device.decoder.layers[0].up.bias[:] += 1 << 20
    assert "is up of layer 0" in _where(device, [3, 1])[0]


@pytest.fixture(scope="module")
def board():
    with SimulatedBoard(TINY) as board:
        yield board
    assert board.counts is not None and board.counts.errors == 0, board.log.read_text()
    assert board.counts.framing == 0


@pytest.mark.slow
def test_generates(board):
    """`Device` on the serial port: golden's tokens and logits, and a second model after the first."""
    for case in CASES:
        prompts, options = [list(prompt) for prompt in case.prompts], {"max_new_tokens": case.tokens}
        with Device("golden", config=TINY) as golden:
            expected = generate(golden.load(case.model(), case.cache), prompts, **options)
        seen = []
        with Device(f"serial:{board.port}", config=TINY, patience=PATIENCE, progress=seen.append) as device:
            made = generate(device.load(case.model(), case.cache), prompts, **options)
            assert device.engine.core.link.counters.damaged == 0
        assert not differences(made, expected)
        assert made.cycles > 1000 and len(set(map(tuple, (one.tokens for one in made.completions)))) > len(prompts) // 2


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
    assert "Board = golden: all 2 tokens" in done.output and "generated tokens/s" in done.output


def test_run_command_refuses():
    for arguments, why in ((("--backend", "serial:"), "'serial:' is not one of 'golden'"),
                           (("--backend", "serial:/dev/x", "--trace", "t.json"), "--trace: a board records none"),
                           (("--backend", "serial:/dev/x", "--layer", "0"), "a board runs whole models")):
        done = CliRunner().invoke(cli, ["run", *arguments])
        assert done.exit_code == 2 and why in done.output, done.output


def test_names_of_backends_agree():
    assert SERIAL == PREFIX
