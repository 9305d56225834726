"""FuseSoC's core file, and the generator that it names: as FuseSoC would call it."""

import json
import subprocess
import sys
from pathlib import Path

import olivine
import pytest
import yaml
from olivine.config import PRESETS
from olivine.units import DEFAULT_UNIT, UNITS

ROOT = Path(__file__).parent.parent.parent


def _core():
    text = (ROOT / "olivine.core").read_text()
    assert text.startswith("CAPI=2:\n"), "by this first line FuseSoC knows its files"
    return yaml.safe_load(text)


def test_core_file_is_consistent():
    core = _core()
    assert core["name"] == f"olivine::olivine:{olivine.__version__}"
    for entry in core["generate"].values():
        assert entry["generator"] in core["generators"]
        assert entry["parameters"]["unit"] in UNITS and entry["parameters"]["preset"] in PRESETS
    for target in core["targets"].values():
        assert set(target["generate"]) <= set(core["generate"])
        assert target.get("toplevel", f"olivine_{DEFAULT_UNIT}") == f"olivine_{DEFAULT_UNIT}"
    for generator in core["generators"].values():
        program = ROOT / generator["command"]
        assert program.exists() and program.read_text().startswith("#!/usr/bin/env python3")


def generate(folder, **parameters):
    """Run the generator in a folder, as FuseSoC does."""
    asked = folder / "asked.yml"
    asked.write_text(yaml.safe_dump({"gapi": "1.0", "vlnv": "::olivine-test:0", "files_root": str(folder),
                                     "parameters": parameters}))
    return subprocess.run([sys.executable, ROOT / "scripts" / "fusesoc-generator", asked.name], cwd=folder,
                          capture_output=True, text=True, check=False)


def test_generator_writes_a_core_and_its_files(tmp_path):
    (tmp_path / "mine.toml").write_text('preset = "tiny"\naddr_width = 24\n')
    done = generate(tmp_path, unit="reader", config="mine.toml")
    assert done.returncode == 0, done.stderr
    made, = tmp_path.glob("*.core")
    assert made.read_text().startswith("CAPI=2:\n")
    core = yaml.safe_load(made.read_text())
    assert core["name"] == "::olivine-test:0"
    fileset = core["filesets"][core["targets"]["default"]["filesets"][0]]
    text = (tmp_path / fileset["files"][0]).read_text()
    assert fileset["file_type"] == "verilogSource" and "module olivine_reader" in text
    ports = json.loads(next(tmp_path.glob("*.ports.json")).read_text())["ports"]
    widths = {field["name"]: field["width"] for port in ports for field in port.get("fields", ())}
    assert 24 in widths.values(), "the variant's address bits"


@pytest.mark.parametrize("parameters, why", [
    ({"units": "core"}, "parameter is 'units': allowed are unit, preset, config"),
    ({"unit": "nothing"}, "unit is 'nothing'"),
    ({"preset": "huge"}, "preset is 'huge'"),
])
def test_generator_refuses(tmp_path, parameters, why):
    done = generate(tmp_path, **parameters)
    assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.core"))
