"""Where a unit's instructions wait, and what is known of the one at work."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.instruction import INDEX_BITS, Unit, fetched_layout, waits_layout

__all__ = ["DEPTH", "doom_layout", "work_layout", "counts_layout", "Station"]

DEPTH = 2
"""Instructions that wait behind the one at work."""

doom_layout = data.StructLayout({"everything": 1, "valid": 1, "index": INDEX_BITS})
"""Instructions that may not begin any more: all, or, if ``valid``, those behind the one that failed."""

counts_layout = data.ArrayLayout(INDEX_BITS, len(Unit))
"""Instructions of each unit that are complete."""

work_layout = data.StructLayout({"index": INDEX_BITS, "waits": waits_layout})


class Station(wiring.Component):
    """Instructions of one unit, in order.

    A unit that can fetch ahead of its rows gets an instruction as soon as it takes one, and with ``rows_ready`` the
    word that what it waits for is complete. One that ``holds`` gets it only then.

    What is doomed before its unit has it is dropped without a word. What its unit has is given up if its rows are not
    ready, or if everything is doomed; otherwise it ends as it would have.

    Parameters
    ----------
    bits : int
        Of the unit's descriptors.
    holds : callable
        From the opcode, a value, to whether the unit needs its rows at once.
    beside : tuple of Unit
        Units that this one may work beside: of what it waits for, the last instruction of such a unit need only be at
        work. It must have begun, for it may itself wait for what needs the unit that now takes this one's rows.
    own : Unit, optional
        Whose instructions these are. What they wait for of their own unit came before them: when it is their turn it is
        complete, or they are doomed, and nothing needs to be compared.

    Members
    -------
    i : In(stream(fetched_layout))
    job : Out(stream(bits))
    may : In(1)
        A job may begin in the next cycle. It stays while ``job.valid`` is high, or the job begins later.
    finished : In(1)
        The unit's job has ended, for one cycle.
    completed : In(counts_layout), units_at_work : In(5), doom : In(doom_layout)
    work : Out(work_layout), at_work : Out(1)
        The instruction that the unit has, or is about to get; ``at_work`` when it has it.
    rows_ready, abort : Out(1)
        For the unit, while it has the instruction; ``rows_ready`` is a register, and low otherwise.
    expects : Out(5)
        For each unit, whether the instruction at work still waits for it.
    empty : Out(1)
        Nothing waits and nothing is at work.

    Cycles: an instruction is offered to a free unit 4 after it came in; ``rows_ready`` follows ``completed`` by 1.

    Cost: registers for `DEPTH` instructions, each loaded from the one before and so without a LUT; for each other
    unit a comparator of 16 bits, and one of the index.
    """

    def __init__(self, bits, holds, beside=(), own=None):
        self.bits, self.holds, self.beside, self.own = bits, holds, tuple(beside), own
        super().__init__({
            "i": In(stream.Signature(fetched_layout())), "job": Out(stream.Signature(bits)), "may": In(1),
            "finished": In(1), "completed": In(counts_layout), "units_at_work": In(len(Unit)),
            "doom": In(doom_layout), "work": Out(work_layout), "at_work": Out(1), "rows_ready": Out(1),
            "abort": Out(1), "expects": Out(len(Unit)), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        work = self.work
        # Instructions move up as places become free. A place is loaded from one other only, so it needs no choice. The
        # first keeps its descriptor until the unit has taken it; where it stands and what it waits for is kept longer.
        entry = data.StructLayout({"work": work_layout, "payload": self.bits})
        places = [Signal(entry, name=f"place_{index}", reset_less=True) for index in range(DEPTH)]
        held, leaves = Signal(DEPTH), Signal(DEPTH)
        arrives, head = Signal(entry), places[0]
        m.d.comb += [
            self.i.ready.eq(~held[-1]), *(arrives.work[name].eq(self.i.payload[name]) for name, _ in work_layout),
            arrives.payload.eq(self.i.payload.payload), leaves[1:].eq(held[1:] & (~held | leaves)[:-1]),
        ]
        for index, (place, before) in enumerate(zip(places, (*places[1:], arrives))):
            # Whether something comes is known late: a place that is free is loaded in any case.
            newest = index == DEPTH - 1
            with m.If(~held[index] if newest else ~held[index] | leaves[index]):
                m.d.sync += [place.eq(before), held[index].eq(self.i.valid if newest else held[index + 1])]
            with m.Elif(leaves[index]):
                m.d.sync += held[index].eq(0)
        doomed = self.doom.everything | self.doom.valid & (work.index > self.doom.index)
        holds = Value.cast(self.holds(self.job.payload[:8]))
        # Counts only grow while a program runs.
        missing = Signal(len(Unit))
        m.d.comb += missing.eq(sum((self.completed[unit.value] < work.waits[unit.value]) << unit.value
                                   for unit in Unit if unit is not self.own))
        last = Signal(len(Unit))
        m.d.comb += last.eq(self.units_at_work & sum(
            (self.completed[unit.value] + 1 == work.waits[unit.value]) << unit.value for unit in self.beside))
        unready = (missing & ~last).any()
        given_up = Signal()
        m.d.comb += self.expects.eq(missing & self.at_work.replicate(len(Unit)))
        # What ``rows_ready`` tells once the unit has the instruction. Whether it may begin is found out far away.
        known, may = Signal(), Signal()
        m.d.sync += may.eq(self.may)
        # That the unit has its descriptor, or never gets it, is known late: the places move on a cycle after that.
        over = Signal()
        m.d.comb += [self.job.payload.eq(head.payload), leaves[0].eq(over)]
        m.d.sync += over.eq(0)
        with m.FSM() as fsm:
            with m.State("FREE"):
                m.d.sync += [work.eq(head.work), known.eq(0), given_up.eq(0)]
                with m.If(held[0] & ~over):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += known.eq(~Mux(holds, missing.any(), unready))
                with m.If(doomed):
                    m.d.sync += over.eq(1)
                    m.next = "FREE"
                with m.Elif(may & (~holds | known)):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.job.valid.eq(may)
                m.d.sync += known.eq(~Mux(holds, missing.any(), unready))
                with m.If(self.job.valid & self.job.ready):
                    m.d.sync += [over.eq(1), self.rows_ready.eq(~Mux(holds, missing.any(), unready))]
                    m.next = "WORK"
            with m.State("WORK"):
                m.d.comb += [self.at_work.eq(1), self.abort.eq(self.doom.everything | given_up)]
                # What is given up must not find its rows ready after all.
                m.d.sync += [known.eq(known | ~unready & ~doomed), self.rows_ready.eq(known | ~unready & ~doomed),
                             given_up.eq(given_up | doomed & missing.any())]
                with m.If(self.finished):
                    m.d.sync += self.rows_ready.eq(0)
                    m.next = "FREE"
        m.d.comb += self.empty.eq(fsm.ongoing("FREE") & ~held.any())
        return m
