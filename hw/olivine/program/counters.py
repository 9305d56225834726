"""A program's counters and tallies, in one memory with one adder."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..control.job import TALLIES
from ..control.registers import COUNTER_BITS, PROGRAM_COUNTERS, TALLY_BITS

__all__ = ["NAMES", "ROUND", "counts_layout", "Counters"]

NAMES = (*PROGRAM_COUNTERS, *TALLIES)
"""Counters and tallies in the order in which they lie in the memory."""

ROUND = len(NAMES)
"""Cycles from one look at a counter to the next."""


def counts_layout(config):
    """By how much each counter and tally grows in a cycle; ``cycles`` counts by itself."""
    # Engines work side by side: of results one from each, of bytes those of two.
    events = range(4 * max(config.rows * config.drain_columns, config.lanes))
    return data.StructLayout({
        **{name: unsigned(1) for name in PROGRAM_COUNTERS if name not in ("cycles", "array_useful")},
        "array_useful": range(config.multipliers + 1), **dict.fromkeys(TALLIES, events)})


class Counters(wiring.Component):
    """Counts while a program runs. Counters wrap, tallies stay at their largest value.

    What happens is counted in a few bits beside the memory. Counter by counter, over and over, that is added to what
    the memory holds.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    clear : In(1)
        All are 0 before what happens in this cycle.
    running : In(1), counts : In(counts_layout)
        Looked at while ``running``.
    ask : In(1), index : In(range(len(NAMES)))
        Someone wants to know a counter. They hold until the answer.
    answered : Out(1), value : Out(64)
        The answer, for one cycle: what had been counted when it was looked at, after it was asked for.

    Cycles: an answer within `ROUND` + 3.
    Cost: 64 bits of LUT RAM and an adder; for each counter as many bits as it counts in `ROUND` cycles, and an adder.
    """

    def __init__(self, config):
        super().__init__({
            "clear": In(1), "running": In(1), "counts": In(counts_layout(config)),
            "ask": In(1), "index": In(range(len(NAMES))), "answered": Out(1), "value": Out(COUNTER_BITS),
        })
        # Open to tests.
        self.memory = Memory(shape=unsigned(COUNTER_BITS), depth=len(NAMES), init=[])

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = self.memory
        read, write = memory.read_port(domain="comb"), memory.write_port()

        # The counter whose turn it is. For a round after a clear, what the memory holds is of another program.
        turn, stale = Signal(range(ROUND)), Signal(range(ROUND + 1))
        m.d.comb += read.addr.eq(turn)
        m.d.sync += turn.eq(Mux(turn == ROUND - 1, 0, turn + 1))
        with m.If(self.clear):
            m.d.sync += stale.eq(ROUND)
        with m.Elif(stale != 0):
            m.d.sync += stale.eq(stale - 1)

        # By how much it grew.
        recent = [self._recent(m, name, turn == number) for number, name in enumerate(NAMES)]
        grows = Signal(max(len(amount) for amount in recent))
        with m.Switch(turn):
            for number, amount in enumerate(recent):
                with m.Case(number):
                    m.d.sync += grows.eq(amount)

        # Added, a cycle later; written and told, another one later.
        found, total = Signal(COUNTER_BITS), Signal(COUNTER_BITS + 1)
        place, tally, wanted = Signal(range(ROUND)), Signal(), Signal()
        m.d.sync += [
            found.eq(read.data), place.eq(turn), tally.eq(turn >= len(PROGRAM_COUNTERS)),
            wanted.eq(self.ask & (turn == self.index)), self.answered.eq(wanted), write.addr.eq(place),
            self.value.eq(total | (tally & total[TALLY_BITS]).replicate(TALLY_BITS)),
        ]
        with m.If(stale != 0):
            m.d.sync += found.eq(0)
        m.d.comb += [total.eq(found + grows), write.en.eq(1), write.data.eq(self.value)]
        return m

    def _recent(self, m, name, taken):
        """What is not yet in the memory; ``taken``: now it goes there."""
        now = Value.cast(1 if name == "cycles" else self.counts[name])
        recent = Signal(len(now) + ROUND.bit_length(), name=f"recent_{name}")
        m.d.sync += recent.eq(Mux(taken | self.clear, 0, recent) + (now & self.running.replicate(len(now))))
        return recent
