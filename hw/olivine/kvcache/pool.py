"""Block pool: hands out blocks of memory and counts their users."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..memory.checks import check_integer
from .formats import BLOCK_BITS, PoolAnswer, PoolCommand, PoolOp, PoolStatus

__all__ = ["BlockPool"]


class BlockPool(wiring.Component):
    """Blocks 0 to ``size - 1``, each with the number of its users; 0 users is free.

    ALLOC hands out the block that has been free the longest; at first they are free in the order of their
    numbers. RETAIN adds a user, RELEASE takes one away, and the last one frees the block. An operation that is
    refused (`PoolStatus`) changes nothing.

    ::

        cycle  0  command taken; list read at its head, count read at the block
               1  answer decided; count, list and ``free`` written at the next edge
               2  answer offered, next command taken

    An answer waits for the one before to leave.

    The free list is a ring as large as the pool. Nothing is filled after a reset: in the head's first round a
    place of the list stands for its own number, and a block that the head has not passed has no users, whatever
    the memories hold.

    Parameters
    ----------
    blocks : int
        Room for so many, 2 to 65536.
    counts_bits : int
        Bits of a count, 1 to 16: a block has at most ``2**counts_bits - 1`` users.

    Attributes
    ----------
    latency : int
        Cycles from a command's transfer to ``o.valid``.
    interval : int
        Cycles from a command to the next.

    Members
    -------
    i : In(stream of PoolCommand)
    o : Out(stream of PoolAnswer)
        One for each command, in order. Two commands fit inside while ``o`` is stalled. ``i.ready`` and ``o.valid``
        never depend on ``o.ready``.
    size : In(range(blocks + 1))
        Blocks that there are, constant from the first command on: from this number on they are BAD_BLOCK.
    free : Out(range(blocks + 1))
        Free blocks, after the operation whose answer is, or was last, offered.
    users : Out(counts_bits)
        With the answer to RETAIN or RELEASE of a block that exists: its users before.

    Throughput: a command every 2 cycles. Cost: two memories with synchronous read of ``blocks`` words, one of
    ``counts_bits`` and one of a block number; an adder for the count, three counters of a block number.
    """

    latency = 2
    interval = 2

    def __init__(self, blocks, counts_bits):
        self.blocks = check_integer("blocks", blocks, 2, 1 << BLOCK_BITS)
        self.counts_bits = check_integer("counts_bits", counts_bits, 1, 16)
        super().__init__({"i": In(stream.Signature(PoolCommand)), "o": Out(stream.Signature(PoolAnswer)),
                          "size": In(range(blocks + 1)), "free": Out(range(blocks + 1)),
                          "users": Out(counts_bits)})

    def elaborate(self, platform):
        m = Module()
        comb, sync, blocks = m.d.comb, m.d.sync, self.blocks
        number = range(blocks)
        command, busy = Signal(PoolCommand), Signal()

        # The ring of free blocks, ``free`` of them from ``head`` on.
        head, tail, first_round = Signal(number), Signal(number), Signal(init=1)
        held, final = Signal.like(self.free), Signal(number)
        comb += self.free.eq(self.size - held)
        sync += final.eq(self.size - 1)
        m.submodules.list = ring = Memory(shape=unsigned(len(head)), depth=blocks, init=[])
        oldest, freed = ring.read_port(), ring.write_port()
        # Whole powers of two: a number out of range reads something, and not X.
        m.submodules.counts = counts = Memory(shape=unsigned(self.counts_bits), depth=1 << len(head), init=[])
        read, write = counts.read_port(), counts.write_port()

        # Cycle 0. What is read stays for as long as the answer before is not taken.
        comb += [
            self.i.ready.eq(~busy), oldest.addr.eq(head), oldest.en.eq(~busy),
            read.addr.eq(self.i.payload.block), read.en.eq(~busy),
        ]
        with m.If(~busy):
            sync += [command.eq(self.i.payload), busy.eq(self.i.valid)]

        # Cycle 1.
        step = Signal()
        comb += step.eq(busy & ~self.o.valid)
        count, answer = Signal(self.counts_bits), Signal(PoolAnswer)
        with m.If(~(first_round & (command.block >= head))):
            comb += count.eq(read.data)
        comb += [
            answer.status.eq(PoolStatus.BAD_BLOCK), answer.block.eq(command.block),
            write.addr.eq(command.block), freed.addr.eq(tail), freed.data.eq(command.block),
        ]
        with m.If(command.op == PoolOp.ALLOC):
            comb += [answer.status.eq(PoolStatus.NO_BLOCK), answer.block.eq(0)]
            with m.If(self.free != 0):
                comb += [
                    answer.status.eq(PoolStatus.OK), answer.block.eq(Mux(first_round, head, oldest.data)),
                    write.addr.eq(answer.block), write.data.eq(1), write.en.eq(step),
                ]
        with m.Elif(command.block < self.size):
            with m.If(command.op == PoolOp.RETAIN):
                with m.If(count == 0):
                    comb += answer.status.eq(PoolStatus.NOT_HELD)
                with m.Elif(count.all()):
                    comb += answer.status.eq(PoolStatus.COUNT_FULL)
                with m.Else():
                    comb += [answer.status.eq(PoolStatus.OK), write.data.eq(count + 1), write.en.eq(step)]
            with m.Elif(command.op == PoolOp.RELEASE):
                with m.If(count == 0):
                    comb += answer.status.eq(PoolStatus.NOT_HELD)
                with m.Else():
                    comb += [answer.status.eq(PoolStatus.OK), write.data.eq(count - 1), write.en.eq(step),
                             answer.freed.eq(count == 1), freed.en.eq(step & answer.freed)]

        with m.If(self.o.ready):
            sync += self.o.valid.eq(0)
        with m.If(step):
            sync += [busy.eq(0), self.o.valid.eq(1), self.o.payload.eq(answer), self.users.eq(count)]
            with m.If(answer.freed):
                sync += [tail.eq(Mux(tail == final, 0, tail + 1)), held.eq(held - 1)]
            with m.If((command.op == PoolOp.ALLOC) & (answer.status == PoolStatus.OK)):
                sync += [head.eq(head + 1), held.eq(held + 1)]
                with m.If(head == final):
                    sync += [head.eq(0), first_round.eq(0)]
        return m
