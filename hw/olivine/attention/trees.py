"""Masks of token trees: which rows see which of a step's places."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..kvcache.descriptor import TREE_PLACES
from .layout import CHUNKS, tree_address

__all__ = ["TreeMasks"]


class TreeMasks(wiring.Component):
    """Turns the masks of a chunk's rows, 64 bits each, into columns: for each place a bit of every row.

    Members
    -------
    load : In(1)
        Begin with a chunk; ``bank``, ``contexts`` and ``last_rows`` say which and how many rows it has.
    i : In(stream(64))
        A mask for each row that exists.
    busy : Out(1)
        From the cycle after ``load`` until the chunk's columns can be read.
    addr : In(tree_address), column : Out(P)
        Rows of a context that see a place; answered in the next cycle.

    Cycles: P and 64 for each context. Cost: P * 64 bits of registers, a memory of 2 C * 64 words of P bits.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "load": In(1), "bank": In(range(CHUNKS)), "contexts": In(range(config.contexts + 1)),
            "last_rows": In(range(config.rows + 1)), "i": In(stream.Signature(64)), "busy": Out(1),
            "addr": In(tree_address(config)), "column": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        rows = self.config.rows
        m.submodules.memory = memory = Memory(shape=rows, depth=1 << tree_address(self.config).size, init=[])
        read, write = memory.read_port(), memory.write_port()
        target = Signal(tree_address(self.config))
        masks = [Signal(TREE_PLACES, name=f"mask_{row}") for row in range(rows)]
        row = Signal(range(rows))
        last_context = target.context + 1 == self.contexts
        exists = ~last_context | (row < self.last_rows)
        m.d.comb += [read.addr.eq(self.addr), read.en.eq(1), self.column.eq(read.data),
                     write.addr.eq(target), write.data.eq(Cat(mask[0] for mask in masks))]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [target.bank.eq(self.bank), target.context.eq(0), target.place.eq(0), row.eq(0)]
                with m.If(self.load):
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += self.i.ready.eq(exists)
                # A row's mask is what was there last: that it is there is known late.
                for index in range(rows):
                    with m.If(row == index):
                        m.d.sync += masks[index].eq(self.i.payload & exists.replicate(TREE_PLACES))
                with m.If(self.i.valid | ~exists):
                    m.d.sync += row.eq(row + 1)
                    with m.If(row == rows - 1):
                        m.d.sync += row.eq(0)
                        m.next = "COLUMNS"
            with m.State("COLUMNS"):
                m.d.comb += write.en.eq(1)
                m.d.sync += [*(mask.eq(mask >> 1) for mask in masks), target.place.eq(target.place + 1)]
                with m.If(target.place == TREE_PLACES - 1):
                    m.d.sync += [target.place.eq(0), target.context.eq(target.context + 1)]
                    m.next = "ROWS"
                    with m.If(last_context):
                        m.next = "IDLE"
        return m
