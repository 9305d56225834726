"""What the cache knows of its sequences: state of each slot, block tables, progress of steps. Answers lookups."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .addresses import unit_bits
from .descriptor import GENERATION_BITS, LENGTH_BITS, CachePolicy, CacheStatus
from .lookup import CacheEvent, EventKind, LookupAnswer, LookupRequest

__all__ = ["slot_bits", "entry_bits", "block_bits", "slot_layout", "progress_layout", "SlotTables"]


def slot_bits(config):
    return max(ceil_log2(config.sequences), 1)


def entry_bits(config):
    return max(ceil_log2(config.table_entries), 1)


def block_bits(config):
    return ceil_log2(config.blocks)


def slot_layout(config):
    """State of a slot, apart from its progress and from whether it is open or broken.

    ``entries`` of the block table, of which the first ``holes`` have been given up; the others as
    `olivine.kvcache.lookup.LookupAnswer`. ``host`` is where the contents were last swapped out to, in units.
    """
    places, entries = range(config.max_sequence + 1), range(config.table_entries + 1)
    return data.StructLayout({
        "generation": unsigned(GENERATION_BITS), "swapped": 1, "policy": CachePolicy,
        "size": unsigned(LENGTH_BITS), "recent": unsigned(LENGTH_BITS), "chunk": unsigned(LENGTH_BITS),
        "length": places, "reserved": places, "before": places, "filled": places,
        "entries": entries, "holes": entries, "host": unsigned(unit_bits(config)),
    })


progress_layout = data.StructLayout({"appended": unsigned(16), "summed": unsigned(16)})


class SlotTables(wiring.Component):
    """Memories of slots, and who reads them: the controller, lookups and events.

    State, progress and one entry of the table are read together, and a write of a state may go with a write of an
    entry: a lookup sees both as they were before such a write, or both as they are after it. There is one read
    port: the controller goes first, then an event, then a lookup, which waits while an event is offered.

    ::

        cycle  0  lookup taken, memories read        event taken, progress read
               1  answer decided                     progress written
               2  answer offered

    After a reset the generations of all slots are cleared, one a cycle; until then nothing is taken. What else a slot
    holds that is not open, means nothing.

    Members
    -------
    lookup : In(stream LookupRequest), found : Out(stream LookupAnswer)
        An answer with another status than OK is 0 otherwise. One in three cycles, if the controller does not read.
    event : In(stream CacheEvent)
        One in two cycles. Of slots that are not open, or do not exist, nothing is noted.
    clear : Out(1)
        All slots are cleared.
    read : In(1), slot : In, entry : In
        Read a slot and one of its entries, in the next cycle: whether the controller reads is known late, and the
        others' ``ready`` is made of it. The answer is there in the cycle after that only:
    state : Out(slot_layout), progress : Out(progress_layout), open, broken : Out(1), block : Out
    write : In(1), written : Out(1)
        Write ``new_state`` and ``new_open`` of slot ``to``, with ``restart`` also a progress of 0; whether that
        happens in this cycle (it waits for an event at work). A slot that is written closed is no longer broken.
    write_entry : In(1), new_block : In
        Write entry ``to_entry`` of slot ``to``; together with ``write``, in the cycle in which that happens.
    free_slot : Out, any_free : Out(1)
        The lowest slot that is not open, from two cycles after a write on.

    Cost: a memory of `slot_layout` and one of `progress_layout` for each slot, one of a block number for each entry of
    each slot; three flip-flops a slot.
    """

    def __init__(self, config):
        self.config = config
        slot, entry, block = slot_bits(config), entry_bits(config), block_bits(config)
        super().__init__({
            "lookup": In(stream.Signature(LookupRequest)), "found": Out(stream.Signature(LookupAnswer)),
            "event": In(stream.Signature(CacheEvent)), "clear": Out(1),
            "read": In(1), "slot": In(slot), "entry": In(entry),
            "state": Out(slot_layout(config)), "progress": Out(progress_layout), "open": Out(1), "broken": Out(1),
            "block": Out(block),
            "write": In(1), "written": Out(1), "to": In(slot), "new_state": In(slot_layout(config)),
            "new_open": In(1), "restart": In(1),
            "write_entry": In(1), "to_entry": In(entry), "new_block": In(block),
            "free_slot": Out(slot), "any_free": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        comb, sync, config = m.d.comb, m.d.sync, self.config
        sequences, slots, log_entries = config.sequences, 1 << slot_bits(config), entry_bits(config)
        # Whole powers of two: a number out of range reads something, and not X.
        m.submodules.states = states = Memory(shape=slot_layout(config), depth=slots, init=[])
        m.submodules.steps = steps = Memory(shape=progress_layout, depth=slots, init=[])
        m.submodules.tables = tables = Memory(shape=unsigned(block_bits(config)), depth=slots << log_entries, init=[])
        ports = state, step, block = [memory.read_port() for memory in (states, steps, tables)]
        to_state, to_step, to_block = (memory.write_port() for memory in (states, steps, tables))
        opened, broken, touched = Signal(sequences), Signal(sequences), Signal(sequences)

        # Who reads.
        asked, counting = Signal(), Signal()
        reads, own_slot, own_entry = Signal(), Signal.like(self.slot), Signal.like(self.entry)
        sync += [reads.eq(self.read), own_slot.eq(self.slot), own_entry.eq(self.entry)]
        event, request = self.event.payload, self.lookup.payload
        slot, entry = Signal(slot_bits(config)), Signal(log_entries)
        comb += [
            self.event.ready.eq(self.clear & ~counting & ~reads & ~self.write),
            self.lookup.ready.eq(self.clear & ~asked & ~self.found.valid & ~reads
                                 & ~self.event.valid),
            slot.eq(request.slot), entry.eq(request.index),
        ]
        with m.If(reads):
            comb += [slot.eq(own_slot), entry.eq(own_entry)]
        with m.Elif(self.event.valid):
            # Taken or not: a lookup waits, and nobody's place depends on who is ready.
            comb += slot.eq(event.slot)
        comb += [state.addr.eq(slot), step.addr.eq(slot), block.addr.eq(entry | (slot << log_entries))]
        comb += [port.en.eq(1) for port in ports]
        sync += [self.open.eq(opened.bit_select(slot, 1)), self.broken.eq(broken.bit_select(slot, 1))]
        comb += [self.state.eq(state.data), self.progress.eq(step.data), self.block.eq(block.data)]

        # Slots cleared after a reset, then what the controller writes, and counts.
        sweep, counted = Signal(range(slots)), Signal(CacheEvent)
        comb += [
            self.written.eq(self.write & ~counting),
            to_state.addr.eq(self.to), to_state.data.eq(self.new_state), to_state.en.eq(self.written),
            to_step.addr.eq(self.to), to_step.en.eq(self.written & self.restart),
            to_block.addr.eq(self.to_entry | (self.to << log_entries)), to_block.data.eq(self.new_block),
            to_block.en.eq(self.write_entry),
        ]
        with m.If(~self.clear):
            comb += [to_state.addr.eq(sweep), to_state.data.generation.eq(0), to_state.en.eq(1)]
            sync += [sweep.eq(sweep + 1), self.clear.eq(sweep == slots - 1)]
        with m.Elif(counting):
            comb += [
                to_step.addr.eq(counted.slot), to_step.en.eq(counted.slot < sequences),
                to_step.data.appended.eq(step.data.appended + (counted.kind == EventKind.APPENDED)),
                to_step.data.summed.eq(step.data.summed + (counted.kind == EventKind.SUMMED)),
            ]

        # Events. Of a slot that is not open the count does not matter: opening sets it to 0.
        sync += counting.eq(0)
        mine = Signal(sequences)
        with m.If(self.event.valid & self.event.ready):
            sync += counted.eq(event)
            comb += [mine[index].eq(event.slot == index) for index in range(sequences)]
            with m.Switch(event.kind):
                with m.Case(EventKind.TOUCHED):
                    sync += touched.eq(touched | (mine & opened))
                with m.Case(EventKind.ENDED):
                    sync += touched.eq(0)
                    with m.If(event.failed):
                        sync += broken.eq(broken | touched)
                with m.Default():
                    sync += counting.eq(1)
        with m.If(self.written):
            for index in range(sequences):
                with m.If(self.to == index):
                    sync += opened[index].eq(self.new_open)
                    with m.If(~self.new_open):
                        sync += [broken[index].eq(0), touched[index].eq(0)]

        sync += [self.any_free.eq(~opened.all()), self.free_slot.eq(0)]
        for index in reversed(range(sequences)):
            with m.If(~opened[index]):
                sync += self.free_slot.eq(index)

        self._answer(m, asked, request)
        return m

    def _answer(self, m, asked, request):
        """A lookup's second cycle."""
        state, answer, asking = self.state, Signal(LookupAnswer), Signal(LookupRequest)
        m.d.sync += asked.eq(0)
        with m.If(self.lookup.valid & self.lookup.ready):
            m.d.sync += [asking.eq(request), asked.eq(1)]
        present = (asking.index >= state.holes) & (asking.index < state.entries)
        with m.If(asking.slot >= self.config.sequences):
            m.d.comb += answer.status.eq(CacheStatus.NO_SEQUENCE)
        with m.Elif(asking.generation != state.generation):
            m.d.comb += answer.status.eq(CacheStatus.STALE_HANDLE)
        with m.Elif(~self.open):
            m.d.comb += answer.status.eq(CacheStatus.NO_SEQUENCE)
        with m.Elif(self.broken):
            m.d.comb += answer.status.eq(CacheStatus.BROKEN)
        with m.Elif(state.swapped):
            m.d.comb += answer.status.eq(CacheStatus.SWAPPED)
        with m.Else():
            m.d.comb += [answer.status.eq(CacheStatus.OK), answer.present.eq(present),
                         answer.block.eq(Mux(present, self.block, 0)),
                         answer.appended.eq(self.progress.appended), answer.summed.eq(self.progress.summed)]
            m.d.comb += [answer[name].eq(state[name]) for name in (
                "policy", "length", "reserved", "before", "filled", "size", "recent", "chunk")]
        with m.If(self.found.ready):
            m.d.sync += self.found.valid.eq(0)
        with m.If(asked):
            m.d.sync += [self.found.valid.eq(1), self.found.payload.eq(answer)]
