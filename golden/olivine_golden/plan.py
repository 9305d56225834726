"""Golden plan of a linear job: which descriptors are legal, what is fetched and written, in which order.

Everything is computed from the descriptor and the memory layouts (`olivine.linear.descriptor`) alone,
place by place: the gateware, which counts and adds as it goes, must arrive at the same sequences.
"""

from dataclasses import dataclass
from typing import NamedTuple

from olivine.linear.descriptor import OPCODE_LINEAR, RECORD_BYTES, Group, RowFormat, panel_bytes, run_steps
from olivine.olive.formats import LaneFormat

__all__ = ["illegal_field", "Job", "RowBlock", "ResultBlock", "Step"]


def illegal_field(config, fields):
    """Name of the first illegal field, in the order of the descriptor, or None.

    Parameters
    ----------
    config : AcceleratorConfig
    fields : dict of str to int
        Every field of a `LinearDescriptor`, as integers.
    """
    def address(name, alignment):
        value = fields[name]
        return value < 1 << config.addr_width and value % alignment == 0

    def container(name):
        return 1 if fields[name] == RowFormat.INT8.value else 2

    legal = {
        "opcode": fields["opcode"] == OPCODE_LINEAR,
        "x_format": fields["x_format"] in (RowFormat.INT8.value, RowFormat.INT12.value),
        "y_format": fields["y_format"] in [member.value for member in RowFormat],
        "group": fields["group"] in [member.value for member in Group],
        "group_shift": fields["group"] != Group.CHANNEL.value or fields["group_shift"] == 0,
        "m": fields["m"] >= 1,
        "k": 1 <= fields["k"] <= config.max_reduction,
        "n": fields["n"] >= 1,
        "x": address("x", container("x_format")),
        "w": address("w", config.bus_bytes),
        "y": address("y", container("y_format")),
        "reserved": fields["reserved"] == 0,
    }
    return next((name for name, fine in legal.items() if not fine), None)


class RowBlock(NamedTuple):
    """The row operands of one run and one context: ``words`` words of ``rows`` operands."""

    addr: int
    bytes: int
    rows: int
    words: int
    wide: bool      # int16 containers
    start: int      # first word in the scratchpad
    first: bool     # first block of a chunk


class ResultBlock(NamedTuple):
    """The results of one panel and one context."""

    addr: int
    bytes: int
    lanes: int
    rows: int


class Step(NamedTuple):
    """One step of the array, and its place in the job."""

    chunk: int
    panel: int
    run: int
    context: int
    half: int           # of the channels, where a byte takes two lanes
    step: int           # in the run
    steps: int          # of the run
    panel_number: int   # panels and runs fetched before this one's
    run_number: int
    word: int           # of the run's tile
    row_addr: int       # word in the scratchpad
    lanes: int          # channels that this pass drains
    rows: int           # rows that hold a token
    first_run: bool
    last_run: bool
    odd: bool           # second element of the word's bytes
    final: bool         # last pass over the tile
    release: bool       # last look at the word
    take_row: bool      # first look at the row operands
    first_look: bool    # first look at the word
    chunk_done: bool    # last step of the chunk

    @property
    def first(self):
        return self.step == 0

    @property
    def last(self):
        return self.step == self.steps - 1


@dataclass(frozen=True)
class Job:
    """A legal linear job on an accelerator.

    Parameters
    ----------
    config : AcceleratorConfig
    weight_format : LaneFormat
    x_format, y_format : RowFormat
    group : Group
    group_shift : int
    m, k, n : int
    x, w, y : int
        Addresses.
    """

    config: object
    weight_format: LaneFormat
    x_format: RowFormat
    y_format: RowFormat
    group: Group
    group_shift: int
    m: int
    k: int
    n: int
    x: int = 0
    w: int = 0
    y: int = 0

    # Sizes of the pieces.

    @property
    def int8(self):
        return self.weight_format is LaneFormat.INT8

    @property
    def grouped(self):
        return self.group is not Group.CHANNEL

    @property
    def panels(self):
        return -(-self.n // self.config.lanes)

    @property
    def row_groups(self):
        return -(-self.m // self.config.rows)

    @property
    def run_steps(self):
        return run_steps(self.group)

    @property
    def runs(self):
        return -(-self.k // self.run_steps)

    @property
    def panel_bytes(self):
        return panel_bytes(self.config.lanes, self.k, self.weight_format, self.group)

    def steps_of(self, run):
        return min(self.run_steps, self.k - run * self.run_steps)

    def words_of(self, run):
        """Words of L bytes of a run's tile."""
        return self.steps_of(run) if self.int8 else (self.steps_of(run) + 1) // 2

    def lanes_of(self, panel):
        return min(self.config.lanes, self.n - panel * self.config.lanes)

    def rows_of(self, group):
        return min(self.config.rows, self.m - group * self.config.rows)

    def chunks(self):
        """The row groups of each chunk: they share one pass over the weights."""
        for first in range(0, self.row_groups, self.config.contexts):
            yield range(first, min(first + self.config.contexts, self.row_groups))

    def plan(self):
        """The numbers that the parts of the engine share, by the names of their plan."""
        return {
            "int8": int(self.int8), "weight_format": self.weight_format, "grouped": int(self.grouped),
            "group_shift": self.group_shift, "long_run": int(self.run_steps == 128), "k": self.k,
            "runs": self.runs, "run_steps": self.run_steps, "last_run_steps": self.steps_of(self.runs - 1),
            "panels": self.panels, "last_lanes": self.lanes_of(self.panels - 1),
            "panel_bytes": self.panel_bytes,
            "row_groups": self.row_groups, "last_rows": self.rows_of(self.row_groups - 1),
            "x_wide": int(self.x_format.bytes == 2), "y_wide": int(self.y_format.bytes == 2),
            "y_format": self.y_format, "x": self.x, "w": self.w, "y": self.y,
            "x_stride": self.config.rows * self.k * self.x_format.bytes,
            "y_stride": self.config.rows * self.n * self.y_format.bytes,
        }

    # What crosses the bus.

    def _place(self, base, group, index, length, row_format):
        """Address of ``index`` in a row group of [row group][index][P], ``length`` indices long."""
        return base + (group * self.config.rows * length + index * self.rows_of(group)) * row_format.bytes

    def weight_commands(self):
        """(address, bytes) of every panel that is fetched: all of them, in every chunk."""
        for _ in self.chunks():
            for panel in range(self.panels):
                yield self.w + panel * self.panel_bytes, self.panel_bytes

    def weight_pieces(self):
        """What a chunk's panels consist of: ("records" | "words" | "multipliers", pieces of L channels)."""
        assert RECORD_BYTES == 8
        for _ in range(self.panels):
            yield "records", 1
            for run in range(self.runs):
                yield "words", self.words_of(run)
                if self.grouped:
                    yield "multipliers", 1

    def row_blocks(self):
        """Every `RowBlock`: a chunk's, run by run, context by context."""
        for chunk in self.chunks():
            for run in range(self.runs):
                for context, group in enumerate(chunk):
                    words, rows = self.steps_of(run), self.rows_of(group)
                    yield RowBlock(
                        self._place(self.x, group, run * self.run_steps, self.k, self.x_format),
                        words * rows * self.x_format.bytes, rows, words, self.x_format.bytes == 2,
                        self._row_addr(context, run, 0), (run, context) == (0, 0))

    def result_blocks(self):
        """Every `ResultBlock`: a chunk's, panel by panel, context by context."""
        for chunk in self.chunks():
            for panel in range(self.panels):
                for group in chunk:
                    lanes, rows = self.lanes_of(panel), self.rows_of(group)
                    addr = self._place(self.y, group, panel * self.config.lanes, self.n, self.y_format)
                    yield ResultBlock(addr, lanes * rows * self.y_format.bytes, lanes, rows)

    # What the array does.

    def _row_addr(self, context, run, step):
        """The scratchpad holds a chunk: all of context 0, all of context 1, ..."""
        return context * self.k + run * self.run_steps + step

    def passes(self, panel):
        """Channels of each pass over a tile: where a byte takes two lanes there are two, if need be."""
        lanes, half = self.lanes_of(panel), self.config.lanes // 2
        if not (self.int8 and self.config.element == "exponent"):
            return [lanes]
        return [half, lanes - half] if lanes > half else [lanes]

    def steps(self):
        """Every `Step`, in order."""
        panel_number = run_number = 0
        for chunk_index, chunk in enumerate(self.chunks()):
            for panel in range(self.panels):
                passes = self.passes(panel)
                for run in range(self.runs):
                    numbers = panel_number, run_number
                    for context, group in enumerate(chunk):
                        for half, lanes in enumerate(passes):
                            final = context == len(chunk) - 1 and half == len(passes) - 1
                            for step in range(self.steps_of(run)):
                                yield self._step(chunk_index, panel, run, context, half, step, *numbers,
                                                 lanes, self.rows_of(group), final)
                    run_number += 1
                panel_number += 1

    def _step(self, chunk, panel, run, context, half, step, panel_number, run_number, lanes, rows, final):
        steps = self.steps_of(run)
        last, odd, last_run = step == steps - 1, not self.int8 and step % 2 == 1, run == self.runs - 1
        return Step(
            chunk, panel, run, context, half, step, steps, panel_number, run_number,
            step if self.int8 else step // 2, self._row_addr(context, run, step), lanes, rows,
            run == 0, last_run, odd, final, final and (self.int8 or odd or last), panel == 0 and half == 0,
            context == 0 and half == 0 and not odd, final and last and last_run and panel == self.panels - 1)
