"""What ``olivine bitstream`` shows: the stage on a terminal, plain lines elsewhere, tables at the end."""

import time
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["FlowView"]

PLAIN_WIDTH = 140
LATE = 20
KINDS = {"TRELLIS_COMB": "LUT4 (with carries)", "TRELLIS_FF": "flip-flops", "DP16KD": "block RAMs of 2 KiB",
         "MULT18X18D": "multipliers 18 x 18", "EHXPLLL": "PLLs", "TRELLIS_IO": "pins"}


class FlowView:
    """Shows a design as it goes through the tools."""

    def __init__(self, console=None):
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PLAIN_WIDTH)
        self._bar = self._task = self._last = None
        self._start = time.monotonic()

    def say(self, line):
        self.console.print(line, markup=False)

    @contextmanager
    def running(self, what):
        """While tools run that report by `progress`."""
        self._start, self._last = time.monotonic(), None
        if not self.console.is_terminal:
            self.say(what)
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task(what, total=None)
            yield
        self._bar = None

    def progress(self, stage):
        """Called with each `Stage`."""
        if self._bar is not None:
            self._bar.update(self._task, description=stage.name, completed=stage.fraction or 0,
                             total=None if stage.fraction is None else 1.0)
        elif (name := stage.name.split(",")[0]) != self._last:
            self._last = name
            self.say(f"  {time.monotonic() - self._start:6.0f} s  {name}")

    def _table(self, title, *columns):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for name, justify in columns:
            table.add_column(name, justify=justify, no_wrap=justify == "right")
        return table

    def report(self, report):
        """Cells of the part, clocks, the slowest path of each."""
        table = self._table(None, ("cells", "left"), ("used", "right"), ("of", "right"), ("share", "right"))
        for kind, what in KINDS.items():
            used, available = report.used.get(kind, (0, 0))
            if used:
                table.add_row(what, f"{used:,}", f"{available:,}", f"{used / available:.1%}")
        self.console.print(table)
        table = self._table(None, ("clock", "left"), ("target MHz", "right"), ("reached MHz", "right"),
                            ("slack ns", "right"), ("", "left"))
        for clock in report.clocks:
            table.add_row(clock.name, f"{clock.target_mhz:.2f}", f"{clock.achieved_mhz:.2f}", f"{clock.slack_ns:.2f}",
                          "met" if clock.met else "MISSED")
        self.console.print(table)

    def estimate(self, groups, limit_ns):
        """Slow paths before placement, by the modules that they join."""
        if not groups:
            self.say(f"No path is slower than {limit_ns:.1f} ns by estimate; a placement will make them longer.")
            return
        self._groups(f"Slower than {limit_ns:.1f} ns by estimate, before placement", groups)

    def late(self, clock, groups):
        """Registers that data reaches too late, by the modules that the paths join: the slowest `LATE`."""
        count, limit_ns = sum(group.count for group in groups), 1_000 / clock.target_mhz
        title = f"{clock.name}: {count:,} registers, in {len(groups):,} pairs of modules, later than {limit_ns:.2f} ns"
        self._groups(title + (f"; the slowest {LATE}" if len(groups) > LATE else ""), groups[:LATE])

    def _groups(self, title, groups):
        self.say(title)         # longer than a narrow table would hold in a line
        table = self._table(None, ("ns", "right"), ("endpoints", "right"), ("from", "left"), ("to", "left"))
        for group in groups:
            table.add_row(f"{group.ns:.2f}", f"{group.count:,}", str(group.start), str(group.end))
        self.console.print(table)

    def paths(self, report, count=1):
        """The slowest paths, step by step."""
        for path in report.paths[:count]:
            table = self._table(f"Slowest path, {path.delay:.2f} ns, {path.routing:.2f} of them wires",
                                ("ns", "right"), ("total", "right"), ("", "left"), ("module", "left"),
                                ("signal", "left"), ("cell", "left"), ("declared", "left"))
            for step in path.steps:
                if not step.delay and step.kind in ("logic", "routing"):
                    continue            # inside a carry chain or a wide LUT
                table.add_row(f"{step.delay:.2f}", f"{step.total:.2f}", step.kind, step.at.module, step.at.signal,
                              step.at.cell, step.source)
            self.console.print(table, markup=False)
