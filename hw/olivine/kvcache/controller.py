"""The cache's controller: handles, block tables, and the operations on sequences."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .addresses import LOG_BLOCK_UNIT, address_clip, address_sum, unit_bits
from .descriptor import TREE_PLACES, CacheAnswer, CacheCommand, CacheGeometry, CacheOp, CachePolicy, CacheStatus
from .formats import PoolOp
from .lookup import CacheEvent, LookupAnswer, LookupRequest
from .moves import MoveAnswer, MoveCommand, MoveKind
from .op_check import OperationCheck, clip_count, count_bits
from .op_move import MoveAddresses
from .pool import BlockPool
from .slots import SlotTables, entry_bits, progress_layout, slot_bits, slot_layout

__all__ = ["CacheController"]


class CacheController(wiring.Component):
    """Does one operation at a time, all or nothing; answers lookups and takes events at any time.

    What each operation does, which status it answers and in which order moves, grants and releases come:
    docs/kv-cache.md and its golden model. A lookup sees a sequence as it is before an operation or after it: what
    an operation changes is written in one cycle, the state of the slot and with it the one entry that a copy on
    write replaces. Before that cycle the operation writes only entries of which no state tells; after it only blocks
    are released. A state is written after the mover has answered OK to everything.

    Members
    -------
    geometry : In(CacheGeometry)
        Constant from the first command on.
    command : In(stream CacheCommand), answer : Out(stream CacheAnswer)
        An answer for each command; the next is taken when it has left. ``opcode`` and padding are not looked at. A
        policy that does not exist is BAD_COUNT.
    lookup : In(stream LookupRequest), found : Out(stream LookupAnswer), event : In(stream CacheEvent)
        See `olivine.kvcache.slots.SlotTables`. An event that comes while COMMIT or APPEND of its sequence is at work
        counts either before or after it.
    o_move : Out(stream MoveCommand), i_moved : In(stream MoveAnswer)
        The mover: one command at a time.

    Cycles from a command's transfer to its answer's ``valid``, if nothing stalls. M are the cycles of a move: 3, the
    bits of the larger block number, and the mover's, from its command to its answer::

        refused         8; NO_BLOCK of APPEND 9, or 18
        OPEN            11
        APPEND          13, and 4 for each block granted; 9 if the last block is partly filled; M + 6 if it is copied
        COMMIT          11, and 6 for each block given up, 1 if there are any at the end; of a path 2, 2 for each place
                        up to its last one, and M + 3 for each move
        FORK            15, and 6 for each block
        TRUNCATE        11, and 6 for each block given up, 1 if there are any
        CLOSE           11, and 6 for each block
        SWAP_OUT        12, and M + 9 for each block
        SWAP_IN         12, and M + 4 for each block

    Cost: `SlotTables`, a pool with a count for each block, registers for one command and one state. No multiplier.
    """

    def __init__(self, config):
        self.config = config
        self.slots = SlotTables(config)
        # A block has as many users as there are sequences at most, and one more while it is asked how many.
        self.pool = BlockPool(config.blocks, (config.sequences + 1).bit_length())
        super().__init__({
            "geometry": In(CacheGeometry),
            "command": In(stream.Signature(CacheCommand)), "answer": Out(stream.Signature(CacheAnswer)),
            "lookup": In(stream.Signature(LookupRequest)), "found": Out(stream.Signature(LookupAnswer)),
            "event": In(stream.Signature(CacheEvent)),
            "o_move": Out(stream.Signature(MoveCommand)), "i_moved": In(stream.Signature(MoveAnswer)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.slots, m.submodules.pool = self.slots, self.pool
        m.submodules.check = self.check = OperationCheck(config)
        m.submodules.moves = self.moves = MoveAddresses(config)
        slots, check = self.slots, self.check
        for port in ("lookup", "event"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(slots, port))
        wiring.connect(m, slots.found, wiring.flipped(self.found))
        wiring.connect(m, self.moves.o, wiring.flipped(self.o_move))

        entries = range(config.table_entries + 1)
        self.job = job = Signal(CacheCommand)
        self.slot, self.new_slot = Signal(slot_bits(config)), Signal(slot_bits(config))
        self.state, progress = Signal(slot_layout(config)), Signal(progress_layout)
        opened, broken, self.unwritten = Signal(), Signal(), Signal()
        self.status, self.address = Signal(CacheStatus), Signal(48)
        # A walk through entries ``index`` to before ``stop``, and perhaps another.
        self.index, self.stop = Signal(entries), Signal(entries)
        self.next_index, self.next_stop = Signal(entries), Signal(entries)
        self.source, self.target = Signal.like(slots.block), Signal.like(slots.block)
        self.shared, self.host = Signal(), Signal(unit_bits(config))
        self.writes = Signal()      # The new state is on its way into the tables.
        # A walk along a path: places in a table, of the next bit and of the next that is kept.
        self.path, self.keep, stray = Signal(TREE_PLACES), Signal(count_bits(config)), Signal()
        self.place, self.kept = Signal(range(config.max_sequence + TREE_PLACES + 1)), Signal.like(self.state.length)
        self.heavy = self.state.policy == CachePolicy.HEAVY

        m.d.sync += self.pool.size.eq(Mux(self.geometry.blocks > config.blocks, config.blocks, self.geometry.blocks))
        m.d.comb += [
            self.moves.geometry.eq(self.geometry), check.geometry.eq(self.geometry),
            check.command.eq(job), check.state.eq(self.state), check.progress.eq(progress), check.open.eq(opened),
            check.broken.eq(broken), check.keep.eq(self.keep), check.stray.eq(stray),
            check.any_free.eq(slots.any_free), check.free.eq(self.pool.free),
            self.answer.payload.status.eq(self.status), self.slot.eq(job.slot),
        ]
        # Of the operation's last move, the one that failed if one did.
        with m.If(self.i_moved.valid):
            m.d.sync += self.address.eq(self.i_moved.payload.address)
        with m.If(self.status == CacheStatus.FAULT):
            m.d.comb += self.answer.payload.address.eq(self.address)
        with m.If((self.status == CacheStatus.OK) & ((job.op == CacheOp.OPEN) | (job.op == CacheOp.FORK))):
            m.d.comb += [self.answer.payload.slot.eq(self.new_slot),
                         self.answer.payload.generation.eq(self.state.generation)]

        self._new_state(m)
        self._move_payload(m)
        tree = (job.op == CacheOp.COMMIT) & job.tree
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.command.ready.eq(slots.clear)
                with m.If(self.command.valid & slots.clear):
                    m.d.sync += job.eq(self.command.payload)
                    m.next = "READ"
            with m.State("READ"):
                self._read(m)
                m.d.sync += [self.new_slot.eq(slots.free_slot), self.path.eq(job.path), stray.eq(0),
                             self.keep.eq(Mux(tree, 0, clip_count(config, job.count))), self.place.eq(0),
                             self.shared.eq(0), self.unwritten.eq(0)]
                m.next = "READ_WAIT"
            self._wait(m, "READ_WAIT", "LOAD")
            with m.State("LOAD"):
                m.d.sync += [self.state.eq(slots.state), progress.eq(slots.progress), opened.eq(slots.open),
                             broken.eq(slots.broken)]
                m.next = "CHECK_0"
                with m.If(tree):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += self.path.eq(self.path >> 1)
                m.next = "CHECK_0"
                with m.If(self.path != 0):
                    m.d.sync += self.place.eq(self.place + 1)
                    with m.If(self.path[0]):
                        m.d.sync += [self.keep.eq(self.keep + 1), stray.eq(stray | (self.place >= self.state.reserved))]
                    m.next = "COUNT"
            for cycle in range(check.latency):
                with m.State(f"CHECK_{cycle}"):
                    m.next = f"CHECK_{cycle + 1}" if cycle + 1 < check.latency else "DECIDE"
            with m.State("DECIDE"):
                self._decide(m)
            self._append(m)
            self._commit(m)
            self._fork(m)
            self._swap_out(m)
            self._swap_in(m)
            self._write(m)
            self._drop(m)
            with m.State("ANSWER"):
                m.d.comb += self.answer.valid.eq(1)
                with m.If(self.answer.ready):
                    m.next = "IDLE"
        return m

    # Parts of operations

    def _read(self, m, **of):
        """Read a slot's state and an entry, those of the operation or others: there after the next cycle."""
        m.d.comb += [self.slots.read.eq(1), *(getattr(self.slots, name).eq(value) for name, value in of.items())]

    def _wait(self, m, name, then):
        """A state that takes a cycle."""
        with m.State(name):
            m.next = then

    def _ask_pool(self, m, name, op, then):
        """States from ``name`` on: one operation of the pool, on ``source``. ``then()`` when its answer is there."""
        with m.State(name):
            m.d.comb += [self.pool.i.valid.eq(1), self.pool.i.payload.op.eq(op)]
            with m.If(self.pool.i.ready):
                m.next = f"{name}_WAIT"
        with m.State(f"{name}_WAIT"):
            m.d.comb += self.pool.o.ready.eq(1)
            with m.If(self.pool.o.valid):
                then()

    def _move(self, m, name, then, failed):
        """States from ``name`` on: the operation's move. ``then()`` or ``failed()`` when its answer is there."""
        with m.State(name):
            m.d.comb += self.moves.i.valid.eq(1)
            with m.If(self.moves.i.ready):
                m.next = f"{name}_WAIT"
        with m.State(f"{name}_WAIT"):
            m.d.comb += self.i_moved.ready.eq(1)
            with m.If(self.i_moved.valid):
                with m.If(self.i_moved.payload.ok):
                    then()
                with m.Else():
                    m.d.sync += self.status.eq(CacheStatus.FAULT)
                    failed()

    def _move_payload(self, m):
        """Of the operation's moves: what they are does not depend on the state, which is known late."""
        move, op, log_lanes = self.moves.i.payload, self.job.op, self._log_lanes
        # Filled places of the block in entry ``index``.
        rest = Mux(self.heavy, self.state.filled, self.state.length) - (self.index << log_lanes)
        places = Signal(range(self.config.lanes + 1))
        m.d.sync += places.eq(Mux(rest < self.config.lanes, rest, self.config.lanes))
        m.d.comb += [move.source.eq(self.source), move.target.eq(self.target), move.host.eq(self.host)]
        with m.Switch(op):
            with m.Case(CacheOp.APPEND):
                m.d.comb += [move.kind.eq(MoveKind.COPY), move.places.eq(self.state.length[:log_lanes])]
            with m.Case(CacheOp.COMMIT):
                m.d.comb += [move.kind.eq(MoveKind.PLACE), move.source_place.eq(self.place[:log_lanes]),
                             move.target_place.eq(self.kept[:log_lanes])]
            with m.Case(CacheOp.SWAP_OUT):
                m.d.comb += [move.kind.eq(MoveKind.COPY), move.zero.eq(1), move.to_host.eq(1), move.places.eq(places)]
            with m.Case(CacheOp.SWAP_IN):
                m.d.comb += [move.kind.eq(MoveKind.COPY), move.from_host.eq(1), move.places.eq(places)]

    def _go(self, m, state, *statements):
        """A function that executes statements and goes to a state."""
        def go():
            m.d.sync += list(statements)
            m.next = state
        return go

    @property
    def _host(self):
        """The window of host memory that the command names, in units."""
        return address_clip(self.job.host >> LOG_BLOCK_UNIT, len(self.host))

    @property
    def _log_lanes(self):
        return self.config.lanes.bit_length() - 1

    def _decide(self, m):
        """Refuse it, or begin; operations that only write a state and release blocks go to WRITE."""
        state, after, job = self.state, self.check.after, self.job
        m.d.sync += [self.status.eq(self.check.status), self.index.eq(state.holes), self.stop.eq(state.entries),
                     self.path.eq(job.path), self.place.eq(state.length), self.kept.eq(state.length)]
        m.next = "WRITE"
        with m.Switch(job.op):
            with m.Case(CacheOp.APPEND):
                m.next = "ROOM"
                with m.If(~self.heavy & state.length[:self._log_lanes].any()):
                    m.next = "LAST"
            with m.Case(CacheOp.COMMIT):
                with m.If(job.tree):
                    m.next = "PATH"
            with m.Case(CacheOp.FORK):
                m.next = "FORK"
            with m.Case(CacheOp.SWAP_OUT):
                m.d.sync += self.host.eq(self._host)
                m.next = "OUT"
            with m.Case(CacheOp.SWAP_IN):
                m.d.sync += self.host.eq(state.host)
                m.next = "IN"
        with m.If(self.check.status != CacheStatus.OK):
            m.next = "ANSWER"
        # What WRITE releases: entries given up at the front, then at the end.
        m.d.sync += [self.next_index.eq(state.entries), self.next_stop.eq(state.entries)]
        with m.If(((job.op == CacheOp.COMMIT) & ~self.heavy) | (job.op == CacheOp.TRUNCATE)):
            m.d.sync += self.next_index.eq(after.entries)

    def _append(self, m):
        """Is the last block shared? Then copy it first. Grant what is missing."""
        state, after = self.state, self.check.after
        last = (state.entries - 1)[:entry_bits(self.config)]
        with m.State("LAST"):
            self._read(m)
            m.next = "LAST_WAIT"
        self._wait(m, "LAST_WAIT", "LAST_LOAD")
        with m.State("LAST_LOAD"):
            m.d.sync += self.source.eq(self.slots.block)
            m.next = "LAST_USERS"
        # The pool tells the users of a block that one retains.
        self._ask_pool(m, "LAST_USERS", PoolOp.RETAIN,
                       self._go(m, "LAST_BACK", self.shared.eq(self.pool.users > 1)))
        self._ask_pool(m, "LAST_BACK", PoolOp.RELEASE, self._go(m, "ROOM"))
        with m.State("ROOM"):
            m.d.sync += self.index.eq(state.entries)
            m.next = "GROW"
            with m.If(self.shared):
                m.next = "COPY_GRANT"
            with m.If(after.entries - state.entries + self.shared > self.pool.free):
                m.d.sync += self.status.eq(CacheStatus.NO_BLOCK)
                m.next = "ANSWER"
        self._ask_pool(m, "COPY_GRANT", PoolOp.ALLOC,
                       self._go(m, "COPY", self.target.eq(self.pool.o.payload.block)))
        self._move(m, "COPY", self._go(m, "COPIED"), self._go(m, "COPY_BACK", self.source.eq(self.target)))
        self._ask_pool(m, "COPY_BACK", PoolOp.RELEASE, self._go(m, "ANSWER"))
        self._ask_pool(m, "COPIED", PoolOp.RELEASE, self._go(m, "GROW"))
        with m.State("GROW"):
            m.next = "GRANT"
            with m.If(self.index == after.entries):
                # The entry that WRITE replaces if the last block was shared.
                m.d.sync += self.index.eq(last)
                m.next = "WRITE"

        def granted():
            m.d.comb += self.slots.write_entry.eq(1)
            m.d.sync += self.index.eq(self.index + 1)
            m.next = "GROW"
        self._ask_pool(m, "GRANT", PoolOp.ALLOC, granted)

    def _commit(self, m):
        """Walk along a path, and move each place that changes."""
        entry = entry_bits(self.config)
        onward = self.place.eq(self.place + 1)
        with m.State("PATH"):
            # Perhaps for nothing: that is known late, and nobody else reads much while a path is walked.
            self._read(m, entry=(self.place >> self._log_lanes)[:entry])
            m.d.sync += self.path.eq(self.path >> 1)
            with m.If(self.path == 0):
                m.next = "WRITE"
            with m.Elif(~self.path[0]):
                m.d.sync += onward
            with m.Elif(self.place == self.kept):
                m.d.sync += [onward, self.kept.eq(self.kept + 1)]
            with m.Else():
                m.next = "PATH_SOURCE"
        with m.State("PATH_SOURCE"):
            self._read(m, entry=(self.kept >> self._log_lanes)[:entry])
            m.next = "PATH_LOAD"
        with m.State("PATH_LOAD"):
            m.d.sync += self.source.eq(self.slots.block)
            m.next = "PATH_TARGET"
        with m.State("PATH_TARGET"):
            m.d.sync += self.target.eq(self.slots.block)
            m.next = "PATH_MOVE"
        # Places may be overwritten whose contents were to move on: the step is to be appended again.
        with m.State("UNWRITTEN"):
            m.d.sync += [self.unwritten.eq(1), self.writes.eq(~self.slots.written)]
            with m.If(self.slots.written):
                m.next = "ANSWER"
        self._move(m, "PATH_MOVE", self._go(m, "PATH", onward, self.kept.eq(self.kept + 1)), self._go(m, "UNWRITTEN"))

    def _fork(self, m):
        """Copy the table, one more user for each of its blocks."""
        with m.State("FORK"):
            self._read(m, slot=self.new_slot)
            m.next = "FORK_WAIT"
        self._wait(m, "FORK_WAIT", "FORK_LOAD")
        with m.State("FORK_LOAD"):
            m.d.sync += self.state.generation.eq(self.slots.state.generation)
            m.next = "SHARE"
        with m.State("SHARE"):
            self._read(m)
            m.next = "SHARE_WAIT"
            with m.If(self.index == self.stop):
                m.next = "WRITE"
        self._wait(m, "SHARE_WAIT", "SHARE_LOAD")
        with m.State("SHARE_LOAD"):
            m.d.comb += self.slots.write_entry.eq(1)
            m.d.sync += self.source.eq(self.slots.block)
            m.next = "RETAIN"
        self._ask_pool(m, "RETAIN", PoolOp.RETAIN, self._go(m, "SHARE", self.index.eq(self.index + 1)))

    def _onward(self):
        return [self.index.eq(self.index + 1), self.host.eq(address_sum(self.host, self.geometry.block_units))]

    def _swap_out(self, m):
        """Copy all blocks to host memory."""
        with m.State("OUT"):
            self._read(m)
            m.next = "OUT_WAIT"
            with m.If(self.index == self.stop):
                m.next = "WRITE"
        self._wait(m, "OUT_WAIT", "OUT_LOAD")
        with m.State("OUT_LOAD"):
            m.d.sync += self.source.eq(self.slots.block)
            m.next = "OUT_COPY"
        self._move(m, "OUT_COPY", self._go(m, "OUT", *self._onward()), self._go(m, "ANSWER"))

    def _swap_in(self, m):
        """Grant a block and fill it, one after the other; give all back if one fails."""
        with m.State("IN"):
            m.next = "IN_GRANT"
            with m.If(self.index == self.stop):
                m.next = "WRITE"

        def granted():
            m.d.comb += self.slots.write_entry.eq(1)
            m.d.sync += self.target.eq(self.pool.o.payload.block)
            m.next = "IN_COPY"
        self._ask_pool(m, "IN_GRANT", PoolOp.ALLOC, granted)
        self._move(m, "IN_COPY", self._go(m, "IN", *self._onward()),
                   self._go(m, "DROP", self.index.eq(self.state.holes), self.stop.eq(self.index + 1)))

    def _new_state(self, m):
        """What becomes of the state; looked at in WRITE only, and in UNWRITTEN. And where it goes, and new entries."""
        job, state, after, new, slots = self.job, self.state, self.check.after, self.slots.new_state, self.slots
        opens, forks = job.op == CacheOp.OPEN, job.op == CacheOp.FORK
        m.d.comb += [
            new.eq(state), slots.write.eq(self.writes), slots.new_open.eq(job.op != CacheOp.CLOSE), slots.restart.eq(1),
            slots.to.eq(Mux(opens | forks, self.new_slot, self.slot)), slots.to_entry.eq(self.index),
            slots.new_block.eq(Mux(forks, slots.block, Mux(self.writes, self.target, self.pool.o.payload.block))),
            self.pool.i.payload.block.eq(self.source),
            # Of OPEN and APPEND what DROP reads does not matter, as there is nothing to release.
            slots.slot.eq(Mux(opens, slots.free_slot, self.slot)),
            slots.entry.eq(Mux(job.op == CacheOp.APPEND, state.entries - 1, self.index)),
        ]
        with m.Switch(job.op):
            with m.Case(CacheOp.OPEN):
                m.d.comb += [new[name].eq(job[name]) for name in ("policy", "size", "recent", "chunk")]
                m.d.comb += [new[name].eq(0) for name in (
                    "swapped", "length", "reserved", "before", "filled", "entries", "holes")]
            with m.Case(CacheOp.APPEND):
                m.d.comb += [new.reserved.eq(job.count), new.before.eq(state.filled),
                             new.filled.eq(after.filled), new.entries.eq(after.entries)]
            with m.Case(CacheOp.COMMIT):
                with m.If(~self.unwritten):
                    m.d.comb += [new.length.eq(after.length), new.reserved.eq(0), new.holes.eq(after.holes),
                                 new.entries.eq(self.next_index)]
            with m.Case(CacheOp.TRUNCATE):
                m.d.comb += [slots.restart.eq(0), new.length.eq(after.length), new.filled.eq(after.filled),
                             new.entries.eq(self.next_index)]
            with m.Case(CacheOp.CLOSE):
                m.d.comb += new.generation.eq(state.generation + 1)
            with m.Case(CacheOp.SWAP_OUT):
                m.d.comb += [slots.restart.eq(0), new.swapped.eq(1), new.host.eq(self._host)]
            with m.Case(CacheOp.SWAP_IN):
                m.d.comb += [slots.restart.eq(0), new.swapped.eq(0)]

    def _write(self, m):
        """Write the new state: from here on the operation is done. Then release what it gave up."""
        slots, job, state, after = self.slots, self.job, self.state, self.check.after
        with m.State("WRITE"):
            # From the next cycle on, until it is done.
            m.d.sync += self.writes.eq(~slots.written)
            # Of the walk from the first entry that is no hole, nothing is left by default.
            m.d.sync += self.stop.eq(self.index)
            with m.Switch(job.op):
                with m.Case(CacheOp.APPEND):
                    m.d.comb += slots.write_entry.eq(self.shared & slots.written)
                with m.Case(CacheOp.COMMIT):
                    m.d.sync += self.stop.eq(after.holes)
                with m.Case(CacheOp.CLOSE):
                    m.d.sync += self.stop.eq(Mux(state.swapped, self.index, state.entries))
                with m.Case(CacheOp.SWAP_OUT):
                    m.d.sync += [self.index.eq(state.holes), self.stop.eq(state.entries)]
            m.next = "DROP"
            with m.If(~slots.written):
                m.next = "WRITE"

    def _drop(self, m):
        """Release the blocks of a walk, and of the next one."""
        with m.State("DROP"):
            self._read(m)
            m.next = "DROP_WAIT"
            with m.If(self.index == self.stop):
                m.d.sync += [self.index.eq(self.next_index), self.stop.eq(self.next_stop),
                             self.next_index.eq(self.next_stop)]
                m.next = "DROP"
                with m.If(self.next_index == self.next_stop):
                    m.next = "ANSWER"
        self._wait(m, "DROP_WAIT", "DROP_LOAD")
        with m.State("DROP_LOAD"):
            m.d.sync += self.source.eq(self.slots.block)
            m.next = "RELEASE"
        self._ask_pool(m, "RELEASE", PoolOp.RELEASE, self._go(m, "DROP", self.index.eq(self.index + 1)))
