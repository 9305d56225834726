"""Weights: panels fetched once a chunk and sorted into records, words and group multipliers."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..memory.tile_buffer import BeatMemory, TileBuffer
from .descriptor import RECORD_BYTES
from .plan import address_bits, plan_layout

__all__ = ["RECORD_SLOTS", "MULTIPLIER_SLOTS", "Record", "channel_address", "WeightAddresses", "WeightLoader"]

RECORD_SLOTS = 8
"""Panels whose epilogue records are on chip: of short reductions as many as the tile buffer holds, and more."""

MULTIPLIER_SLOTS = 16
"""Runs whose group multipliers are on chip."""

Record = data.StructLayout({"bias": signed(32), "mult": unsigned(16), "shift": unsigned(8), "zero": unsigned(8)})
"""Epilogue record of one output channel, as it lies in memory."""

assert Record.size == 8 * RECORD_BYTES


def channel_address(config, slots):
    """Where a channel's numbers are: the panel's or run's slot, and the channel in the panel."""
    return data.StructLayout({"slot": range(slots), "lane": range(config.lanes)})


class WeightAddresses(wiring.Component):
    """Asks for every panel of every chunk.

    Members
    -------
    plan : In
    o : Out(stream(command))

    Throughput: one panel a cycle. Starts by itself after reset; stops after the last panel.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"plan": In(plan_layout(config)), "o": Out(stream.Signature(command(address_bits(config))))})

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        groups, panels = Signal.like(plan.row_groups), Signal.like(plan.panels)
        addr = Signal(address_bits(self.config))
        m.d.comb += [self.o.payload.addr.eq(addr), self.o.payload.bytes.eq(plan.panel_bytes)]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(plan.row_groups), panels.eq(plan.panels), addr.eq(plan.w)]
                m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [panels.eq(panels - 1), addr.eq(addr + plan.panel_bytes)]
                    with m.If(panels == 1):
                        m.d.sync += [panels.eq(plan.panels), addr.eq(plan.w), groups.eq(groups - self.config.contexts)]
                        with m.If(groups <= self.config.contexts):
                            m.next = "DONE"
            with m.State("DONE"):
                pass
        return m


class WeightLoader(wiring.Component):
    """Sorts the beats of a panel: records, then for each run its words and its group multipliers.

    Members
    -------
    plan : In
    i : In(stream(beat))
    level, offset, o, release
        The tile buffer's reading side (`TileBuffer`).
    run_complete : Out(1)
        A run's words, and its multipliers if it has any, are all here since the cycle before.
    multiplier_addr : In(struct ``slot``, ``lane``), multiplier : Out(ArrayLayout(unsigned(8), columns))
    record_addr : In(struct ``slot``, ``lane``), record : Out(ArrayLayout(Record, columns))
        Group multipliers and records of ``columns`` channels from ``lane`` on, asked for the cycle before.
    multiplier_release, record_release : In(1)
        Give the oldest slot back.

    Throughput: one beat a cycle. Stalls when the tile buffer, a slot ring or the next record slot is full.
    """

    def __init__(self, config):
        self.config = config
        columns = config.drain_columns
        super().__init__({
            "plan": In(plan_layout(config)),
            "i": In(stream.Signature(config.bus_bits)),
            "level": Out(range(config.tile_words + 1)), "offset": In(range(config.tile_words)),
            "o": Out(8 * config.lanes), "release": In(1), "run_complete": Out(1),
            "multiplier_addr": In(channel_address(config, MULTIPLIER_SLOTS)),
            "multiplier": Out(data.ArrayLayout(8, columns)), "multiplier_release": In(1),
            "record_addr": In(channel_address(config, RECORD_SLOTS)),
            "record": Out(data.ArrayLayout(Record, columns)), "record_release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, columns = self.config, self.plan, self.config.drain_columns
        bus = config.bus_bytes
        m.submodules.tile = tile = TileBuffer(config.tile_words, config.lanes, bus)
        record_word = max(bus, RECORD_BYTES * columns)
        record_words = config.lanes * RECORD_BYTES // record_word
        m.submodules.records = records = BeatMemory(RECORD_SLOTS * record_words, record_word, bus)
        multiplier_words = config.word_beats
        m.submodules.multipliers = multipliers = BeatMemory(MULTIPLIER_SLOTS * multiplier_words, bus, bus)

        beats = Signal(range(max(config.word_beats, config.lanes * RECORD_BYTES // bus)))   # beat of the piece
        words = Signal.like(plan.run_steps)     # words left in the run
        runs = Signal.like(plan.runs)           # runs left in the panel
        record_slot, multiplier_slot = Signal(range(RECORD_SLOTS)), Signal(range(MULTIPLIER_SLOTS))
        record_free = Signal(range(RECORD_SLOTS + 1), init=RECORD_SLOTS)
        multiplier_free = Signal(range(MULTIPLIER_SLOTS + 1), init=MULTIPLIER_SLOTS)
        record_room, multiplier_room = Signal(init=1), Signal(init=1)       # that one is free
        record_filled, multiplier_filled = Signal(), Signal()

        # Of the next run: the panel's first, or the one behind this one. They are found in two cycles; records, and a
        # run that is not the last, take more.
        next_runs, next_words, filling = Signal.like(runs), Signal.like(words), Signal()
        steps = Mux(next_runs == 1, plan.last_run_steps, plan.run_steps)
        m.d.sync += [next_runs.eq(Mux(filling, plan.runs, runs - 1)),
                     next_words.eq(Mux(plan.int8, steps, (steps + 1) >> 1))]

        taken = self.i.valid & self.i.ready
        record_beats = config.lanes * RECORD_BYTES // bus
        split = record_word // bus              # beats of a record word
        m.d.comb += [
            tile.i.payload.eq(self.i.payload),
            records.write_data.eq(self.i.payload), multipliers.write_data.eq(self.i.payload),
            records.write_addr.eq(record_slot * record_words + beats // split), records.write_beat.eq(beats % split),
            multipliers.write_addr.eq(multiplier_slot * multiplier_words + beats),
        ]
        # A free place is written whether a beat is there or not, until it is: that is known late.
        m.d.sync += self.run_complete.eq(0)
        with m.FSM():
            with m.State("RECORDS"):
                m.d.comb += [self.i.ready.eq(record_room), records.write_enable.eq(self.i.ready), filling.eq(1)]
                with m.If(taken):
                    m.d.sync += beats.eq(beats + 1)
                    with m.If(beats == record_beats - 1):
                        m.d.comb += record_filled.eq(1)
                        m.d.sync += [beats.eq(0), record_slot.eq(record_slot + 1),
                                     runs.eq(next_runs), words.eq(next_words)]
                        m.next = "WORDS"
            with m.State("WORDS"):
                m.d.comb += [self.i.ready.eq(tile.i.ready), tile.i.valid.eq(self.i.valid)]
                with m.If(taken):
                    m.d.sync += beats.eq(beats + 1)
                    with m.If(beats == config.word_beats - 1):
                        m.d.sync += [beats.eq(0), words.eq(words - 1)]
                        with m.If(words == 1):
                            with m.If(plan.grouped):
                                m.next = "MULTIPLIERS"
                            with m.Else():
                                m.d.sync += self.run_complete.eq(1)
                                m.d.sync += [runs.eq(next_runs), words.eq(next_words)]
                                with m.If(runs == 1):
                                    m.next = "RECORDS"
            with m.State("MULTIPLIERS"):
                m.d.comb += [self.i.ready.eq(multiplier_room), multipliers.write_enable.eq(self.i.ready)]
                with m.If(taken):
                    m.d.sync += beats.eq(beats + 1)
                    with m.If(beats == multiplier_words - 1):
                        m.d.comb += multiplier_filled.eq(1)
                        m.d.sync += [self.run_complete.eq(1), beats.eq(0), multiplier_slot.eq(multiplier_slot + 1),
                                     runs.eq(next_runs), words.eq(next_words)]
                        m.next = "WORDS"
                        with m.If(runs == 1):
                            m.next = "RECORDS"
        # What was filled counts a cycle later: a beat of weights at least comes before the next records or multipliers.
        for filled, free, room, release in (
                (record_filled, record_free, record_room, self.record_release),
                (multiplier_filled, multiplier_free, multiplier_room, self.multiplier_release)):
            used = Signal()
            m.d.sync += [used.eq(filled), free.eq(free - used + release),
                         room.eq(release | Mux(used, free[1:].any(), free.any()))]

        # Reading: the tile buffer's words, and the channels' numbers picked out of their words.
        m.d.comb += [self.level.eq(tile.level), tile.offset.eq(self.offset), tile.release.eq(self.release),
                     self.o.eq(tile.o)]
        for memory, addr, item_bits, o in (
                (records, self.record_addr, 8 * RECORD_BYTES, self.record),
                (multipliers, self.multiplier_addr, 8, self.multiplier)):
            items = 8 * memory.word_bytes // (item_bits * columns)      # choices within a word
            choice = Signal(range(items))
            place = addr.lane // columns
            m.d.comb += [
                memory.addr.eq(addr.slot * (config.lanes // (items * columns)) + place // items),
                o.eq(memory.o.word_select(choice, item_bits * columns)),
            ]
            m.d.sync += choice.eq(place % items)
        return m
