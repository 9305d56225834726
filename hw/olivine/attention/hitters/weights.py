"""What rows give to a key: the weights of P scores, added up."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...numerics.rounding import rsh
from ..layout import LSE_BITS, SCORE_BITS

__all__ = ["WEIGHT_BITS", "WEIGHT_TABLE", "Weights"]

FRACTION_BITS = 8
WEIGHT_BITS = 21
"""0 to 2**20, which is 1."""

WEIGHT_TABLE = tuple(round(2 ** (WEIGHT_BITS - 1) * 2 ** (-f / 256)) for f in range(256))
"""``T[f] = round(2**20 * 2**(-f/256))``. No entry is near a tie."""


class Weights(wiring.Component):
    """P-lane SIMD, one key a cycle.

    ::

        d     = max(lse - score, 0)                 Q10.8, log2 domain
        w     = rsh(T[d & 255], d >> 8)             0 where the row does not see the key
        total = sum of w over the rows

        cycle  0  score, lse, into a register: they come from slow outputs of memories
               1  lse - score
               2  table addressed
               3  table answers, into a register
               4  rsh
               5  sums of two rows, of four, ... a register each
               5 + log2(P)  total

    The arithmetic is that of `olivine_golden.heavy_hitter.weight`.

    Members
    -------
    score : In(ArrayLayout(signed(16), P)), lse : In(ArrayLayout(signed(18), P)), visible : In(P)
        Q8.8, log2 domain, by row.
    total : Out(21 + log2(P))

    Latency: `latency` cycles. Throughput: one key a cycle. Cost: P / 2 tables of 256 x 21 bits with two read ports (a
    block RAM a row on an ECP5), for each row a 21-bit shifter, a subtraction and an addition.
    """

    def __init__(self, config):
        self.config, rows = config, config.rows
        self.latency = 5 + rows.bit_length() - 1
        super().__init__({
            "score": In(data.ArrayLayout(signed(SCORE_BITS), rows)),
            "lse": In(data.ArrayLayout(signed(LSE_BITS), rows)), "visible": In(rows),
            "total": Out(WEIGHT_BITS + rows.bit_length() - 1),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.config.rows
        visible = [Signal(rows, name=f"visible_{cycle}") for cycle in (1, 2, 3, 4)]
        score, lse = (Signal.like(value, name=f"{value.as_value().name}_1", reset_less=True)
                      for value in (self.score, self.lse))
        m.d.sync += [score.eq(self.score), lse.eq(self.lse)]
        m.d.sync += [after.eq(before) for before, after in zip([self.visible, *visible], visible)]

        parts = []
        for pair in range(rows // 2):
            m.submodules[f"table_{pair}"] = table = Memory(shape=unsigned(WEIGHT_BITS), depth=256, init=WEIGHT_TABLE)
            for row in (2 * pair, 2 * pair + 1):
                def register(shape, name, row=row):
                    return Signal(shape, name=f"{name}_{row}")

                difference, d = register(signed(LSE_BITS + 1), "difference"), register(LSE_BITS, "d")
                # A weight shifted by all that five bits say leaves nothing, and nor does more.
                places, far = d[FRACTION_BITS:FRACTION_BITS + 5], d[FRACTION_BITS + 5:].any()
                places_3, places_4 = register(5, "places_3"), register(5, "places_4")
                far_3, far_4 = register(1, "far_3"), register(1, "far_4")
                entry, weight = register(WEIGHT_BITS, "entry"), register(WEIGHT_BITS, "weight")
                port = table.read_port()
                m.d.comb += [difference.eq(lse[row] - score[row]), port.addr.eq(d[:FRACTION_BITS]),
                             port.en.eq(1)]
                m.d.sync += [
                    d.eq(Mux(difference < 0, 0, difference)),
                    places_3.eq(places), places_4.eq(places_3), far_3.eq(far), far_4.eq(far_3), entry.eq(port.data),
                    weight.eq(Mux(visible[3][row] & ~far_4, rsh(entry, places_4), 0)),
                ]
                parts.append(weight)
        while len(parts) > 1:
            sums = [Signal(len(parts[0]) + 1, name=f"sum_of_{rows // len(parts) * 2}_{index}")
                    for index in range(len(parts) // 2)]
            m.d.sync += [total.eq(parts[2 * index] + parts[2 * index + 1]) for index, total in enumerate(sums)]
            parts = sums
        m.d.comb += self.total.eq(parts[0])
        return m
