"""What ``olivine run`` shows: a progress bar on a terminal, plain lines elsewhere, then a table."""

from contextlib import contextmanager
from statistics import mean

from olivine.control.job import TALLIES
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["View"]

PLAIN_WIDTH = 110
"""Columns of a table that does not go to a terminal."""


class View:
    """Shows a run as it goes; `run_model` calls `start` and `done` around each stage."""

    def __init__(self, console=None):
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, PLAIN_WIDTH)
        self._bar = self._task = None
        self._stages = {}
        self._finished = self._current = 0

    def say(self, line):
        self.console.print(line, markup=False, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def running(self, macs, stages):
        """Show progress over ``macs`` multiplies."""
        self._stages = stages
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description:32}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
                   TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._task = self._bar.add_task("", total=macs)
            yield
        self._bar = None

    @contextmanager
    def counting(self, what, total):
        """Show progress over ``total`` equal parts; gives the function to call after each."""
        if not self.console.is_terminal:
            yield lambda: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
                   TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)

    def start(self, layer, stage, macs):
        """A stage of so many multiplies begins."""
        self._current = macs
        if self._bar is not None:
            self._bar.update(self._task, description=f"layer {layer}, {self._stages[stage]}")

    def progress(self, fraction):
        """Part of the current stage that is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._finished + fraction * self._current)

    def done(self, stage):
        """A stage has ended; ``stage`` is its `StageReport`."""
        self._finished += self._current
        self._current = 0
        if self._bar is not None:
            self._bar.update(self._task, completed=self._finished)
        else:
            cycles = f", {stage.status['cycles']} cycles" if "cycles" in stage.status else ""
            self.say(f"layer {stage.layer}, {self._stages[stage.stage]}: {stage.shape}{cycles}, "
                     f"{stage.seconds:.1f} s")

    def table(self, reports, config):
        """One line for each stage and one for each encoder layer."""
        # Narrow enough for a terminal of 80 columns.
        table = Table(box=box.SIMPLE_HEAD, title="Cosine is to the same stage in PyTorch, in float",
                      title_justify="left", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column("layer")
        table.add_column("stage", no_wrap=True)
        for title in ("shape", "cosine", "RTL =\ngolden", "cycles", "utili-\nsation", "bus\nuse"):
            table.add_column(title, justify="right", no_wrap=True)
        for report in reports:
            for stage in report.stages:
                table.add_row(str(stage.layer), self._stages[stage.stage], stage.shape, f"{stage.cosine:.6f}",
                              {None: "-", True: "yes", False: "NO"}[stage.exact],
                              *_costs(stage.status, config))
            table.add_row(str(report.layer), "layer output", "", f"{report.cosine:.6f}", end_section=True)
        self.console.print(table)

    def sentences(self, texts, cosines):
        """Cosine of each sentence vector."""
        table = Table(box=box.SIMPLE_HEAD, title="Cosine of the sentence vectors to PyTorch's",
                      title_justify="left")
        table.add_column("cosine", no_wrap=True)
        table.add_column("sentence")
        for text, value in zip(texts, cosines, strict=True):
            table.add_row(f"{value:.6f}", text)
        self.console.print(table)

    def summary(self, reports, cosines, macs, name, seconds):
        """One paragraph: what ran, whether it is right, how close, what it cost."""
        stages = [stage for report in reports for stage in report.stages]
        attentions = sum(stage.stage == "attention" for stage in stages)
        parts = [f"{len(stages) - attentions} linear layers and the attention of {attentions} encoder layer(s), "
                 f"{macs / 1e6:.0f} million multiplies, ran on {name}."]
        if all(stage.exact for stage in stages):
            parts.append("Every result is bit for bit the golden model's.")
        elif name == "golden":
            parts.append("The golden integer model ran in place of the Verilog.")
        if all("cycles" in stage.status for stage in stages):
            parts.append(f"They took {sum(stage.status['cycles'] for stage in stages)} cycles.")
        if cosines is not None:
            parts.append(f"Cosine of the sentence vectors to PyTorch: {mean(cosines):.4f} on average, "
                         f"{min(cosines):.4f} at least.")
        else:
            parts.append(f"Cosine of the layer's output to PyTorch: {reports[-1].cosine:.4f}.")
        for tally, meaning in TALLIES.items():
            count = sum(stage.status.get(tally, 0) for stage in stages)
            if count:
                parts.append(f"{tally} is {count} ({meaning}).")
        parts.append(f"{seconds:.0f} s in all.")
        self.say(" ".join(parts))


def _costs(status, config):
    """Cycles, share of multiplier cycles that were useful, beats read per cycle."""
    if "cycles" not in status:
        return "-", "-", "-"
    cycles = status["cycles"]
    return (str(cycles), f"{status['array_useful'] / (cycles * config.multipliers):.3f}",
            f"{status['beats_read'] / cycles:.3f}")
