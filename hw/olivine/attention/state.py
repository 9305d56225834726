"""Running maximum and sum of every context, and what follows from them for the weighted values."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..numerics.log2 import Log2
from ..numerics.normalize import Normalize
from ..numerics.reciprocal import RECIPROCAL_BITS, Reciprocal
from ..numerics.rounding import rsh
from .layout import (
    CHUNKS,
    FACTOR_BITS,
    LSE_BITS,
    MAXIMUM_BITS,
    SHIFT_BITS,
    SUM_BITS,
    factors_layout,
    record_layout,
    slots,
)
from .softmax import block_state

__all__ = ["EMPTY_MAXIMUM", "record_place", "StateParameters", "RunningState"]

EMPTY_MAXIMUM = -128
"""m of a row that has seen no key."""

EMPTY_LSE = -1 << LSE_BITS - 1

def record_place(config):
    """Whose a record is."""
    return data.StructLayout({"context": range(config.contexts), "bank": range(CHUNKS)})


StateParameters = data.StructLayout({"o_mult": 16})

WRITE_BACK = 5
"""Cycles from a row's read of its state to the write."""

ONE_LOG2 = 4096
"""``256 * log2`` of the weight of one key at the maximum, 2047 << 5, rounded."""


class RunningState(wiring.Component):
    """Adds a unit's maximum and sum to its context's, row after row through one pipeline.

    ::

        m'  = max(m, m_b)                       m = -128, l = 0 before a ``first`` unit
        old = min(m' - m, 63)   new = min(m' - m_b, 63)
        l'  = rsh(l, old) + rsh(l_b, new)
        exponent, mantissa = normalize(l')
        factor = rsh(reciprocal(mantissa) * o_mult, 16)
        lse = 256 m' + log2(l') - 4096          -2**17 where l' = 0

        cycle  0  unit in a register
               1  row 0: state addressed        the other rows follow, one a cycle
               2  m, l from the memory
               3  m', old, new
               4  rsh
               5  l'
               6  state written                 Normalize
               8                                Reciprocal, Log2
              12  * o_mult
              13  (multiplier's second register)
              14  rsh 16
              15  shifts of the row written, its record
              16  (of row 0) readable

    The factors of a unit lie in the slot of its tag, in a final unit and in others; they stay until another unit
    of the slot comes this way.

    Members
    -------
    i : In(block_state)
        A unit: at least `spacing` cycles after the one before. ``l`` is `l_b` above, at most 2**32 - 1 together with
        what was there; a partial result's l can come here as well.
    params : In(ArrayLayout(StateParameters, CHUNKS))
        By ``tag.bank``; constant while units of the bank are in flight. ``o_mult`` 0 stands for 2**16.
    slot : In(range(slots)), factors : Out(factors_layout)
        ``factors`` are those of the slot of the cycle before.
    ready : Out(1)
        Once a unit, in order, `latency` cycles after ``i``: whoever asks for its slot now or later reads its
        factors.
    record_valid : Out(1), record_place : Out(struct ``bank``, ``context``), record : Out(record_layout)
        The state of the context, in the cycle of a final unit's ``ready``.

    Throughput: a unit every `spacing` cycles, one a page. Cost: a 32-bit shifter, one each of `Normalize`,
    `Reciprocal` and `Log2`, one 17 x 17 multiplier; 41 bits for each context and row, 12 for each slot and row.
    """

    def __init__(self, config):
        self.config = config
        self.spacing = max(config.rows, WRITE_BACK + 1)
        self.latency = config.rows + 15
        if config.lanes < self.spacing:
            raise ValueError(f"lanes is {config.lanes}: the running state of {config.rows} rows needs pages of "
                             f"{self.spacing} or more")
        super().__init__({
            "i": In(block_state(config)), "params": In(data.ArrayLayout(StateParameters, CHUNKS)),
            "slot": In(range(slots(config))), "factors": Out(factors_layout(config)),
            "ready": Out(1), "record_valid": Out(1), "record": Out(record_layout(config)),
            "record_place": Out(record_place(config)),
        })

    def elaborate(self, platform):
        m = Module()
        sync, config, rows = m.d.sync, self.config, self.config.rows

        def delayed(value, cycles):
            """``value`` that many cycles later."""
            for _ in range(cycles):
                held = Signal.like(value, name=f"{value.name}_z", reset_less=True)
                m.d.sync += held.eq(value)
                value = held
            return value

        def register(shape, name):
            """Of numbers no reset is needed: tags decide what counts. So no register's reset is made of a job's end and
            a condition."""
            return Signal(shape, name=name, reset_less=True)

        # Stage 0: rows leave the unit's register one by one. Stage n of row r is cycle 1 + r + n.
        unit, row, active = register(block_state(config), "unit"), register(range(rows), "row"), Signal()
        with m.If(self.i.valid):
            sync += [unit.eq(self.i), active.eq(1), row.eq(0)]
        with m.Elif(active):
            sync += [unit.m.eq(unit.m.as_value() >> MAXIMUM_BITS), unit.l.eq(unit.l.as_value() >> SUM_BITS),
                     row.eq(row + 1), active.eq(row != rows - 1)]

        tags = ("bank", "context", "slot", "first", "final")
        place = data.StructLayout({"valid": 1, "last": 1, "row": range(rows),
                                   **{name: block_state(config)["tag"].shape[name].shape for name in tags}})
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(15)]
        m.d.comb += [stage[0].valid.eq(active), stage[0].last.eq(row == rows - 1), stage[0].row.eq(row)]
        m.d.comb += [stage[0][name].eq(unit.tag[name]) for name in tags]
        for before, after in zip(stage, stage[1:]):
            sync += after.eq(before)

        # Stages 0 to 2: the state so far.
        entry = data.StructLayout({"m": signed(MAXIMUM_BITS), "l": unsigned(SUM_BITS)})
        m.submodules.state = state = Memory(shape=entry, depth=config.contexts * rows, init=[])
        read, write = state.read_port(), state.write_port()
        m.d.comb += [read.addr.eq(Cat(stage[0].row, stage[0].context)), read.en.eq(1)]
        block_0 = Signal(entry)
        block_1, block_2, so_far = (register(entry, name) for name in ("block_1", "block_2", "so_far"))
        m.d.comb += [block_0.m.eq(unit.m[0]), block_0.l.eq(unit.l[0])]
        sync += [block_1.eq(block_0), block_2.eq(block_1), so_far.m.eq(read.data.m), so_far.l.eq(read.data.l)]
        with m.If(stage[1].first):
            sync += [so_far.m.eq(EMPTY_MAXIMUM), so_far.l.eq(0)]

        # Stage 2 to 3: maximum, and the shift of whichever is below it.
        rise, most = Signal(signed(MAXIMUM_BITS + 1)), (1 << SHIFT_BITS) - 1
        rises, distance = Signal(), Signal(MAXIMUM_BITS)
        largest, places, risen = (register(shape, name) for shape, name in (
            (signed(MAXIMUM_BITS), "largest"), (SHIFT_BITS, "places"), (1, "risen")))
        shifted_3, other_3 = register(SUM_BITS, "shifted_3"), register(SUM_BITS, "other_3")
        m.d.comb += [rise.eq(block_2.m - so_far.m), rises.eq(~rise[-1]),
                     distance.eq(Mux(rises, rise, so_far.m - block_2.m))]
        sync += [
            Cat(largest, shifted_3).eq(Mux(rises, Cat(block_2.m, so_far.l), Cat(so_far.m, block_2.l))),
            other_3.eq(Mux(rises, block_2.l, so_far.l)), risen.eq(rises),
            places.eq(Mux(distance[SHIFT_BITS:].any(), most, distance)),
        ]

        # Stages 3 to 5: sum; state written. The bit that rounds, the last one shifted out, is the adder's carry.
        shifted_4, other_4, total = (register(SUM_BITS, name) for name in ("shifted_4", "other_4", "total"))
        round_4, old, new = register(1, "round_4"), register(SHIFT_BITS, "old"), register(SHIFT_BITS, "new")
        sync += [Cat(round_4, shifted_4).eq(Cat(Const(0, 1), shifted_3) >> places), other_4.eq(other_3),
                 total.eq(shifted_4 + other_4 + round_4),
                 old.eq(Mux(risen, places, 0)), new.eq(Mux(risen, 0, places))]
        largest_5 = delayed(largest, 2)
        m.d.comb += [write.addr.eq(Cat(stage[5].row, stage[5].context)), write.en.eq(stage[WRITE_BACK].valid),
                     write.data.m.eq(largest_5), write.data.l.eq(total)]

        # Stages 5 to 11: normalize, reciprocal, logarithm.
        m.submodules.normalize = normalize = Normalize(SUM_BITS)
        m.submodules.reciprocal = reciprocal = Reciprocal()
        m.submodules.log2 = log2 = Log2()
        exponent, empty = Signal(5), Signal()
        m.d.comb += [normalize.i.eq(total), reciprocal.i.eq(normalize.o), log2.i.eq(normalize.o),
                     exponent.eq(normalize.o.exponent), empty.eq(~normalize.o.mantissa[-1])]
        largest_10, empty_10 = delayed(largest_5, 5), delayed(empty, 3)
        lse = register(signed(LSE_BITS), "lse")
        sync += lse.eq(Mux(empty_10, EMPTY_LSE, (largest_10 << 8) + log2.o - ONE_LOG2))

        # Stages 11 to 14: factor.
        mult = Signal(RECIPROCAL_BITS)          # reset as the other operand: so both registers go into the multiplier
        o_mult = self.params[stage[10].bank].o_mult
        sync += mult.eq(Cat(o_mult, o_mult == 0))
        product, factor = register(2 * RECIPROCAL_BITS, "product"), register(FACTOR_BITS, "factor")
        sync += product.eq(reciprocal.o * mult)
        product_held = delayed(product, 1)
        sync += factor.eq(rsh(product_held, 16))

        # Stage 14: factors of the row, and the row's part of the record.
        m.submodules.slots = memory = Memory(shape=factors_layout(config), depth=max(slots(config), 2), init=[])
        answer, keep = memory.read_port(), memory.write_port(granularity=1)
        m.d.comb += [answer.addr.eq(self.slot), answer.en.eq(1), self.factors.eq(answer.data),
                     keep.addr.eq(stage[14].slot), keep.en.eq(stage[14].valid << stage[14].row)]
        of_row = {"old": delayed(old, 10), "new": delayed(new, 10)}
        for index in range(rows):
            m.d.comb += [keep.data[index][name].eq(value) for name, value in of_row.items()]
        record_row = Signal(record_layout(config).elem_shape)
        m.d.comb += [record_row.m.eq(delayed(largest_10, 4)), record_row.l.eq(delayed(total, 9)),
                     record_row.lse.eq(delayed(lse, 3)), record_row.exponent.eq(delayed(exponent, 7)),
                     record_row.factor.eq(factor)]
        with m.If(stage[14].valid):
            # Row 0 is the first in, and has moved down to its place when the last one is in.
            sync += self.record.eq(Cat(self.record.as_value()[len(record_row.as_value()):], record_row))
        complete = Signal()
        m.d.comb += complete.eq(stage[14].valid & stage[14].last)
        sync += [self.ready.eq(complete), self.record_valid.eq(complete & stage[14].final),
                 self.record_place.bank.eq(stage[14].bank), self.record_place.context.eq(stage[14].context)]
        return m
