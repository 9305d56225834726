"""Whether an operation on a sequence is allowed, and the numbers that it leaves behind."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .descriptor import BLOCK_UNIT, FREE_CELL, LENGTH_BITS, CacheCommand, CacheGeometry, CacheOp, CachePolicy
from .descriptor import CacheStatus as S
from .slots import progress_layout, slot_layout

__all__ = ["count_bits", "clip_count", "after_layout", "OperationCheck"]


def count_bits(config):
    """Of a number of places; all ones are more than any sequence has."""
    return min((config.max_sequence + 1).bit_length(), LENGTH_BITS)


def clip_count(config, value):
    """A number of places as far as it can matter: what is too large for any sequence becomes all ones."""
    bits = count_bits(config)
    return value[:bits] | value[bits:].any().replicate(bits)


def after_layout(config):
    """State after an operation: ``length`` with the step's places (at COMMIT those kept), cells ``filled``,
    ``entries`` of the table, ``holes`` among them."""
    places, entries = range(config.max_sequence + 1), range(config.table_entries + 1)
    return data.StructLayout({"length": places, "filled": places, "entries": entries, "holes": entries})


class OperationCheck(wiring.Component):
    """Statuses in their order, apart from APPEND's NO_BLOCK and from FAULT.

    Members
    -------
    geometry : In(CacheGeometry), command : In(CacheCommand)
    state, progress, open, broken : In
        Of the command's slot.
    keep : In, stray : In(1)
        COMMIT: number of places kept; the path names one that is not reserved.
    any_free : In(1), free : In
        There is a free slot; free blocks.
    status : Out(CacheStatus), after : Out(after_layout)
        ``after`` holds for OK only.

    Latency: 3 cycles from stable inputs, 4 from the command's.
    """

    latency = 3

    def __init__(self, config):
        self.config = config
        super().__init__({
            "geometry": In(CacheGeometry), "command": In(CacheCommand), "state": In(slot_layout(config)),
            "progress": In(progress_layout), "open": In(1), "broken": In(1), "keep": In(count_bits(config)),
            "stray": In(1),
            "any_free": In(1), "free": In(range(config.blocks + 1)),
            "status": Out(S), "after": Out(after_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, command, state, after = self.config, self.command, self.state, self.after
        log_lanes = config.lanes.bit_length() - 1
        # No sum of three numbers wraps around.
        sum_bits = count_bits(config) + 2
        # The command is there long before the slot's state.
        count, size = (Signal(count_bits(config), name=name) for name in ("count", "size"))
        m.d.sync += [count.eq(clip_count(config, command.count)), size.eq(clip_count(config, command.size))]
        window_size = clip_count(config, state.size)
        op = {name: Signal(name=f"is_{name.lower()}") for name in CacheOp.__members__}
        m.d.comb += [op[name].eq(command.op == CacheOp[name]) for name in op]
        heavy, window = Signal(), Signal()
        m.d.comb += [heavy.eq(state.policy == CachePolicy.HEAVY), window.eq(state.policy == CachePolicy.WINDOW)]

        # Cycle 1: sums.
        longer, limit, cells = Signal(sum_bits), Signal(sum_bits), Signal(sum_bits)
        m.d.sync += [
            longer.eq(state.length + Mux(op["COMMIT"], self.keep, count)),
            # Of heavy hitters, which have few.
            limit.eq(state.size[:sum_bits] + state.recent[:sum_bits]),
            cells.eq(size + clip_count(config, command.recent) + clip_count(config, command.chunk)),
        ]

        # Cycle 2: cells used after it; where the window of the next query begins.
        used, edge, evicted = Signal(sum_bits), Signal(signed(sum_bits + 1)), Signal()
        length = Mux(op["TRUNCATE"], count, longer)
        m.d.sync += [
            evicted.eq(state.length > limit),
            used.eq(Mux(state.length > limit, limit, state.length) + count),
            edge.eq(length + 1 - window_size),
        ]

        # Cycle 3.
        gone = Mux(edge < 0, 0, edge.as_unsigned() >> log_lanes)
        crossing = Mux(heavy, evicted, (state.holes != 0) & (gone < state.holes)) & (count != state.length)
        filled = Signal(sum_bits)
        with m.If(op["APPEND"]):
            m.d.comb += filled.eq(Mux(used > state.filled, used, state.filled))
        with m.Elif(op["TRUNCATE"] & (count < state.length)):
            m.d.comb += filled.eq(count)
        with m.Else():
            m.d.comb += filled.eq(state.filled)
        places = Mux(heavy, filled, length)
        m.d.sync += [
            after.length.eq(length), after.filled.eq(Mux(heavy, filled, 0)),
            after.entries.eq((places + (config.lanes - 1)) >> log_lanes),
            after.holes.eq(Mux(window & (gone > state.holes), gone, state.holes)),
        ]

        present = state.entries - state.holes
        sizes = Signal()
        with m.Switch(command.policy):
            with m.Case(CachePolicy.NONE):
                m.d.comb += sizes.eq(1)
            with m.Case(CachePolicy.WINDOW):
                m.d.comb += sizes.eq(size != 0)
            with m.Case(CachePolicy.HEAVY):
                m.d.comb += sizes.eq((size != 0) & (command.recent != 0) & (command.chunk != 0)
                                     & (cells <= config.max_sequence)
                                     & (cells <= (Const(1, 1) << self.geometry.log_cells)))
        longest = Mux(heavy, min(config.max_sequence, FREE_CELL), config.max_sequence)
        written = (self.progress.appended == self.geometry.heads) & (
            ~heavy | (self.progress.summed == self.geometry.heads))
        usable = ~op["OPEN"] & ~op["CLOSE"]
        bad = {
            "OPEN": ~sizes,
            "APPEND": (count == 0) | (heavy & (count > state.chunk[:len(count)])),
            "COMMIT": self.stray | (self.keep > state.reserved) | (heavy & (self.keep != state.reserved)),
            "TRUNCATE": count > state.length,
            "SWAP_OUT": command.host[:BLOCK_UNIT.bit_length() - 1].any() | (present > count),
        }
        refusals = [
            (S.NO_SEQUENCE, ~op["OPEN"] & (command.slot >= config.sequences)),
            (S.STALE_HANDLE, ~op["OPEN"] & (command.generation != state.generation)),
            (S.NO_SEQUENCE, ~op["OPEN"] & ~self.open),
            (S.BROKEN, usable & self.broken),
            (S.SWAPPED, usable & state.swapped & ~op["SWAP_IN"]),
            (S.NOT_SWAPPED, op["SWAP_IN"] & ~state.swapped),
            (S.NOT_FORKABLE, op["FORK"] & heavy),
            (S.RESERVED, (op["APPEND"] | op["FORK"] | op["TRUNCATE"] | op["SWAP_OUT"]) & (state.reserved != 0)),
            (S.NOTHING_RESERVED, op["COMMIT"] & (state.reserved == 0)),
            *((S.BAD_COUNT, op[name] & condition) for name, condition in bad.items()),
            (S.NOT_WRITTEN, op["COMMIT"] & (self.keep != 0) & ~written),
            (S.OVER_LENGTH, op["APPEND"] & (longer > longest)),
            (S.CROSSES_EVICTION, op["TRUNCATE"] & crossing),
            (S.NO_SEQUENCE, (op["OPEN"] | op["FORK"]) & ~self.any_free),
            (S.NO_BLOCK, op["SWAP_IN"] & (present > self.free)),
        ]
        # All but one are known in cycle 2 already, and have a register there.
        m.d.sync += self.status.eq(S.OK)
        for index, (status, condition) in reversed(list(enumerate(refusals))):
            holds = condition
            if status is not S.CROSSES_EVICTION:
                holds = Signal(name=f"refusal_{index}")
                m.d.sync += holds.eq(condition)
            with m.If(holds):
                m.d.sync += self.status.eq(status)
        return m
