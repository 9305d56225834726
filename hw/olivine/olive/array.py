"""The output-stationary array: P rows by L lanes, one rank-1 update a cycle.

::

    step tags ─┐   row[P] ─┐   lane[L] ─┐
               v           v            v          cycle 0 -> 1: operand registers
            ┌──────────────────────────────┐
            │  product[p][l]               │       cycle 2 (on ECP5 3: the multiplier has registers of its own)
            │  accumulator[p][l]           │       cycle 3: first tag loads, others add
            │  shadow[p][l]  ── shifts ──> │──> o  cycle 4: after the last tag, L columns leave
            └──────────────────────────────┘

There is no handshake inside: the tags ``valid``, ``first`` and ``last`` travel with the data. On
``last`` the accumulators move to the shadow set, which drains while the next tile runs. The user
keeps two ``last`` steps at least `drain_cycles` apart; a tile that long hides its drain entirely.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACCUMULATOR_BITS, CHANNEL_RUN, LANE_MAX, ROW_BITS
from . import ecp5
from .element import in_cells, lane_shape, product, product_shape

__all__ = ["GROUP", "array_shapes", "sum_bits", "ArrayRow", "OliveArray"]

GROUP = 8
"""Lanes of a row that share a copy of its controls on ECP5."""


def array_shapes(rows, lanes, element, columns, tag):
    """Shapes of an `OliveArray`'s members ``step``, ``row``, ``lane`` and ``o``."""
    return {
        "step": data.StructLayout({"valid": 1, "first": 1, "last": 1, "pairs": 1, "tag": tag}),
        "row": data.ArrayLayout(signed(ROW_BITS), rows),
        "lane": data.ArrayLayout(lane_shape(element), lanes),
        "o": data.StructLayout({
            "valid": 1, "first": 1, "last": 1, "tag": tag, "lane": range(lanes),
            "data": data.ArrayLayout(data.ArrayLayout(signed(ACCUMULATOR_BITS), rows), columns)}),
    }


def sum_bits(steps):
    """Width of a signed sum of this many products of the largest operands."""
    return min(ACCUMULATOR_BITS, 1 + (steps * LANE_MAX << ROW_BITS - 1).bit_length())


class ArrayRow(wiring.Component):
    """One row of L elements with its shadow accumulators.

    Parameters
    ----------
    lanes : int
    element : str
        ``"folded"`` or ``"exponent"``.
    columns : int
        Lanes that leave per cycle.
    width : int
        Bits of a sum.

    Members
    -------
    row : In(signed(12)), lane : In(ArrayLayout(lane_shape, lanes))
        Operands of a step.
    accumulate, clear, load : In(1)
        In the next cycle a product stands at the adder; it starts a new sum; the sums go to the shadow set.
    pairs : In(1)
        The shadow set moves on by ``2 * columns`` lanes a cycle, not by ``columns``.
    o : Out(ArrayLayout(signed(32), columns))
        The leading lanes of the shadow set; with ``pairs`` each the sum of two.

    Latency: a product stands at the adder a cycle after ``lane``, on ECP5 `MULTIPLY_CYCLES` after it.

    Cost: L multipliers (``folded``), 2 * width * L flip-flops; on ECP5 a LUT for each of these, and flip-flops for each
    control and the row's operand of `GROUP` lanes. Nothing of it has a reset: what counts is in the controls.
    """

    def __init__(self, lanes, element, columns, width, sites=()):
        self.lanes, self.element, self.columns, self.width, self.sites = lanes, element, columns, width, sites
        super().__init__({
            "take": In(1), "row": In(signed(ROW_BITS)),
            "lane": In(data.ArrayLayout(lane_shape(element), lanes)),
            "accumulate": In(1), "clear": In(1), "load": In(1), "pairs": In(1),
            "o": Out(data.ArrayLayout(signed(ACCUMULATOR_BITS), columns)),
        })

    def elaborate(self, platform):
        m = Module()
        sums = (self._cells if in_cells(self.element, platform) else self._plain)(m)
        # The shadow set. It always moves: lanes enter from above that are never read.
        shadow = [Signal.like(total, name=f"shadow_{lane}") for lane, (total, _) in enumerate(sums)]
        for lane, (total, load) in enumerate(sums):
            after = shadow[lane + self.columns] if lane + self.columns < self.lanes else 0
            if self.element == "exponent":
                later = lane + 2 * self.columns
                after = Mux(self.pairs, shadow[later] if later < self.lanes else 0, after)
            m.d.sync += shadow[lane].eq(Mux(load, total, after))
        for column in range(self.columns):
            m.d.comb += self.o[column].eq(shadow[column])
            if self.element == "exponent":
                with m.If(self.pairs):
                    m.d.comb += self.o[column].eq(shadow[2 * column] + shadow[2 * column + 1])
        return m

    def _plain(self, m):
        """Each lane's sum, and when it goes to the shadow set."""
        accumulate, clear, load, row = Signal(), Signal(), Signal(), Signal.like(self.row, reset_less=True)
        m.d.sync += [accumulate.eq(self.accumulate), clear.eq(self.clear), load.eq(self.load)]
        with m.If(self.take):
            m.d.sync += row.eq(self.row)
        sums = []
        for lane in range(self.lanes):
            factor = Signal(product_shape(self.element), name=f"product_{lane}", reset_less=True)
            total = Signal(signed(self.width), name=f"sum_{lane}", reset_less=True)
            m.d.sync += factor.eq(product(self.element, row, self.lane[lane]))
            with m.If(accumulate):
                m.d.sync += total.eq(Mux(clear, 0, total) + factor)
            sums.append((total, load))
        return sums

    def _cells(self, m):
        """As `_plain`, in cells of ECP5."""
        copies = -(-self.lanes // GROUP)
        accumulate, clear, load = (ecp5.spread(m, getattr(self, name), copies, name)
                                   for name in ("accumulate", "clear", "load"))
        rows = ecp5.spread(m, self.row, copies, "row", self.take)
        sums = []
        for lane in range(self.lanes):
            group = lane // GROUP
            factor = ecp5.multiply(m, rows[group], self.lane[lane], f"product_{lane}",
                                   self.sites[lane] if self.sites else None)
            total = Signal(signed(self.width), name=f"sum_{lane}", reset_less=True)
            with m.If(accumulate[group]):
                m.d.sync += total.eq(ecp5.add_or_load(m, clear[group], total, factor, f"sum_{lane}"))
            sums.append((total, load[group]))
        return sums


class OliveArray(wiring.Component):
    """P rows of L elements, the tag pipeline and the drain.

    Parameters
    ----------
    rows, lanes : int
    element : str
        ``"folded"`` or ``"exponent"``.
    columns : int
        Lanes that leave per cycle, 1 or 2.
    tag : Shape
        What accompanies a tile from its last step to its drain.
    steps : int
        Steps of the longest tile: sums are as wide as those of `LANE_MAX` times the largest row operand need.

    Members
    -------
    step : In(struct)
        ``valid``, ``first``, ``last``, ``pairs`` (exponent only: an 8-bit operand takes two lanes) and
        ``tag``. ``pairs`` and ``tag`` count at the last step.
    row : In(ArrayLayout(signed(12), P)), lane : In(ArrayLayout(lane_shape, L))
        Operands of the step, in the same cycle.
    o : Out(struct)
        ``valid``, ``first``, ``last`` and ``tag`` of the drained tile, ``lane``: index of the first
        output channel, ``data``: ``[columns][P]`` sums. L / columns consecutive cycles a tile (half as
        many with ``pairs``).

    Latency: `latency` cycles from the last step to the first drained word, `ecp5_latency` where it is made of cells of
    ECP5 (`olivine.olive.ecp5`). Throughput: one step a cycle; a tile every `drain_cycles` cycles. Nothing stalls it.
    """

    def __init__(self, rows, lanes, element="folded", columns=1, tag=unsigned(1), steps=CHANNEL_RUN):
        lane_shape(element)
        if columns not in (1, 2):
            raise ValueError(f"columns is {columns!r}: allowed are 1 and 2")
        if lanes % (2 * columns):
            raise ValueError(f"lanes is {lanes!r}: must be a multiple of {2 * columns}")
        self.rows, self.lanes, self.element, self.columns, self.steps = rows, lanes, element, columns, steps
        self.latency = 4 if element == "folded" else 5
        self.ecp5_latency = self.latency + (ecp5.MULTIPLY_CYCLES - 1 if in_cells(element, ecp5.TARGET) else 0)
        self.drain_cycles = lanes // columns
        shapes = array_shapes(rows, lanes, element, columns, tag)
        super().__init__({name: Out(shape) if name == "o" else In(shape) for name, shape in shapes.items()})

    def elaborate(self, platform):
        m = Module()
        # Tags as they pass the registers of operands, multiplier, product and sum. That they count has a reset, they
        # have none.
        inside = ecp5.MULTIPLY_CYCLES - 1 if in_cells(self.element, platform) else 0
        tags = [Signal.like(self.step, name=f"{stage}_tags", reset_less=True)
                for stage in ("operand", *(f"multiplier_{cycle}" for cycle in range(inside)), "product", "sum")]
        valid, lane = Signal(len(tags)), Signal.like(self.lane, name="lane_operand", reset_less=True)
        m.d.sync += [valid.eq(Cat(self.step.valid, valid)),
                     *(after.eq(before) for before, after in zip((self.step, *tags), tags))]
        with m.If(self.step.valid):
            m.d.sync += lane.eq(self.lane)
        before, factor, total = tags[-3:]
        load = Signal()
        m.d.comb += load.eq(valid[-1] & total.last)

        drain = Signal.like(self.o, reset_less=True)
        left = Signal(range(self.drain_cycles + 1))
        pairs = Signal(reset_less=True)
        m.d.comb += [drain.valid.eq(left != 0), drain.last.eq(left == 1)]
        with m.If(drain.valid):
            m.d.sync += [left.eq(left - 1), drain.first.eq(0), drain.lane.eq(drain.lane + self.columns)]
        with m.If(load):
            m.d.sync += [pairs.eq(total.pairs), drain.tag.eq(total.tag), drain.first.eq(1), drain.lane.eq(0),
                         left.eq(Mux(total.pairs, self.drain_cycles // 2, self.drain_cycles)
                                 if self.element == "exponent" else self.drain_cycles)]

        width, sites = sum_bits(self.steps), ecp5.multiplier_sites(platform)
        # Too large for the die: others will say so.
        sites = sites[:self.rows * self.lanes] if self.rows * self.lanes <= len(sites) else []
        for index in range(self.rows):
            m.submodules[f"row_{index}"] = part = ArrayRow(self.lanes, self.element, self.columns, width,
                                                           sites[index::self.rows])
            m.d.comb += [
                part.take.eq(self.step.valid), part.row.eq(self.row[index]), part.lane.eq(lane),
                part.accumulate.eq(valid[-3]), part.clear.eq(before.first),
                part.load.eq(valid[-2] & factor.last), part.pairs.eq(pairs),
                *(drain.data[column][index].eq(part.o[column]) for column in range(self.columns)),
            ]
        # The sum of two lanes takes a cycle of its own.
        if self.element == "exponent":
            m.d.sync += self.o.eq(drain)
        else:
            m.d.comb += self.o.eq(drain)
        return m
