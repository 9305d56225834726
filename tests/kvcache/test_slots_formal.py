"""Proof, for all time: what a lookup answers is what was written for its handle, whatever the controller does."""

from dataclasses import replace

from amaranth.hdl import Assert, Assume, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from olivine.config import PRESETS
from olivine.kvcache.descriptor import CacheStatus
from olivine.kvcache.slots import SlotTables

from tests.formal import prove
from tests.stream.harness import any_constant, holds, taken

CONFIG = replace(PRESETS["tiny"], lanes=4, sequences=2, blocks=3, max_sequence=8, tile_bytes=0)
"""Two slots with two entries each, and three blocks."""


class SlotsHarness(wiring.Component):
    """Any reads and writes of a controller, any events and lookups; one slot and one entry, any, are followed.

    Members of a state that an answer only carries along are left out.
    """

    def __init__(self, config=CONFIG):
        self.config, self.unit = config, SlotTables(config)
        super().__init__({
            "slot": In(2), "generation": In(2), "index": In(2), "lookup_valid": In(1), "found_ready": In(1),
            "kind": In(2), "event_slot": In(2), "failed": In(1), "event_valid": In(1),
            "read": In(1), "read_slot": In(1), "read_entry": In(1), "write": In(1), "to": In(1), "open": In(1),
            "new_generation": In(2), "swapped": In(1), "holes": In(2), "entries": In(2), "restart": In(1),
            "write_entry": In(1), "to_entry": In(1), "block": In(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        request, found = unit.lookup.payload, unit.found
        state = unit.new_state
        m.d.comb += [
            request.slot.eq(self.slot), request.generation.eq(self.generation), request.index.eq(self.index),
            unit.lookup.valid.eq(self.lookup_valid), found.ready.eq(self.found_ready),
            unit.event.payload.kind.eq(self.kind), unit.event.payload.slot.eq(self.event_slot),
            unit.event.payload.failed.eq(self.failed), unit.event.valid.eq(self.event_valid),
            unit.read.eq(self.read), unit.slot.eq(self.read_slot), unit.entry.eq(self.read_entry),
            unit.write.eq(self.write), unit.to.eq(self.to), unit.new_open.eq(self.open),
            state.generation.eq(self.new_generation), state.swapped.eq(self.swapped), state.holes.eq(self.holes),
            state.entries.eq(self.entries), unit.restart.eq(self.restart),
            unit.write_entry.eq(self.write_entry), unit.to_entry.eq(self.to_entry), unit.new_block.eq(self.block),
            # The controller begins when the slots are cleared.
            Assume(unit.clear | ~(self.write | self.write_entry)),
            # An entry goes with the state in one cycle, or is written while no state is.
            Assume(~(self.write & self.write_entry) | unit.written),
        ]
        holds(m, found, Assert)

        one, entry = any_constant(m, 1), any_constant(m, 1)
        opened, swapped, generation = Signal(), Signal(), Signal(2)
        holes, entries, block, known = Signal(2), Signal(2), Signal(2), Signal()
        with m.If(unit.written & (self.to == one)):
            m.d.sync += [opened.eq(self.open), swapped.eq(self.swapped), generation.eq(self.new_generation),
                         holes.eq(self.holes), entries.eq(self.entries)]
        with m.If(self.write_entry & (self.to == one) & (self.to_entry == entry)):
            m.d.sync += [block.eq(self.block), known.eq(1)]

        # As a lookup of this slot and entry was taken.
        mine, usable, listed, told, at = Signal(), Signal(), Signal(), Signal(), Signal(2)
        with m.If(taken(unit.lookup)):
            m.d.sync += [
                mine.eq((self.slot == one) & (self.index == entry)),
                usable.eq(opened & ~swapped & (generation == self.generation)),
                listed.eq((holes <= entry) & (entry < entries)), told.eq(known), at.eq(block),
            ]
        answer = found.payload
        granted = found.valid & mine & (answer.status == CacheStatus.OK)
        m.d.comb += [
            Assert(~granted | usable, "a closed, swapped or stale sequence is answered for"),
            Assert(~granted | (answer.present == listed), "an entry that the state does not tell of"),
            Assert(~(granted & answer.present & told) | (answer.block == at), "another block than was written"),
            Assert(~found.valid | answer.present & (answer.status == CacheStatus.OK) | (answer.block == 0),
                   "a block that is not the sequence's"),
        ]
        return m


def test_for_all_time():
    prove(SlotsHarness(), "slots", mode="pdr")
