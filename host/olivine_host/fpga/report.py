"""What nextpnr reports: cells used, frequency of each clock, the slowest paths in the names of the gateware.

Yosys flattens a design, and names what it makes after nets of the source: ``row_1.product_3_TRELLIS_FF_Q_20`` is a
flip-flop behind bit 20 or so of ``product_3`` in the submodule ``row_1``. `place` takes such names apart.
"""

import json
import re
from dataclasses import dataclass

__all__ = ["Place", "Step", "Path", "Clock", "Report", "place", "read_report", "overflows",
           "ReportError"]

CELLS = ("TRELLIS_FF", "MULT18X18D", "ALU54B", "DP16KD", "TRELLIS_DPR16X4", "CCU2C", "PFUMX", "L6MUX21", "LUT4",
         "TRELLIS_IO", "EHXPLLL", "TRELLIS_COMB", "TRELLIS_RAMW")
"""Kinds of cells that Yosys and nextpnr append to names."""

_KINDS = re.compile(rf"[_$]({'|'.join(CELLS)})(?=_|\\$|$)")
_TIMES = 1_000


class ReportError(ValueError):
    """nextpnr's report is not what is expected of this version."""


@dataclass(frozen=True)
class Place:
    """Where a cell or net is.

    Parameters
    ----------
    module : str
        Submodules from the top of the unit, with dots; empty for the unit itself.
    signal : str
        Signal or memory of the source that it is named after.
    cell : str
        Kind of cell, empty if the name does not tell.
    """

    module: str
    signal: str
    cell: str

    def __str__(self):
        where = f"{self.module}.{self.signal}" if self.module else self.signal
        return f"{where} ({self.cell})" if self.cell else where


def place(name, inner=""):
    """The `Place` that a cell's or net's name tells; ``inner`` is a beginning to leave out."""
    # nextpnr's own: global buffers, and cells that it split.
    name = re.sub(r"^\$(glbnet|gbuf|PACKER_\w+?)\$", "", name).replace("$flatten\\", "").replace("\\", "")
    name = name.removeprefix(inner)
    kinds = _KINDS.findall(name)
    base = _KINDS.split(name, maxsplit=1)[0]
    # Dots in brackets belong to the signal.
    head = base.split("[", 1)[0]
    module, _, _ = head.rpartition(".")
    signal = base[len(module) + 1:] if module else base
    return Place(module, signal, kinds[-1] if kinds else "")


@dataclass(frozen=True)
class Step:
    """One piece of a path.

    Parameters
    ----------
    kind : str
        ``clk-to-q``, ``source``, ``logic``, ``routing``, ``setup``, ``hold``.
    delay, total : float
        Nanoseconds of the piece, and from the beginning to its end.
    at : Place
        The cell that it ends at.
    net : str
        Of ``routing``: the net's name.
    source : str
        File and line where the net is declared, if known.
    """

    kind: str
    delay: float
    total: float
    at: Place
    net: str = ""
    source: str = ""


@dataclass(frozen=True)
class Path:
    """The slowest path from one clock's flip-flops to another's."""

    start: str
    end: str
    steps: tuple

    @property
    def delay(self):
        return self.steps[-1].total

    @property
    def routing(self):
        """Nanoseconds of it that are wires."""
        return sum(step.delay for step in self.steps if step.kind == "routing")

    @property
    def modules(self):
        """Submodules that it passes, in order."""
        return list(dict.fromkeys(step.at.module for step in self.steps))

    def __str__(self):
        first, last = self.steps[0].at, self.steps[-1].at
        return f"{first} -> {last}: {self.delay:.2f} ns, {self.routing:.2f} of them wires"


@dataclass(frozen=True)
class Clock:
    name: str
    achieved_mhz: float
    target_mhz: float

    @property
    def slack_ns(self):
        return _TIMES / self.target_mhz - _TIMES / self.achieved_mhz

    @property
    def met(self):
        return self.achieved_mhz >= self.target_mhz


@dataclass(frozen=True)
class Report:
    """What came out.

    Parameters
    ----------
    used : dict
        ``(used, available)`` by kind of cell.
    clocks : tuple of Clock
        The slowest, measured by their targets, first.
    paths : tuple of Path
        From flip-flop to flip-flop; those of the first clock first.
    """

    used: dict
    clocks: tuple
    paths: tuple

    @property
    def met(self):
        """Whether every clock reaches its target."""
        return all(clock.met for clock in self.clocks)

    @property
    def fmax_mhz(self):
        """Of the clock that comes least close to its target."""
        return self.clocks[0].achieved_mhz

    def cells(self, kind):
        return self.used.get(kind, (0, 0))[0]


def _step(entry, total, inner):
    # Yosys's own cells name its library.
    source = next((source for source in entry.get("sources", ()) if ".py:" in source), "")
    return Step(entry["type"], entry["delay"], total, place(entry["to"]["cell"], inner), entry.get("net", ""), source)


def _path(entry, inner):
    total, steps = 0.0, []
    for piece in entry["path"]:
        total += piece["delay"]
        steps.append(_step(piece, total, inner))
    return Path(entry["from"], entry["to"], tuple(steps))


def read_report(text, inner=""):
    """nextpnr's ``--report``.

    Raises
    ------
    ReportError
        If a field is missing.
    """
    try:
        read = json.loads(text)
        used = {kind: (count["used"], count["available"]) for kind, count in read["utilization"].items()}
        # nextpnr names a clock after the net that it made for it.
        fmax = sorted(read["fmax"].items(), key=lambda item: item[1]["achieved"] / item[1]["constraint"])
        clocks = tuple(Clock(name.removeprefix("$glbnet$"), found["achieved"], found["constraint"])
                       for name, found in fmax)
        paths = [_path(entry, inner) for entry in read["critical_paths"] if entry["path"]]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ReportError(f"nextpnr's report is not as expected: {error!r}") from error
    own = [path for name, _ in fmax for path in paths
           if path.start.endswith(f" {name}") and path.end.endswith(f" {name}")]
    others = [path for path in paths if path not in own and "<async>" not in (path.start, path.end)]
    return Report(used, clocks, tuple(own + others))


def overflows(cells, capacity):
    """Kinds of cells of which there are more than the part has, as ``{kind: (used, available)}``."""
    return {kind: (cells.get(kind, 0), limit) for kind, limit in capacity.items() if cells.get(kind, 0) > limit}
