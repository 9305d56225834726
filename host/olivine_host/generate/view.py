"""What ``olivine run`` shows of a generation: text as it comes, then tables."""

from contextlib import contextmanager

from olivine.control.job import COUNTERS
from olivine.control.registers import PROGRAM_COUNTERS
from rich import box
from rich.console import Console
from rich.table import Table

from .measure import CLOCK, STATES

__all__ = ["View"]

PLAIN_WIDTH = 110
"""Columns of a table that does not go to a terminal."""

WORDS = {"array_busy": "array takes a step", "stall_lane": "waits for weights, keys or values",
         "stall_row": "waits for rows", "stall_drain": "waits for the drain", "stall_output": "no room for results",
         "stall_softmax": "waits for the softmax", "stall_idle": "no engine holds the array"}
"""`STATES` for people."""

assert set(WORDS) == set(STATES) <= set(COUNTERS) | set(PROGRAM_COUNTERS)


class View:
    """Shows a generation.

    Parameters
    ----------
    console : Console or None
    """

    def __init__(self, console=None):
        self.console = console or Console(highlight=False)
        self.terminal = self.console.is_terminal
        if not self.terminal:
            self.console.width = max(self.console.width, PLAIN_WIDTH)
        self._status, self._prefix = None, ""

    def say(self, line):
        self.console.print(line, markup=False, soft_wrap=not self.terminal)

    # While it runs

    @contextmanager
    def working(self, line):
        """A line that says what takes time: with a spinner on a terminal, where it goes away afterwards."""
        if not self.terminal:
            self.say(line)
            yield
            return
        self._status, self._prefix = self.console.status(line), line
        with self._status:
            yield
        self._status = None

    def progress(self, cycles):
        """Cycles of the program that runs."""
        if self._status is not None:
            self._status.update(f"{self._prefix}: {cycles:,} cycles of this step")

    def loading(self, done, total):
        """Bytes moved to or from a board, of how many."""
        if self._status is not None:
            self._status.update(f"{self._prefix}: {done:,} of {total:,} bytes")

    @contextmanager
    def text(self, prompts, total):
        """Show text while it comes; gives the function for `Device.generate`'s ``stream``.

        One continuation streams; of several only how many tokens there are, their texts come afterwards.
        """
        if len(prompts) == 1:
            with self._streaming(prompts[0]) as stream:
                yield stream
            return
        count = 0

        def stream(number, token, text):
            nonlocal count
            count += 1
            self._prefix = f"{count} of at most {total} tokens"
            if self._status is not None:
                self._status.update(self._prefix)

        with self.working(f"{len(prompts)} continuations in one batch"):
            yield stream

    @contextmanager
    def _streaming(self, prompt):
        self._put(prompt, "bold")
        # The spinner would be in the way of the text: only while the prompt is read.
        waiting = self.working("the prompt") if self.terminal else None
        if waiting is not None:
            self.console.print()
            waiting.__enter__()

        def end_waiting():
            nonlocal waiting
            if waiting is not None:
                waiting.__exit__(None, None, None)
                waiting = None

        def stream(number, token, text):
            end_waiting()
            self._put(text)

        try:
            yield stream
        finally:
            end_waiting()
            self.console.print()

    def _put(self, text, style=None):
        self.console.print(text, style=style, end="", markup=False, highlight=False, soft_wrap=True)
        self.console.file.flush()

    # Afterwards

    def texts(self, prompts, completions):
        """The continuations of a batch."""
        for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            self.say(f"--- {number}")
            self.say(prompt + completion.text)

    def cycles(self, phases):
        """Cost of prefill and decode, and where the cycles went."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for title in ("", "steps", "tokens", "cycles", "cycles\na token", "least\npossible", "share of\nthe limit",
                      "limited by"):
            table.add_column(title, justify="right" if title not in ("", "limited by") else "left", no_wrap=True)
        for phase in phases:
            ratio = phase.ratio
            table.add_row(phase.name, f"{phase.steps:,}", f"{phase.tokens:,}", f"{phase.cycles:,}",
                          f"{phase.cycles / phase.tokens:,.0f}", "-" if phase.limit is None else f"{phase.limit:,}",
                          "-" if ratio is None else f"{100 * ratio:.1f} %", phase.limited_by)
        self.console.print(table)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column("where the cycles went")
        for phase in phases:
            table.add_column(phase.name, justify="right", no_wrap=True)
        for state in STATES:
            table.add_row(WORDS[state], *(f"{100 * phase.shares()[state]:.1f} %" for phase in phases))
        for name, words in (("beats_read", "read bus, of all cycles"), ("beats_written", "write bus, of all cycles")):
            table.add_row(words, *(f"{100 * phase.counters[name] / phase.cycles:.1f} %" for phase in phases),
                          style="dim")
        self.console.print(table)

    def speed(self, generation, phases, simulated=True):
        """One paragraph: tokens a second if the clock had 100 MHz, and how fast the simulation or the board was."""
        parts = []
        decode = next((phase for phase in phases if phase.name == "decode"), None)
        if decode is not None:
            parts.append(f"{decode.tokens * CLOCK / decode.cycles:,.0f} tokens/s in decode")
        parts.append(f"{generation.tokens * CLOCK / generation.cycles:,.0f} generated tokens/s with the prompt")
        self.say(f"At a clock of {CLOCK // 1_000_000} MHz (computed from the cycles): {', '.join(parts)}.")
        if simulated:
            self.say(f"Simulated in {generation.seconds:.0f} s: {generation.cycles / generation.seconds:,.0f} "
                     "cycles/s.")
        else:
            self.say(f"With programs and logits on the serial line it took {generation.seconds:.1f} s: "
                     f"{generation.tokens / generation.seconds:,.1f} generated tokens/s.")

    def stages(self, results, name):
        """Where the core, golden and float part."""
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column("layer", justify="right")
        table.add_column("stage")
        table.add_column(f"{name} = golden", justify="right")
        table.add_column("relative error\nof golden to float", justify="right")
        last = max(result.layer for result in results)
        for result in results:
            same = "yes" if not result.differ else f"NO: {result.differ:,} of {result.total:,} differ"
            table.add_row("" if result.layer in (-1, last) else str(result.layer), result.stage, same,
                          "-" if result.error is None else f"{result.error:.5f}")
        self.console.print(table)
