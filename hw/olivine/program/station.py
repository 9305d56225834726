"""Where a unit's instructions wait, and what is known of the one at work."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.instruction import (
    INDEX_BITS,
    PAYLOAD_BITS,
    SLOTS,
    Instruction,
    Opening,
    Unit,
    fetched_layout,
    waits_layout,
    words_of,
)
from .store import brought_layout

__all__ = ["DEPTH", "doom_layout", "work_layout", "counts_layout", "Station"]

DEPTH = 2
"""Instructions that wait behind the one at work: one whose words are here or on their way, and one whose are not."""

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
    bus_bits : int
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
    asks : Out(1), slot : Out(range(SLOTS)), taken : In(1), word : In(brought_layout)
        To `InstructionStore`: there is room for the words of that slot; they are on their way; and a word.
    job : Out(stream(bits))
    may : In(1)
        A job may begin two cycles later, and may until it has begun: ``job.valid`` does not ask again.
    finished : In(1)
        The unit's job has ended, for one cycle.
    completed : In(counts_layout), units_at_work : In(5), doom : In(doom_layout)
    work : Out(work_layout), at_work : Out(1)
        The instruction that the unit has, or is about to get; ``at_work`` when it has it.
    rows_ready, abort : Out(1)
        For the unit, while it has the instruction; ``rows_ready`` is a register, and low otherwise.
    expects : Out(5)
        For each unit, whether the instruction at work still waits for it, as of the cycle before.
    empty : Out(1)
        Nothing waits and nothing is at work.

    Cycles: its words are asked for 1 after an instruction came in; it is offered to a free unit 3 after the last of
    them, 5 if it needs its rows at once; ``rows_ready`` and ``expects`` follow ``completed`` by 2 and 1.

    Cost: a shift register of words for one instruction, without a LUT; for each other unit a comparator of 16 bits, and
    one of the index.
    """

    def __init__(self, bits, bus_bits, holds, beside=(), own=None):
        self.bits, self.bus_bits, self.holds, self.beside, self.own = bits, bus_bits, holds, tuple(beside), own
        super().__init__({
            "i": In(stream.Signature(fetched_layout)), "asks": Out(1), "slot": Out(range(SLOTS)), "taken": In(1),
            "word": In(brought_layout(bus_bits)), "job": Out(stream.Signature(bits)), "may": In(1),
            "finished": In(1), "completed": In(counts_layout), "units_at_work": In(len(Unit)),
            "doom": In(doom_layout), "work": Out(work_layout), "at_work": Out(1), "rows_ready": Out(1),
            "abort": Out(1), "expects": Out(len(Unit)), "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        work = self.work
        # The words of one instruction move up to their places. It keeps them until the unit has taken its descriptor;
        # where it stands and what it waits for is kept longer.
        words = Signal(words_of(self.bits, self.bus_bits) * self.bus_bits, reset_less=True)
        here, comes, head = Signal(), Signal(), Signal(work_layout)
        waits, behind = Signal(), Signal(INDEX_BITS)        # the instruction behind it, whose words are elsewhere
        index = Signal(INDEX_BITS)
        # That the unit has its descriptor, or never gets it, is known late: its place is free a cycle after that.
        over = Signal()
        m.d.comb += [
            self.i.ready.eq(~waits), self.asks.eq(waits & ~here & ~comes), self.slot.eq(behind),
            head.index.eq(index), head.waits.eq(data.View(Opening, words[:Opening.size]).waits),
            self.job.payload.eq(words[Instruction.size - PAYLOAD_BITS:]),
        ]
        with m.If(~waits):
            m.d.sync += [behind.eq(self.i.payload.index), waits.eq(self.i.valid)]
        with m.Elif(self.taken):
            m.d.sync += [waits.eq(0), comes.eq(1), index.eq(behind)]
        with m.If(self.word.valid):
            m.d.sync += words.eq(Cat(words, self.word.data)[self.bus_bits:])
        with m.If(self.word.valid & self.word.last):
            m.d.sync += [here.eq(1), comes.eq(0)]
        with m.Elif(over):
            m.d.sync += here.eq(0)
        doomed = self.doom.everything | self.doom.valid & (work.index > self.doom.index)
        holds = Value.cast(self.holds(self.job.payload[:8]))
        # Counts only grow while a program runs, so what was compared a cycle before may be late, but not wrong. In the
        # first cycle of WAIT it is of an earlier instruction.
        missing, last, compared = Signal(len(Unit)), Signal(len(Unit)), Signal()
        m.d.sync += [
            missing.eq(sum((self.completed[unit.value] < work.waits[unit.value]) << unit.value
                           for unit in Unit if unit is not self.own)),
            last.eq(self.units_at_work & sum((self.completed[unit.value] + 1 == work.waits[unit.value]) << unit.value
                                             for unit in self.beside)),
            compared.eq(1),
        ]
        unready = (missing & ~last).any()
        given_up = Signal()
        m.d.comb += self.expects.eq(missing & self.at_work.replicate(len(Unit)))
        # What ``rows_ready`` tells once the unit has the instruction. Whether it may begin is found out far away, and
        # stays true, so that what is offered depends on the state alone.
        known, may = Signal(), Signal()
        m.d.sync += may.eq(self.may)
        m.d.sync += over.eq(0)
        with m.FSM() as fsm:
            with m.State("FREE"):
                m.d.sync += [work.eq(head), known.eq(0), given_up.eq(0), compared.eq(0)]
                with m.If(here & ~over):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += known.eq(compared & ~Mux(holds, missing.any(), unready))
                with m.If(doomed):
                    m.d.sync += over.eq(1)
                    m.next = "FREE"
                with m.Elif(may & (~holds | known)):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.job.valid.eq(1)
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
        m.d.comb += self.empty.eq(fsm.ongoing("FREE") & ~(here | comes | waits))
        return m
