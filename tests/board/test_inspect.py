"""What `olivine doctor --board` says, of a bridge in Python: all that can be wrong behind it."""

import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.control.registers import BY_NAME
from olivine_host.board.inspect import core_constants, inspect, presets_like
from olivine_host.board.link import Link
from olivine_host.cli import olivine as cli

from tb.bridge.model import BridgeModel
from tests.bridge.device import Line, device


def model(config=PRESETS["ecp5"], ready=1):
    made = BridgeModel(bytearray(1 << 14), 14, config.bus_bytes)
    made.board = ready
    constants = core_constants(config) | {"registers": 1, "instructions": 1}
    made.registers = {BY_NAME["ID"].offset: int.from_bytes(b"OLVN", "little"), BY_NAME["STATUS"].offset: 0b10010, **{
        BY_NAME[name].offset: sum(constants[field.name] << field.low for field in BY_NAME[name].fields)
        for name in ("VERSION", "ARRAY", "BUS", "MODEL", "SEQUENCE", "CACHE", "BLOCKS")}}
    return made


def facts(made):
    with device(made) as terminal, Link(terminal.port, patience=5) as link:
        return {fact.name: fact for fact in inspect(link)}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_known(name):
    assert presets_like(core_constants(PRESETS[name])) == [name]
    found = facts(model(PRESETS[name]))
    assert found["core"].value.startswith(f"preset {name}: ") and not any(fact.wrong for fact in found.values())
    assert found["state"].value == "done, interrupt" and "ready" in found["memory"].value


def test_no_preset():
    made = model()
    made.registers[BY_NAME["ARRAY"].offset] += 1
    assert facts(made)["core"].value.startswith("no preset: 5 rows x 32 lanes")


def test_nothing_is_changed():
    made = model()
    facts(made)
    assert made.resets == 0 and all(value is None for _, _, value in made.done)


def test_what_is_wrong(monkeypatch):
    monkeypatch.setattr("olivine_host.board.inspect.READY_SECONDS", 0)
    assert "not ready" in facts(model(ready=0))["memory"].wrong
    made = model()
    made.registers[BY_NAME["ID"].offset] = 0
    assert "no core of Olivine" in facts(made)["core"].wrong
    del made.registers[BY_NAME["ID"].offset]
    assert "DECERR" in facts(made)["core"].wrong


def test_command():
    made = model()
    made.damaged, made.line = 7, 65_540
    with device(made, Line(3, flip=0.002)) as terminal:
        done = CliRunner(env={"COLUMNS": "160"}).invoke(cli, ["doctor", "--board", terminal.port])
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "preset ecp5" in words and "the board answers" in words and "4 (since power-up" in words
    made.registers[BY_NAME["ID"].offset] = 0
    with device(made) as terminal:
        done = CliRunner().invoke(cli, ["doctor", "--board", terminal.port])
    assert done.exit_code == 1 and "there is no core of Olivine behind the bridge" in done.stderr
