"""What the walk over a job's table says to the rest of the engine: chunks and pages; and how it gets its elements."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.realign import words
from .descriptor import BASE_BYTES, SEGMENTS
from .layout import CHUNKS, GROUPS, POSITION_BITS
from .plan import address_bits

__all__ = ["PAGE_BITS", "chunk_layout", "page_layout", "fetched_layout", "ordered_layout", "params_layout", "Elements",
           "ChunkFan"]

PAGE_BITS = 20
"""Counts pages (or partial results) of a group."""


def chunk_layout(config):
    """One chunk: up to C row groups of one group, and the pages that any of them sees."""
    address = address_bits(config)
    return data.StructLayout({
        "bank": range(CHUNKS), "contexts": range(config.contexts + 1), "last_rows": range(config.rows + 1),
        "pages": PAGE_BITS,                     # at least 1
        "blank": 1,                             # no row sees any key: one page that is not fetched
        "lookahead": 1,                         # the next page's keys come before a page's values
        "last": 1,                              # no chunk follows in the job
        "q": address, "o": address, "lse": address,
        "part": unsigned(32),                   # how far the chunk lies into each partial result, bytes
        "group": range(GROUPS),                 # number of its group
        # Rows in a batch: lane of the first, words from one of its row groups to the next.
        "batch": 1, "lane": range(config.rows), "q_words": 16, "o_words": 16,
    })


def page_layout(config):
    """One page of a chunk, in order of use; or one partial result, of which only the address means anything. A blank
    chunk has one page of one key, which is not fetched."""
    return data.StructLayout({"addr": address_bits(config), "keys": range(config.lanes + 1),
                              "position": signed(POSITION_BITS),    # of its first key
                              "segment": range(SEGMENTS)})


def fetched_layout(config):
    """Of a page what its fetch needs to know: where it lies."""
    page = page_layout(config)
    return data.StructLayout({name: page[name].shape for name in ("addr", "keys")})


def ordered_layout(config):
    """Of a page what the order of steps needs to know: which it is."""
    page = page_layout(config)
    return data.StructLayout({
        "keys": page["keys"].shape, "number": range(config.table_entries), "segment": page["segment"].shape})


params_layout = data.StructLayout({"score_mult": 16, "score_shift": 6, "o_mult": 16, "o_shift": 6,
                                   "position": signed(POSITION_BITS)})
"""Scales of a group, and the position of its first query token."""


class Elements(wiring.Component):
    """Regroups packed bus words into elements of 8 bytes, a whole number of which a command asks for.

    Members
    -------
    i : In(stream(words)), o : Out(stream(64))

    Throughput: a word or an element a cycle, whichever is the wider. Combinational from ``i`` where a word
    holds at least one element; where it holds just one, there is nothing to do.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"i": In(stream.Signature(words(bus_bytes))), "o": Out(stream.Signature(64))})

    def elaborate(self, platform):
        m = Module()
        whole, taken = self.i.payload.data.as_value(), Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        if self.bus_bytes == BASE_BYTES:
            m.d.comb += [self.o.payload.eq(whole), self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        elif self.bus_bytes > BASE_BYTES:
            index = Signal(range(self.bus_bytes // BASE_BYTES))
            final = Signal()
            m.d.comb += [
                final.eq((index + 1) << 3 >= self.i.payload.count),
                self.o.payload.eq(whole.word_select(index, 64)), self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready & final),
            ]
            with m.If(taken):
                m.d.sync += index.eq(Mux(final, 0, index + 1))
        else:
            parts = BASE_BYTES // self.bus_bytes
            held = Signal(64 - len(whole))
            count = Signal(range(parts))
            complete = count == parts - 1
            m.d.comb += [self.o.payload.eq(Cat(held, whole)), self.o.valid.eq(self.i.valid & complete),
                         self.i.ready.eq(self.o.ready | ~complete)]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += [held.eq(Cat(held, whole)[len(whole):]), count.eq(Mux(complete, 0, count + 1))]
        return m


class ChunkFan(wiring.Component):
    """Gives every chunk to all who work on it, each at its own pace.

    Members
    -------
    i : In(stream(chunk_layout)), o : Out(stream(chunk_layout)), array of ``outputs``

    Chunks are kept once, `CHUNKS` of them, until the last has taken: as many as there are on chip at all, so nobody
    waits for somebody else. Latency: 1. Cost: two registers of a chunk, and a choice between them for each bit that
    an output looks at.
    """

    def __init__(self, config, outputs):
        self.config, self.outputs = config, outputs
        chunk = stream.Signature(chunk_layout(config))
        super().__init__({"i": In(chunk), "o": Out(chunk).array(outputs)})

    def elaborate(self, platform):
        m = Module()
        kept = [Signal(chunk_layout(self.config), name=f"kept_{place}") for place in range(CHUNKS)]
        # Bit ``place`` of an output: it has not taken that chunk yet.
        due = [Signal(CHUNKS, name=f"due_{index}") for index in range(self.outputs)]
        place = Signal(range(CHUNKS))
        entered = Signal(CHUNKS)
        m.d.comb += [
            self.i.ready.eq(~Cat(waits.bit_select(place, 1) for waits in due).any()),
            entered.eq((self.i.valid & self.i.ready) << place),
        ]
        m.d.sync += place.eq(place + entered.any())
        for index, chunk in enumerate(kept):
            with m.If(entered[index]):
                m.d.sync += chunk.eq(self.i.payload)
        for index, (o, waits) in enumerate(zip(self.o, due)):
            turn, taken = Signal(range(CHUNKS), name=f"turn_{index}"), Signal(CHUNKS, name=f"taken_{index}")
            m.d.comb += [o.payload.eq(Mux(turn, kept[1].as_value(), kept[0].as_value())),
                         o.valid.eq(waits.bit_select(turn, 1)), taken.eq((o.valid & o.ready) << turn)]
            m.d.sync += [waits.eq((waits | entered) & ~taken), turn.eq(turn + taken.any())]
        return m
