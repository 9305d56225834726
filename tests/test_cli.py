"""The command line: what it prints, what it writes, how it fails."""

import json
import subprocess
import sys
import types
from importlib import metadata

import olivine
import pytest
from click.testing import CliRunner
from olivine.units import UNITS
from olivine_host import toolchain
from olivine_host.cli import VERBS
from olivine_host.cli import doctor as doctor_module
from olivine_host.cli import olivine as cli


def run(*arguments):
    # Wide, so that no table wraps what is looked for.
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(cli, [str(argument) for argument in arguments], prog_name="olivine")


# --- The group ----------------------------------------------------------------------------------------

def test_help_names_every_verb():
    done = run("--help")
    assert done.exit_code == 0
    for verb, line in VERBS.items():
        assert verb in done.output and line.split()[0] in done.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    done = run(verb, "--help")
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Usage: olivine {verb}")


def test_version():
    assert run("--version").output.strip() == f"olivine, version {olivine.__version__}"
    assert metadata.version("olivine") == olivine.__version__


def test_unknown_verb():
    done = run("paint")
    assert done.exit_code == 2
    assert "no command 'paint': there are run, eval, verilog, test, bench, doctor, isa" in done.stderr


def test_help_loads_nothing_heavy():
    """Help must be quick: a process of its own tells what it imported."""
    code = ("import sys, click\n"
            "from olivine_host.cli import olivine\n"
            "try: olivine(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'numpy', 'amaranth', 'cocotb', 'transformers', 'rich'}\n"
            "print(sorted(heavy & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_broken_verb_breaks_no_other(monkeypatch):
    monkeypatch.setitem(VERBS, "missing", "A verb whose module is not there.")
    assert run("--help").exit_code == 0
    done = run("missing")
    assert done.exit_code == 2
    assert done.stderr.startswith("olivine: `missing` cannot be loaded: No module named")
    assert run("verilog", "--list").exit_code == 0


def _verb(monkeypatch, error):
    """A verb that raises an error."""
    import click

    @click.command("raises")
    def command():
        raise error

    module = types.ModuleType("olivine_host.cli.raises")
    module.command = command
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(VERBS, "raises", "Raises.")


@pytest.mark.parametrize("error", [ValueError("k is 0: allowed is 1 to 512"), OSError("disk is full"),
                                   toolchain.ToolMissing("no Verilator: install it")])
def test_mistakes_are_one_line(monkeypatch, error):
    _verb(monkeypatch, error)
    done = run("raises")
    assert done.exit_code == 2
    assert done.stderr == f"olivine: {error}\n"


def test_debug_shows_the_traceback(monkeypatch):
    _verb(monkeypatch, ValueError("k is 0"))
    done = run("--debug", "raises")
    assert isinstance(done.exception, ValueError)


@pytest.mark.parametrize("error", [RuntimeError("a fault of ours"), KeyError("x")])
def test_faults_keep_their_traceback(monkeypatch, error):
    _verb(monkeypatch, error)
    assert run("raises").exception is error


# --- verilog ------------------------------------------------------------------------------------------

def test_verilog_writes_text_and_ports(tmp_path):
    target = tmp_path / "new" / "queue.v"
    done = run("verilog", "--preset", "tiny", "--unit", "queue", "-o", target)
    assert done.exit_code == 0, done.output
    text = target.read_text()
    assert text.startswith(f"// Olivine {olivine.__version__}: olivine_queue\n")
    assert '// unit = "queue"\n// name = "tiny"\n' in text
    ports = json.loads((tmp_path / "new" / "queue.ports.json").read_text())
    assert ports["module"] == "olivine_queue"
    assert {"name": "i__payload", "direction": "input", "width": 32} == \
        {key: ports["ports"][2][key] for key in ("name", "direction", "width")}
    assert f"{len(ports['ports'])} ports" in done.output


def test_verilog_takes_a_configuration_file(tmp_path):
    variant = tmp_path / "wide.toml"
    variant.write_text('preset = "tiny"\nbus_bits = 64\n')
    target = tmp_path / "queue.v"
    done = run("verilog", "--config", variant, "--unit", "queue", "-o", target)
    assert done.exit_code == 0, done.output
    assert '// name = "wide"\n' in target.read_text() and "// bus_bits = 64\n" in target.read_text()


def test_verilog_lists_units():
    done = run("verilog", "--list")
    assert [line.split()[0] for line in done.output.splitlines()] == list(UNITS)
    assert done.output.count("(default)") == 1


@pytest.mark.parametrize("text, message", [
    ('preset = "tiny"\nrows = 3\n', "olivine: rows is 3: allowed are powers of two from 2 to 32"),
    ('preset = "tiny"\nrows = "2"\n', "variant.toml: rows must be int, not '2'"),
    ('preset = "tiny"\ncolumns = 1\n', "variant.toml sets 'columns': allowed are "),
    ('preset = "vast"\n', "olivine: preset is 'vast': allowed are 'tiny', 'ecp5', 'edge'"),
    ("rows: 2\n", "olivine: "),
])
def test_wrong_configuration_is_one_line(tmp_path, text, message):
    variant = tmp_path / "variant.toml"
    variant.write_text(text)
    done = run("verilog", "--config", variant, "--unit", "queue", "-o", tmp_path / "x.v")
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("olivine: ") and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x.v").exists()


def test_verilog_unknown_unit(tmp_path):
    done = run("verilog", "--unit", "toaster", "-o", tmp_path / "x.v")
    assert done.exit_code == 2
    assert done.stderr.startswith("olivine: unit is 'toaster': allowed are core, linear, ")


def test_verilog_without_output():
    done = run("verilog")
    assert done.exit_code == 2 and "Give -o FILE" in done.stderr


def test_verilog_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("verilog", "--preset", "tiny", "--unit", "queue", "-o", tmp_path / "file" / "x.v")
    assert done.exit_code == 2 and done.stderr.startswith("olivine: ")


# --- test ---------------------------------------------------------------------------------------------

@pytest.fixture
def pytest_line(monkeypatch):
    """What `olivine test` would start, without starting it."""
    lines = []

    def start(line, **options):
        lines.append(line)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr("olivine_host.cli.test.subprocess.run", start)
    return lines


def test_test_passes_its_options_on(pytest_line):
    done = run("test", "--slow", "-k", "queue", "-n", "3", "--waves", "tests/stream", "-x", "--maxfail=2")
    assert done.exit_code == 0, done.output
    line = pytest_line[0]
    assert line[1:3] == ["-m", "pytest"]
    assert line[line.index("-n"):] == ["-n", "3", "--slow", "--waves", "-k", "queue", "tests/stream", "-x",
                                       "--maxfail=2"]


def test_test_by_default(pytest_line):
    assert run("test", "-n", "0").exit_code == 0
    assert not {"--slow", "--waves", "-k", "-n"} & set(pytest_line[0])


def test_test_fails_when_pytest_does():
    """A real pytest, on what does not exist."""
    done = run("test", "-n", "0", "tests/no_such_folder")
    assert done.exit_code == 4
    assert "olivine test: not passed (pytest's code 4)" in done.stderr


def test_test_fails_when_nothing_matches():
    done = run("test", "-n", "0", "tests/test_config.py", "-k", "matches_nothing_at_all")
    assert done.exit_code == 5


# --- doctor -------------------------------------------------------------------------------------------

def test_doctor_is_content():
    done = run("doctor")
    assert done.exit_code == 0, done.output
    for name in ("python", "verilator", "icarus", "solver", "MiniLM", "text corpus"):
        assert name in done.output
    assert "everything that is required is here" in done.output


def test_doctor_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(toolchain, "find_icarus", lambda: None)
    monkeypatch.setattr(toolchain, "find_ccache", lambda: None)
    monkeypatch.setattr(doctor_module, "_package", lambda name: None if name == "torch" else "1.0")
    done = run("doctor")
    assert done.exit_code == 1
    assert done.stderr == "olivine doctor: missing torch, icarus\n", "ccache is not required"
    assert "apt-get install iverilog" in done.output and "pip install -e .[dev]" in done.output
    assert "missing (optional)" in done.output
