"""What stage Yosys and nextpnr are at, read off their logs."""

import re
from dataclasses import dataclass

__all__ = ["Stage", "YosysStages", "NextpnrStages"]


@dataclass(frozen=True)
class Stage:
    """Where a tool is.

    Parameters
    ----------
    name : str
    fraction : float or None
        Of this stage, if it can be told.
    """

    name: str
    fraction: float | None = None


class YosysStages:
    """``line`` by ``line`` of Yosys's log to stages: those of ``synth_ecp5`` have numbers like 2.17."""

    def line(self, line):
        """The `Stage` that begins with this line, or None."""
        found = re.match(r"(\d+)\.(\d+)?\.? ?Executing (\w+) ", line)
        return Stage(f"synthesis, {found.group(3).lower()}") if found else None


class NextpnrStages:
    """Lines of nextpnr's log to stages."""

    _MARKS = (
        (r"Packing (\w+)", "packing"),
        (r"Running Static placer", "placement"),
        (r"Strict legalising", "placement, cells to their sites"),
        (r"Running simulated annealing placer", "refining the placement"),
        (r"Routing globals", "routing clocks"),
        (r"Routing complete", "timing"),
    )

    def __init__(self):
        self._arcs = None

    def line(self, line):
        """The `Stage` that begins or goes on with this line, or None."""
        line = line.removeprefix("Info: ").strip()
        if found := re.match(r"iter=(\d+) steplen", line):
            return Stage(f"placement, round {found.group(1)}")
        # The other router; wires that nets share.
        if found := re.match(r"iter=(\d+) wires=\d+ overused=(\d+)", line):
            return Stage(f"routing, round {found.group(1)}, {int(found.group(2)):,} wires shared")
        if found := re.match(r"Routing (\d+) arcs", line):
            self._arcs = int(found.group(1))
            return Stage("routing", 0.0)
        # | re-routed with and without ripping up | differences | remaining | seconds
        if self._arcs and (found := re.match(r"\d+ \|[\d\s]+\|[\d\s]+\|\s*(\d+)\|", line)):
            return Stage("routing", max(0.0, 1 - int(found.group(1)) / self._arcs))
        return next((Stage(name) for pattern, name in self._MARKS if re.match(pattern, line)), None)
