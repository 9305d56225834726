"""Proofs of the block pool: counts are right, no block has two owners, none is lost, the oldest goes first."""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from olivine.kvcache.formats import PoolCommand, PoolOp, PoolStatus
from olivine.kvcache.pool import BlockPool

from tests.formal import prove
from tests.stream.harness import any_constant, holds, rises, taken


class PoolHarness(wiring.Component):
    """The pool under any commands, stalls and resets, judged by its commands and answers alone.

    Two blocks, ``one`` and ``other``, are any but always the same. The users of ``one`` are counted from the
    answers; as it is any block, what holds for it holds for all. The memories keep what they hold in a reset.
    Commands have few bits of a block number, enough for some out of range, to keep the state small.
    """

    def __init__(self, blocks, counts_bits):
        self.unit = BlockPool(blocks, counts_bits)
        super().__init__({"op": In(2), "block": In(range(2 * blocks)), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        blocks, most = unit.blocks, (1 << unit.counts_bits) - 1
        m.d.comb += [unit.i.payload.op.eq(self.op), unit.i.payload.block.eq(self.block), unit.i.valid.eq(self.valid),
                     unit.o.ready.eq(self.ready), unit.size.eq(blocks)]
        holds(m, unit.o, Assert)

        # Commands inside, at most two: one answered, one behind it.
        inside, command, behind = Signal(range(4)), Signal(PoolCommand), Signal(PoolCommand)
        entered, left = taken(unit.i), taken(unit.o)
        m.d.sync += inside.eq(inside + entered - left)
        m.d.comb += [Assert(inside <= 2), Assert(~unit.o.valid | (inside != 0))]
        rises(m, unit.o, inside != 0, unit.latency - 1)
        with m.If(left):
            m.d.sync += command.eq(behind)
        with m.If(entered):
            m.d.sync += behind.eq(unit.i.payload)
            with m.If(inside == left):
                m.d.sync += command.eq(unit.i.payload)

        # What the answers say: users of one block, which blocks are held.
        one, other = any_constant(m, range(blocks)), any_constant(m, range(blocks))
        m.d.comb += [Assume(one < blocks), Assume(other < blocks), Assume(one != other)]
        users, held = Signal(unit.counts_bits), Signal(blocks)
        users_next, held_next = Signal.like(users), Signal.like(held)
        m.d.comb += [users_next.eq(users), held_next.eq(held)]
        m.d.sync += [users.eq(Mux(left, users_next, users)), held.eq(Mux(left, held_next, held))]

        answer, place = unit.o.payload, Signal(blocks)
        m.d.comb += [place[block].eq(answer.block == block) for block in range(blocks)]
        ok, mine = answer.status == PoolStatus.OK, command.block == one
        # Which of the two was freed first; at first the order of the numbers.
        freed_any, freed_one_last = Signal(), Signal()
        one_is_older = Mux(freed_any, ~freed_one_last, one < other)
        with m.If(left & answer.freed & ((answer.block == one) | (answer.block == other))):
            m.d.sync += [freed_any.eq(1), freed_one_last.eq(answer.block == one)]

        with m.If(unit.o.valid):
            with m.If(command.op == PoolOp.ALLOC):
                m.d.comb += Assert(~answer.freed)
                with m.If(ok):
                    m.d.comb += [Assert(answer.block < blocks), held_next.eq(held | place)]
                    with m.If(answer.block == one):
                        m.d.comb += [Assert(users == 0, "handed out while in use"), users_next.eq(1)]
                    with m.If((answer.block == other) & one_is_older):
                        m.d.comb += Assert(users != 0, "handed out before an older one")
                with m.Else():
                    m.d.comb += [
                        Assert(answer.status == PoolStatus.NO_BLOCK), Assert(answer.block == 0),
                        Assert(users != 0, "refused while a block is free"),
                    ]
            with m.Else():
                m.d.comb += [Assert(answer.block == command.block), Assert(~answer.freed | ok)]
                with m.If((command.block >= blocks) | (command.op.as_value() == 3)):
                    m.d.comb += Assert(answer.status == PoolStatus.BAD_BLOCK)
                with m.Elif(mine & (users == 0)):
                    m.d.comb += Assert(answer.status == PoolStatus.NOT_HELD)
                with m.Elif(mine & (command.op == PoolOp.RETAIN)):
                    m.d.comb += [Assert(ok | (answer.status == PoolStatus.COUNT_FULL)), Assert(ok == (users != most)),
                                 Assert(~answer.freed), users_next.eq(users + ok)]
                with m.Elif(mine):
                    m.d.comb += [Assert(ok), Assert(answer.freed == (users == 1)), users_next.eq(users - 1)]
                with m.If(answer.freed):
                    m.d.comb += held_next.eq(held & ~place)
        # Nothing leaks, at any time.
        m.d.comb += [Assert(held.bit_select(one, 1) == (users != 0)), Assert(unit.free + sum(held_next) == blocks)]
        return m


# Four blocks are too many: pdr finds no invariant in minutes, and an SMT solver no more than a few cycles.
@pytest.mark.parametrize("blocks, counts_bits", [(2, 1), (2, 2), pytest.param(3, 2, marks=pytest.mark.slow)])
def test_for_all_time(blocks, counts_bits):
    prove(PoolHarness(blocks, counts_bits), f"pool_{blocks}_{counts_bits}", mode="pdr")
