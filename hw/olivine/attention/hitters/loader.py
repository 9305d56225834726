"""From memory to chip: positions and sums of a group's cells, log-sum-exp of its chunks."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...control.job import command
from ...kvcache.descriptor import FREE_CELL, SLOT_BITS
from ...memory.realign import words
from ...stream import Queue
from ..layout import CHUNKS, GROUPS, LSE_BITS
from ..plan import address_bits
from .elements import ElementReader
from .layout import BANKS, cell_chunk_layout, cell_group_layout, loaded_layout
from .selector import SUM_BITS

__all__ = ["pending_layout", "Loader"]


def pending_layout(config):
    """What is left to know of a chunk at work."""
    return data.StructLayout({"contexts": range(config.contexts + 1), "last": 1})


class Loader(wiring.Component):
    """Takes up one group after the other, and the chunks of each.

    The cells of a step's tokens are worked out on the way: a cell is free if none ever used it (``cell >= before``) or
    memory says `FREE_CELL`; the i-th free cell holds token i, at position ``length + i``, with a sum of 0. Memory
    holds a sum of 0 for every free cell, because it was written so.

    Members
    -------
    hitters, score : In(1)
        As in `HitterUnit`.
    i_group : In(stream(cell_group_layout)), i_chunk : In(stream(cell_chunk_layout))
        A group is taken when its bank is free, a chunk when fewer than two are at work.
    o_command : Out(stream(command)), i : In(stream(words))
    release : In(1), release_bank : In(1)
        The bank's group is finished.
    o_group : Out(stream(cell_group_layout))
        Each group that was taken, for whoever closes it. The next but one is not taken before.
    loaded : Out(array of 2 of loaded_layout), summed : Out(2)
        Of each bank: how far positions have come; its sums are there.
    o_touched : Out(stream(slot))
        A group of a job with ``hitters`` was taken up. Its chunks wait until this is taken.
    position : Out(struct ``valid``, ``bank``, ``cell``, ``position``), sum : Out(struct ``valid``, ``bank``, ``cell``,
        ``sum``), lse : Out(struct ``valid``, ``bank``, ``context``, ``row``, ``lse``)
        To be written at the end of this cycle.
    o_chunk : Out(stream(pending_layout))
        Chunks in order; in a job with ``score`` when their log-sum-exp is on chip. None in decode, where a chunk is a
        group.
    level : Out(range(3))
        Chunks that wait on ``o_chunk``.
    idle : Out(1)
        Nothing is being loaded.

    Throughput: a cell a cycle, twice with ``hitters``: ``2 * filled`` cycles, the read latency and 5 a group. A chunk
    with log-sum-exp takes a cycle a row, the read latency and one.
    """

    def __init__(self, config):
        self.config = config
        cell = range(config.cells)
        super().__init__({
            "hitters": In(1), "score": In(1),
            "i_group": In(stream.Signature(cell_group_layout(config))),
            "i_chunk": In(stream.Signature(cell_chunk_layout(config))),
            "o_command": Out(stream.Signature(command(address_bits(config)))),
            "i": In(stream.Signature(words(config.bus_bytes))),
            "release": In(1), "release_bank": In(1),
            "o_group": Out(stream.Signature(cell_group_layout(config))),
            "loaded": Out(data.ArrayLayout(loaded_layout(config), BANKS)), "summed": Out(BANKS),
            "o_touched": Out(stream.Signature(unsigned(SLOT_BITS))),
            "position": Out(data.StructLayout({"valid": 1, "bank": 1, "cell": cell, "position": 16})),
            "sum": Out(data.StructLayout({"valid": 1, "bank": 1, "cell": cell, "sum": unsigned(SUM_BITS)})),
            "lse": Out(data.StructLayout({"valid": 1, "bank": range(CHUNKS), "context": range(config.contexts),
                                          "row": range(config.rows), "lse": signed(LSE_BITS)})),
            "o_chunk": Out(stream.Signature(pending_layout(config))), "level": Out(range(CHUNKS + 1)),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        sync, config = m.d.sync, self.config
        m.submodules.elements = elements = ElementReader(config.bus_bytes)
        m.submodules.chunks = chunks = Queue(pending_layout(config), CHUNKS)
        wiring.connect(m, wiring.flipped(self.i), elements.i)
        wiring.connect(m, chunks.o, wiring.flipped(self.o_chunk))

        number = Signal(range(GROUPS))
        bank = number[0]
        group, chunk = Signal(cell_group_layout(config)), Signal(cell_chunk_layout(config))
        element, cell = elements.o, Signal(range(config.cells))
        touched = Signal()
        m.d.comb += [self.o_group.payload.eq(group), self.o_touched.valid.eq(touched),
                     self.o_touched.payload.eq(group.slot),
                     self.level.eq(chunks.level)]
        with m.If(self.o_touched.ready):
            sync += touched.eq(0)
        with m.If(self.o_group.ready):
            sync += self.o_group.valid.eq(0)

        # Commands run ahead of data, from a register: those of one kind have all been offered before one of another
        # kind whose data come earlier.
        ask_positions, ask_sums, ask_lse = Signal(), Signal(), Signal()
        lse_rows = Signal(range(config.chunk_rows + 1))
        log_rows = config.rows.bit_length() - 1
        asked = self.o_command.payload
        offset = Signal(range((4 << 15) + 1))
        m.d.comb += [lse_rows.eq(((chunk.contexts - 1) << log_rows) + chunk.last_rows),
                     offset.eq(Mux(ask_positions, 4 << group.log_cells, 0))]
        with m.If(~self.o_command.valid):
            sync += [asked.addr.eq(group.record + offset), self.o_command.valid.eq(ask_positions | ask_sums | ask_lse)]
            with m.If(ask_positions):
                sync += [asked.bytes.eq(group.before << 1), ask_positions.eq(0)]
            with m.Elif(ask_sums):
                sync += [asked.bytes.eq(group.before << 2), ask_sums.eq(0)]
            with m.Else():
                sync += [asked.addr.eq(chunk.lse), asked.bytes.eq(lse_rows << 2), ask_lse.eq(0)]
        with m.Elif(self.o_command.ready):
            sync += self.o_command.valid.eq(0)

        # Of the cell at hand: memory holds something of it; it is the last. Registers, as all that moves waits for it.
        assert FREE_CELL == 0xffff
        stored, step, last_cell, cell_after = Signal(), Signal(), Signal(), Signal(range(config.cells + 1))
        m.d.comb += [step.eq(~stored | element.valid), cell_after.eq(cell + 1)]

        def first_cell(group):
            return [cell.eq(0), stored.eq(group.before != 0), last_cell.eq(group.filled == 1)]

        def next_cell():
            return [cell.eq(cell_after), stored.eq(cell_after < group.before), last_cell.eq(cell + 2 == group.filled)]
        free, token, waiting = Signal(), Signal(), Signal()         # waiting: ``tokens`` is not 0
        tokens, position = Signal.like(group.tokens), Signal(16)     # left, of the next one
        m.d.comb += [
            free.eq(~stored | elements.ones), token.eq(free & waiting),
            self.position.bank.eq(bank), self.position.cell.eq(cell),
            self.position.position.eq(Mux(token, position, Mux(free, FREE_CELL, element.payload))),
            self.sum.bank.eq(bank), self.sum.cell.eq(cell), self.sum.sum.eq(Mux(stored, element.payload, 0)),
        ]
        context, row = Signal(range(config.contexts)), Signal(range(config.rows))
        last_context = context + 1 == chunk.contexts
        last_row = row + 1 == Mux(last_context, chunk.last_rows, config.rows)
        m.d.comb += [self.lse.bank.eq(chunk.bank), self.lse.context.eq(context), self.lse.row.eq(row),
                     self.lse.lse.eq(element.payload)]
        chunk_end = Signal()
        with m.If(chunk_end & chunks.i.payload.last):
            sync += number.eq(number + 1)

        # That a group may come is a register, and whether there is one is known late: what is looked at of one only
        # enters in any case.
        taken, some = self.i_group.payload, self.i_group.payload.before != 0
        with m.If(self.i_group.ready):
            sync += [group.eq(taken), self.loaded[bank].group.eq(number), self.loaded[bank].cells.eq(0),
                     tokens.eq(taken.tokens), waiting.eq(taken.tokens != 0),
                     position.eq(taken.length), *first_cell(taken)]
        sync += self.i_group.ready.eq(0)
        with m.FSM():
            with m.State("GROUP"):
                m.d.comb += self.idle.eq(1)
                sync += self.i_group.ready.eq(~self.loaded[bank].valid & ~self.o_group.valid)
                with m.If(self.i_group.valid & self.i_group.ready):
                    sync += self.i_group.ready.eq(0)
                    sync += [self.o_group.valid.eq(1), self.loaded[bank].valid.eq(1),
                             self.summed.bit_select(bank, 1).eq(0),
                             ask_positions.eq(some), ask_sums.eq(some & self.hitters), touched.eq(self.hitters)]
                    m.next = "POSITIONS"
            with m.State("POSITIONS"):
                m.d.comb += [element.ready.eq(stored), self.position.valid.eq(step)]
                with m.If(step):
                    sync += [*next_cell(), self.loaded[bank].cells.eq(self.loaded[bank].cells + 1),
                             tokens.eq(tokens - token), waiting.eq(Mux(token, tokens[1:].any(), waiting)),
                             position.eq(position + token)]
                    with m.If(last_cell):
                        sync += first_cell(group)
                        with m.If(self.hitters):
                            m.next = "SUMS"
                        with m.Else():
                            m.next = "CHUNK"
            with m.State("SUMS"):
                m.d.comb += [elements.wide.eq(1), element.ready.eq(stored), self.sum.valid.eq(step)]
                with m.If(step):
                    sync += next_cell()
                    with m.If(last_cell):
                        sync += self.summed.bit_select(bank, 1).eq(1)
                        m.next = "CHUNK"
            with m.State("CHUNK"):
                given = self.i_chunk.payload
                m.d.comb += [
                    # The next group comes after this group's announcement.
                    self.i_chunk.ready.eq(chunks.i.ready & ~touched),
                    chunks.i.payload.contexts.eq(given.contexts), chunks.i.payload.last.eq(given.last),
                    chunks.i.valid.eq(self.i_chunk.valid & ~self.hitters),
                    chunk_end.eq(self.i_chunk.valid & self.i_chunk.ready & ~self.score),
                ]
                sync += [chunk.eq(given), context.eq(0), row.eq(0)]
                with m.If(self.i_chunk.valid & self.i_chunk.ready & self.score):
                    sync += ask_lse.eq(1)
                    m.next = "LSE"
                with m.Elif(chunk_end & given.last):
                    m.next = "GROUP"
            with m.State("LSE"):
                m.d.comb += [elements.wide.eq(1), element.ready.eq(1), self.lse.valid.eq(element.valid),
                             chunks.i.payload.contexts.eq(chunk.contexts), chunks.i.payload.last.eq(chunk.last),
                             chunks.i.valid.eq(chunk_end)]
                with m.If(element.valid):
                    sync += [row.eq(Mux(last_row, 0, row + 1)), context.eq(context + last_row)]
                    with m.If(last_row & last_context):
                        m.d.comb += chunk_end.eq(1)
                        with m.If(chunk.last):
                            m.next = "GROUP"
                        with m.Else():
                            m.next = "CHUNK"
        with m.If(self.release):
            sync += self.loaded[self.release_bank].valid.eq(0)
        return m
