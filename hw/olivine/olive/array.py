"""The output-stationary array: P rows by L lanes, one rank-1 update a cycle.

::

    step tags ─┐   row[P] ─┐   lane[L] ─┐
               v           v            v          cycle 0 -> 1: operand registers
            ┌──────────────────────────────┐
            │  product[p][l]               │       cycle 2
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

from ..config import ACCUMULATOR_BITS, ROW_BITS
from .element import lane_shape, product, product_shape

__all__ = ["array_shapes", "ArrayRow", "OliveArray"]


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


class ArrayRow(wiring.Component):
    """One row of L elements with its shadow accumulators.

    Parameters
    ----------
    lanes : int
    element : str
        ``"folded"`` or ``"exponent"``.
    columns : int
        Lanes that leave per cycle.

    Members
    -------
    row : In(signed(12)), lane : In(ArrayLayout(lane_shape, lanes))
        Operands of this cycle's step.
    accumulate, clear : In(1)
        A product stands at the adder; it starts a new sum.
    load, shift, pairs : In(1)
        Copy the sums to the shadow set; shift it on by ``columns`` lanes, twice that for ``pairs``.
    o : Out(ArrayLayout(signed(32), columns))
        The leading lanes of the shadow set; with ``pairs`` each the sum of two.

    Cost: L multipliers (``folded``), 2 * 32 * L accumulator bits.
    """

    def __init__(self, lanes, element, columns):
        self.lanes, self.element, self.columns = lanes, element, columns
        super().__init__({
            "row": In(signed(ROW_BITS)),
            "lane": In(data.ArrayLayout(lane_shape(element), lanes)),
            "accumulate": In(1), "clear": In(1), "load": In(1), "shift": In(1), "pairs": In(1),
            "o": Out(data.ArrayLayout(signed(ACCUMULATOR_BITS), columns)),
        })

    def elaborate(self, platform):
        m = Module()
        shadow = Signal(data.ArrayLayout(signed(ACCUMULATOR_BITS), self.lanes))
        sums = []
        for lane in range(self.lanes):
            # Cycle 2: product. Cycle 3: accumulator.
            factor = Signal(product_shape(self.element), name=f"product_{lane}")
            total = Signal(signed(ACCUMULATOR_BITS), name=f"sum_{lane}")
            m.d.sync += factor.eq(product(self.element, self.row, self.lane[lane]))
            with m.If(self.accumulate):
                m.d.sync += total.eq(Mux(self.clear, 0, total) + factor)
            sums.append(total)
        # Cycle 4: the shadow set. Lanes enter from above as it shifts; what enters is never read.
        whole = shadow.as_value()
        with m.If(self.load):
            m.d.sync += shadow.eq(Cat(sums))
        with m.Elif(self.shift):
            m.d.sync += shadow.eq(whole >> ACCUMULATOR_BITS * self.columns)
            if self.element == "exponent":
                with m.If(self.pairs):
                    m.d.sync += shadow.eq(whole >> ACCUMULATOR_BITS * self.columns * 2)
        for column in range(self.columns):
            m.d.comb += self.o[column].eq(shadow[column])
            if self.element == "exponent":
                with m.If(self.pairs):
                    m.d.comb += self.o[column].eq(shadow[2 * column] + shadow[2 * column + 1])
        return m


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

    Latency: `latency` cycles from the last step to the first drained word. Throughput: one step a
    cycle; a tile every `drain_cycles` cycles. Nothing stalls it.
    """

    def __init__(self, rows, lanes, element="folded", columns=1, tag=unsigned(1)):
        lane_shape(element)
        if columns not in (1, 2):
            raise ValueError(f"columns is {columns!r}: allowed are 1 and 2")
        if lanes % (2 * columns):
            raise ValueError(f"lanes is {lanes!r}: must be a multiple of {2 * columns}")
        self.rows, self.lanes, self.element, self.columns = rows, lanes, element, columns
        self.latency = 4 if element == "folded" else 5
        self.drain_cycles = lanes // columns
        shapes = array_shapes(rows, lanes, element, columns, tag)
        super().__init__({name: Out(shape) if name == "o" else In(shape) for name, shape in shapes.items()})

    def elaborate(self, platform):
        m = Module()
        # Tags as they pass the operand, product and accumulator registers.
        operand, factor, total = (Signal.like(self.step, name=f"{stage}_tags")
                                  for stage in ("operand", "product", "sum"))
        row, lane = Signal.like(self.row, name="row_operand"), Signal.like(self.lane, name="lane_operand")
        m.d.sync += [operand.eq(self.step), factor.eq(operand), total.eq(factor)]
        with m.If(self.step.valid):
            m.d.sync += [row.eq(self.row), lane.eq(self.lane)]
        load = Signal()
        m.d.comb += load.eq(total.valid & total.last)

        drain = Signal.like(self.o)
        left = Signal(range(self.drain_cycles + 1))
        pairs = Signal()
        m.d.comb += [drain.valid.eq(left != 0), drain.last.eq(left == 1)]
        with m.If(drain.valid):
            m.d.sync += [left.eq(left - 1), drain.first.eq(0), drain.lane.eq(drain.lane + self.columns)]
        with m.If(load):
            m.d.sync += [pairs.eq(total.pairs), drain.tag.eq(total.tag), drain.first.eq(1), drain.lane.eq(0),
                         left.eq(Mux(total.pairs, self.drain_cycles // 2, self.drain_cycles)
                                 if self.element == "exponent" else self.drain_cycles)]

        for index in range(self.rows):
            m.submodules[f"row_{index}"] = part = ArrayRow(self.lanes, self.element, self.columns)
            m.d.comb += [
                part.row.eq(row[index]), part.lane.eq(lane),
                part.accumulate.eq(factor.valid), part.clear.eq(factor.first),
                part.load.eq(load), part.shift.eq(drain.valid), part.pairs.eq(pairs),
                *(drain.data[column][index].eq(part.o[column]) for column in range(self.columns)),
            ]
        # The sum of two lanes takes a cycle of its own.
        if self.element == "exponent":
            m.d.sync += self.o.eq(drain)
        else:
            m.d.comb += self.o.eq(drain)
        return m
