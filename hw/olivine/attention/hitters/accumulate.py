"""Adds the weights of one key after the other to the sums of their cells."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..layout import LSE_BITS, SCORE_BITS
from .selector import SUM_BITS
from .weights import Weights

__all__ = ["Accumulator"]


class Accumulator(wiring.Component):
    """``sum = min(sum + total of the weights, 2**32 - 1)``, in the memory of sums.

    With W the latency of `Weights`::

        cycle  0      scores, log-sum-exp
               W - 2  sum asked for
               W - 1  sum answered
               W      +
               W + 1  o: written at the end of this cycle

    Members
    -------
    i : In(struct ``valid``, ``bank``, ``cell``, ``score``, ``visible``, ``lse``)
        A key. The same cell comes again `spacing` cycles later, or more.
    sum_addr : Out(struct ``bank``, ``cell``), sum : In(32)
        Answered in the next cycle.
    ahead : Out(range(cells))
        The cell of what is on ``o`` two cycles later.
    o : Out(struct ``valid``, ``bank``, ``cell``, ``sum``)

    Latency: `latency` cycles. Throughput: one key a cycle. Cost: `Weights`, a 32-bit addition.
    """

    spacing = 4

    def __init__(self, config):
        self.config = config
        self.weights = Weights(config)
        self.latency = self.weights.latency + 1
        rows, cell = config.rows, range(config.cells)
        super().__init__({
            "i": In(data.StructLayout({
                "valid": 1, "bank": 1, "cell": cell, "visible": rows,
                "score": data.ArrayLayout(signed(SCORE_BITS), rows),
                "lse": data.ArrayLayout(signed(LSE_BITS), rows)})),
            "sum_addr": Out(data.StructLayout({"bank": 1, "cell": cell})), "sum": In(unsigned(SUM_BITS)),
            "ahead": Out(cell),
            "o": Out(data.StructLayout({"valid": 1, "bank": 1, "cell": cell, "sum": unsigned(SUM_BITS)})),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.weights = weights = self.weights
        place = data.StructLayout({"valid": 1, "bank": 1, "cell": range(self.config.cells)})
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(self.latency + 1)]
        m.d.comb += [stage[0][name].eq(self.i[name]) for name in ("valid", "bank", "cell")]
        m.d.comb += [getattr(weights, name).eq(self.i[name]) for name in ("score", "visible", "lse")]
        m.d.sync += [after.eq(before) for before, after in zip(stage, stage[1:])]

        so_far, added, total = Signal(SUM_BITS), Signal(SUM_BITS + 1), Signal(SUM_BITS)
        asked = stage[weights.latency - 2]
        m.d.comb += [self.sum_addr.bank.eq(asked.bank), self.sum_addr.cell.eq(asked.cell),
                     added.eq(so_far + weights.total), self.ahead.eq(stage[-3].cell)]
        m.d.sync += [so_far.eq(self.sum), total.eq(Mux(added[-1], (1 << SUM_BITS) - 1, added))]
        m.d.comb += [self.o[name].eq(stage[-1][name]) for name in ("valid", "bank", "cell")]
        m.d.comb += self.o.sum.eq(total)
        return m
