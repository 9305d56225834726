"""What ``olivine bench`` shows: progress on a terminal, plain lines elsewhere, tables at the end."""

from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["View"]

PLAIN_WIDTH = 140
"""Columns of a table that does not go to a terminal."""


class View:
    """Shows benchmarks as they run."""

    def __init__(self, console=None):
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PLAIN_WIDTH)
        self._bar = self._task = None

    def say(self, line):
        self.console.print(line, markup=False)

    @contextmanager
    def working(self, what):
        """While something runs of which no progress is known."""
        if self.console.is_terminal:
            with self.console.status(what):
                yield
        else:
            self.say(what)
            yield

    @contextmanager
    def running(self, what):
        """While a simulation runs that reports by `progress`."""
        if not self.console.is_terminal:
            self.say(what)
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
                   TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task(what, total=1.0)
            yield
        self._bar = None

    def progress(self, fraction):
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction)

    def _table(self, left, right):
        table = Table(box=box.SIMPLE_HEAD)
        for title in left:
            table.add_column(title, no_wrap=True)
        for title in right:
            table.add_column(title, justify="right")
        return table

    def records(self, records, shapes):
        """One line for each benchmark; ``shapes`` says by name what to call their shapes."""
        table = self._table(("benchmark", "shape"), ("cycles", "limit", "ratio", "limited by", "array useful",
                                                     "stalls", "RTL = golden"))
        for record in records:
            if "operations" in record:
                continue
            stalls = ", ".join(f"{name} {count}" for name, count in record["stalls"].items() if count)
            table.add_row(record["name"], shapes[record["name"]], str(record["cycles"]), str(record["limit_cycles"]),
                          f"{record['ratio']:.4f}", record["limited_by"], f"{record['array_useful']:.3f}",
                          stalls or "none", "yes" if record["bit_exact"] else "NO")
        if table.row_count:
            self.console.print(table)
        for record in records:
            if "added_cycles" in record:
                self.say(f"{record['name']}: storing added {record['added_cycles']} cycles to the attention.")
            if "differs" in record:
                self.say(f"{record['name']} differs in {', '.join(record['differs'])}.")
            if "operations" in record:
                self.operations(record)

    def operations(self, record):
        """Cycles of each operation on the cache, by blocks of the sequence."""
        blocks = [str(number) for number in record["blocks"]]
        table = self._table((f"{record['name']}, cycles",), (*(f"blocks: {number}" for number in blocks),
                                                             "each further block"))
        for name, cycles in record["operations"].items():
            table.add_row(name, *(f"{cycles[number]:,}" for number in blocks),
                          f"{record['per_block'][name]:,}" if "per_block" in record else "")
        self.console.print(table)
        self.say(f"A block has {record['block_bytes']:,} bytes. RTL = golden: {'yes' if record['bit_exact'] else 'NO'}")

    def cells(self, records):
        """One line for each synthesized unit."""
        kinds = ("LUT4", "CCU2C", "TRELLIS_FF", "MULT18X18D", "DP16KD")
        table = self._table(("unit", "multipliers"), (*kinds, "others", "LUTs", "decoders beside int8"))
        for record in records:
            cells = record["cells"]
            others = sum(count for kind, count in cells.items() if kind not in kinds)
            share = f"{record['decoder_share']:.1%}" if "decoder_share" in record else ""
            table.add_row(record["name"], "DSP" if record["dsp"] else "LUTs",
                          *(str(cells.get(kind, 0)) for kind in kinds), str(others), str(record["luts"]),
                          share)
        self.console.print(table)

    def changes(self, changes, path):
        """Differences to recorded figures."""
        if not changes:
            self.say(f"All figures are those of {path}.")
            return
        table = self._table(("benchmark", "figure"), (str(path), "now", "change"))
        for name, figure, old, new in changes:
            change = "new" if old is None else f"{new - old:+d}"
            if old:
                change += f" ({(new - old) / old:+.1%})"
            table.add_row(name, figure, "-" if old is None else str(old), str(new), change)
        self.console.print(table)
