"""Proofs of the cache's controller: who holds a block, what lookups answer. Within 18 cycles of the start."""

from dataclasses import replace

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from olivine.config import PRESETS
from olivine.kvcache.controller import CacheController
from olivine.kvcache.descriptor import CacheStatus
from olivine.kvcache.formats import PoolOp, PoolStatus
from olivine.kvcache.lookup import LookupAnswer

from tests.formal import prove
from tests.stream.harness import any_constant, holds, taken

CONFIG = replace(PRESETS["tiny"], lanes=4, sequences=2, blocks=3, max_sequence=8, tile_bytes=0)
"""Two slots with two entries each, and three blocks."""


class ControllerHarness(wiring.Component):
    """Any commands, events, lookups, answers of the mover and stalls; members of commands have a few bits.

    Tables and states are followed by what is written into `SlotTables`, users of one block, which is any, by what the
    pool is asked and answers.
    """

    def __init__(self, config=CONFIG):
        self.config, self.unit = config, CacheController(config)
        super().__init__({
            "op": In(3), "policy": In(2), "tree": In(1), "command_slot": In(2), "command_generation": In(2),
            "count": In(4), "size": In(3), "recent": In(2), "chunk": In(2), "path": In(5), "host": In(1),
            "command_valid": In(1), "answer_ready": In(1),
            "slot": In(2), "generation": In(2), "index": In(2), "lookup_valid": In(1), "found_ready": In(1),
            "kind": In(2), "event_slot": In(2), "failed": In(1), "event_valid": In(1),
            "move_ready": In(1), "moved_ok": In(1), "moved_valid": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        command, geometry = unit.command.payload, unit.geometry
        m.d.comb += [
            geometry.block_units.eq(1), geometry.blocks.eq(self.config.blocks), geometry.heads.eq(1),
            geometry.log_cells.eq(3),
            command.op.eq(self.op), command.policy.eq(self.policy), command.tree.eq(self.tree),
            command.slot.eq(self.command_slot), command.generation.eq(self.command_generation),
            command.count.eq(self.count), command.size.eq(self.size), command.recent.eq(self.recent),
            command.chunk.eq(self.chunk), command.path.eq(self.path), command.host.eq(self.host << 11),
            unit.command.valid.eq(self.command_valid), unit.answer.ready.eq(self.answer_ready),
            unit.lookup.payload.slot.eq(self.slot), unit.lookup.payload.generation.eq(self.generation),
            unit.lookup.payload.index.eq(self.index), unit.lookup.valid.eq(self.lookup_valid),
            unit.found.ready.eq(self.found_ready),
            unit.event.payload.kind.eq(self.kind), unit.event.payload.slot.eq(self.event_slot),
            unit.event.payload.failed.eq(self.failed), unit.event.valid.eq(self.event_valid),
            unit.o_move.ready.eq(self.move_ready), unit.i_moved.payload.ok.eq(self.moved_ok),
            unit.i_moved.valid.eq(self.moved_valid),
        ]
        for port in (unit.answer, unit.found, unit.o_move):
            holds(m, port, Assert)
        one = any_constant(m, range(self.config.blocks))
        m.d.comb += Assume(one < self.config.blocks)
        entries, users = self._tables(m), self._users(m, one)
        self._blocks(m, entries, one, users)
        self._lookups(m, entries)
        return m

    def _tables(self, m):
        """For each slot and entry (here, block): the state of the slot tells of it. And the handles."""
        slots, config = self.unit.slots, self.config
        self.states, self.opened, entries = [], [], []
        for slot in range(config.sequences):
            state, opened = Signal(slots.new_state.shape(), name=f"state_{slot}"), Signal(name=f"opened_{slot}")
            with m.If(slots.written & (slots.to == slot)):
                m.d.sync += [state.eq(slots.new_state), opened.eq(slots.new_open)]
            self.states.append(state)
            self.opened.append(opened)
            table = []
            for index in range(config.table_entries):
                block = Signal(slots.new_block.shape(), name=f"block_{slot}_{index}")
                with m.If(slots.write_entry & (slots.to == slot) & (slots.to_entry == index)):
                    m.d.sync += block.eq(slots.new_block)
                here = opened & ~state.swapped & (state.holes <= index) & (index < state.entries)
                table.append((here, block))
            entries.append(table)
        return entries

    def _users(self, m, one):
        """Users of a block, by the pool's answers."""
        pool, command, users = self.unit.pool, Signal.like(self.unit.pool.i.payload), Signal(3)
        with m.If(taken(pool.i)):
            m.d.sync += command.eq(pool.i.payload)
        with m.If(taken(pool.o) & (pool.o.payload.block == one) & (pool.o.payload.status == PoolStatus.OK)):
            with m.Switch(command.op):
                with m.Case(PoolOp.ALLOC):
                    m.d.comb += Assert(users == 0)
                    m.d.sync += users.eq(1)
                with m.Case(PoolOp.RETAIN):
                    m.d.sync += users.eq(users + 1)
                with m.Case(PoolOp.RELEASE):
                    m.d.sync += users.eq(users - 1)
        m.d.comb += Assert(~taken(pool.o) | (pool.o.payload.status == PoolStatus.OK), "the pool refuses nothing")
        return users

    def _blocks(self, m, entries, one, users):
        """A block in a table is held; while no operation is at work by exactly those that list it."""
        mine = [here & (block == one) for table in entries for here, block in table]
        m.d.comb += Assert(~Cat(mine).any() | (users != 0), "a table lists a free block")
        references = Signal(4)
        m.d.comb += references.eq(sum(mine))
        m.d.comb += Assert(references <= users, "more tables list it than the pool knows")
        with m.If(self.unit.command.ready):
            m.d.comb += Assert(users == references, "users are the tables that list it")
        for state in self.states:
            m.d.comb += Assert((state.reserved == 0) | ~state.swapped)

    def _lookups(self, m, entries):
        """An answer is the state in the cycle in which the lookup was taken."""
        lookup, found = self.unit.lookup, self.unit.found
        request, expected = lookup.payload, Signal(LookupAnswer)
        known, good = Signal(), Signal()
        valid, held, block = Signal(), Signal(), Signal.like(entries[0][0][1])
        for slot, table in enumerate(entries):
            with m.If(request.slot == slot):
                m.d.comb += valid.eq(self.opened[slot] & (self.states[slot].generation == request.generation)
                                     & ~self.states[slot].swapped)
                for index, (here, entry) in enumerate(table):
                    with m.If(request.index == index):
                        m.d.comb += [held.eq(here), block.eq(entry)]
        with m.If(taken(lookup)):
            m.d.sync += [known.eq(valid), good.eq(held), expected.block.eq(Mux(held, block, 0))]
        payload = found.payload
        with m.If(found.valid & (payload.status == CacheStatus.OK)):
            m.d.comb += [Assert(known, "a stale handle, or a sequence that is not here"),
                         Assert(payload.present == good), Assert(payload.block == expected.block)]


# 30 cycles take minutes; the random operations of test_controller.py go further.
def test_within_one_operation():
    prove(ControllerHarness(), "controller", mode="abc_bmc", depth=18)
