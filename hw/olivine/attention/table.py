"""The table of a job: fetched entry by entry, checked, and cut into chunks of rows with the pages they see.

For each group the walk reads its entry, then for each chunk of rows it goes over the rows, one a cycle, and
works out which keys each of them sees; from the first and the last follow the pages that the chunk needs.
It runs ahead of the array by one chunk, and by as many pages as `BASES` holds.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..memory.realign import words
from ..stream import Queue, fork
from .descriptor import BASE_BYTES, ENTRY_BYTES, GROUP_FIELDS, AttentionGroup
from .layout import CHUNKS, POSITION_BITS, bounds_layout
from .plan import ADDRESS_BITS, address_outside, plan_layout

__all__ = ["PAGE_BITS", "chunk_layout", "params_layout", "Elements", "ChunkFan", "TableWalk"]

PAGE_BITS = 20
"""Counts pages (or partial results) of a group."""


def chunk_layout(config):
    """One chunk: up to C row groups of one group, and the pages that any of them sees."""
    return data.StructLayout({
        "bank": range(CHUNKS), "contexts": range(config.contexts + 1), "last_rows": range(config.rows + 1),
        "pages": PAGE_BITS,                     # at least 1
        "last_keys": range(config.lanes + 1),   # of the last page
        "first_page": PAGE_BITS,
        "blank": 1,                             # no row sees any key: one page that is not fetched
        "lookahead": 1,                         # the next page's keys come before a page's values
        "last": 1,                              # no chunk follows in the job
        "q": ADDRESS_BITS, "o": ADDRESS_BITS, "lse": ADDRESS_BITS,
        "part": unsigned(32),                   # how far the chunk lies into each partial result, bytes
        "page_offset": unsigned(32),
    })


params_layout = data.StructLayout({"score_mult": 16, "score_shift": 6, "o_mult": 16, "o_shift": 6})
"""Scales of a group."""


class Elements(wiring.Component):
    """Regroups packed bus words into elements of 8 bytes, a whole number of which a command asks for.

    Members
    -------
    i : In(stream(words)), o : Out(stream(64))

    Throughput: a word or an element a cycle, whichever is the wider. Combinational from ``i`` where a word
    holds at least one element.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = bus_bytes
        super().__init__({"i": In(stream.Signature(words(bus_bytes))), "o": Out(stream.Signature(64))})

    def elaborate(self, platform):
        m = Module()
        whole, taken = self.i.payload.data.as_value(), Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        if self.bus_bytes >= BASE_BYTES:
            index = Signal(range(max(self.bus_bytes // BASE_BYTES, 2)))
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
    """

    def __init__(self, config, outputs):
        self.config, self.outputs = config, outputs
        chunk = stream.Signature(chunk_layout(config))
        super().__init__({"i": In(chunk), "o": Out(chunk).array(outputs)})

    def elaborate(self, platform):
        m = Module()
        queues = [Queue(chunk_layout(self.config), CHUNKS) for _ in range(self.outputs)]
        for index, queue in enumerate(queues):
            m.submodules[f"queue_{index}"] = queue
            m.d.comb += queue.i.payload.eq(self.i.payload)
            wiring.connect(m, queue.o, wiring.flipped(self.o[index]))
        m.d.comb += self.i.ready.eq(fork(m, self.i.valid, *(queue.i for queue in queues)))
        return m


class TableWalk(wiring.Component):
    """Walks the groups of a job.

    Members
    -------
    plan : In
    o_command : Out(stream(command)), i : In(stream(64))
        What to read of table and lists, and what came.
    o_base : Out(stream(64))
        Bases of the pages of each chunk, in order.
    o_chunk : Out(stream(chunk_layout))
    params : Out(ArrayLayout(params_layout, CHUNKS))
        By bank, from the chunk's offer to its end.
    bounds_addr : In(struct ``bank``, ``context``), bounds : Out(bounds_layout)
        Which keys the rows of a context see; answered in the next cycle.
    chunk_done : In(1)
        The oldest chunk has ended: its bank may be used again.
    fault : Out(struct ``valid``, ``field``, ``address``)
        An entry is illegal: its first illegal field, and its address. It stays.

    Cycles: 3 and the memory's latency and 8 elements for an entry, then for each chunk a cycle a row (P for
    each context) and 5, the memory's latency, and as many as it has pages; for a blank one a cycle a row and 4.
    Starts by itself after reset.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))), "i": In(stream.Signature(64)),
            "o_base": Out(stream.Signature(64)), "o_chunk": Out(stream.Signature(chunk_layout(config))),
            "params": Out(data.ArrayLayout(params_layout, CHUNKS)),
            "bounds_addr": In(data.StructLayout({"bank": range(CHUNKS), "context": range(config.contexts)})),
            "bounds": Out(bounds_layout(config)), "chunk_done": In(1),
            "fault": Out(data.StructLayout({"valid": 1, "field": 8, "address": ADDRESS_BITS})),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk = self.config, self.plan, self.o_chunk.payload
        log_lanes = config.lanes.bit_length() - 1
        groups, entry_addr = Signal(16), Signal(ADDRESS_BITS)
        entry = Signal(AttentionGroup)
        elements = Signal(range(ENTRY_BYTES // BASE_BYTES))
        rows_left = Signal(20)
        free = Signal(range(CHUNKS + 1), init=CHUNKS)
        take_bank = Signal()
        m.d.sync += free.eq(free + self.chunk_done - take_bank)

        # Rows: their token's position, and what it sees.
        position, head = Signal(signed(26)), Signal(9)
        row, context = Signal(range(config.rows)), Signal(range(config.contexts))
        low, high = Signal(POSITION_BITS - 1), Signal(POSITION_BITS - 1)
        past, low_edge = Signal(signed(27)), Signal(signed(27))
        first_row = Signal(init=1)
        exists = rows_left != 0
        m.d.comb += [
            past.eq(position + 1), low_edge.eq(past - plan.window),
            low.eq(Mux((plan.window == 0) | (low_edge < 0), 0, Mux(low_edge >> len(low) != 0, -1, low_edge))),
            high.eq(Mux(~plan.causal | (past > entry.keys), entry.keys, Mux(past < 0, 0, past))),
        ]
        m.submodules.memory = memory = Memory(shape=bounds_layout(config), depth=CHUNKS * config.contexts, init=[])
        write, read = memory.write_port(), memory.read_port()
        bounds = Signal(bounds_layout(config))
        chunk_low, chunk_high = Signal.like(low), Signal.like(high)
        m.d.comb += [
            read.addr.eq(self.bounds_addr.bank * config.contexts + self.bounds_addr.context), read.en.eq(1),
            self.bounds.eq(read.data),
            write.addr.eq(chunk.bank * config.contexts + context), write.data.eq(bounds),
        ]
        seen = Signal(data.StructLayout({"low": signed(POSITION_BITS), "high": signed(POSITION_BITS)}))
        m.d.comb += [seen.low.eq(Mux(exists, low, 0)), seen.high.eq(Mux(exists, high, 0))]
        # The row of this cycle enters the word that is written with the context's last row.
        for index in range(config.rows):
            with m.If(row == index):
                m.d.sync += bounds[index].eq(seen)
        last_row = row == config.rows - 1
        word_bits = seen.shape().size
        m.d.comb += write.data.as_value()[(config.rows - 1) * word_bits:].eq(seen)

        # Pages of the chunk.
        pages = Signal(PAGE_BITS)
        sees_some = Signal()
        end_page = (chunk_high + (config.lanes - 1)) >> log_lanes
        base = Signal(PAGE_BITS)

        self._faults(m, entry, entry_addr)
        illegal = self.fault.valid
        m.d.comb += [self.o_base.payload.eq(self.i.payload), chunk.page_offset.eq(entry.page_offset)]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(plan.groups), entry_addr.eq(plan.table)]
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [self.o_command.valid.eq(1), self.o_command.payload.addr.eq(entry_addr),
                             self.o_command.payload.bytes.eq(ENTRY_BYTES)]
                with m.If(self.o_command.ready):
                    m.next = "ENTRY"
            with m.State("ENTRY"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [entry.eq(Cat(entry.as_value()[64:], self.i.payload)), elements.eq(elements + 1)]
                    with m.If(elements == ENTRY_BYTES // BASE_BYTES - 1):
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self._checking.eq(1)
                m.d.sync += [rows_left.eq(entry.rows), position.eq(entry.position), head.eq(0),
                             chunk.q.eq(entry.q), chunk.o.eq(entry.o), chunk.lse.eq(entry.lse), chunk.part.eq(0)]
                m.next = "BANK"
            with m.State("BANK"):
                with m.If((free != 0) & ~illegal):
                    m.d.comb += take_bank.eq(1)
                    m.d.sync += [row.eq(0), context.eq(0), first_row.eq(1)]
                    for index in range(CHUNKS):
                        with m.If(chunk.bank == index):
                            m.d.sync += [self.params[index][name].eq(entry[name]) for name, _ in params_layout]
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += write.en.eq(last_row)
                m.d.sync += [row.eq(row + 1), first_row.eq(0)]
                with m.If(first_row):
                    m.d.sync += chunk_low.eq(low)
                with m.If(exists):
                    m.d.sync += [rows_left.eq(rows_left - 1), chunk_high.eq(high), chunk.last_rows.eq(row + 1),
                                 head.eq(head + 1)]
                    with m.If(head + 1 == plan.heads):
                        m.d.sync += [head.eq(0), position.eq(past)]
                with m.If(last_row):
                    m.d.sync += [row.eq(0), context.eq(context + 1), chunk.contexts.eq(context + 1)]
                    with m.If((rows_left <= 1) | (context + 1 == plan.contexts)):
                        m.next = "PAGES"
            with m.State("PAGES"):
                m.d.comb += sees_some.eq(chunk_high > chunk_low)
                first_page = chunk_low >> log_lanes
                m.d.sync += [
                    chunk.blank.eq(~plan.merge & ~sees_some),
                    chunk.first_page.eq(Mux(plan.merge | ~sees_some, 0, first_page)),
                    pages.eq(Mux(plan.merge, entry.keys, Mux(sees_some, end_page - first_page, 1))),
                    chunk.last_keys.eq(Mux(sees_some, (chunk_high - 1)[:log_lanes] + 1, 1)),
                    chunk.lookahead.eq((chunk.contexts << 1) <= config.contexts),
                    chunk.last.eq((groups == 1) & (rows_left == 0)),
                ]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [self.o_chunk.valid.eq(1), chunk.pages.eq(pages)]
                with m.If(self.o_chunk.ready):
                    m.d.sync += base.eq(pages)
                    m.next = "LIST"
                    with m.If(chunk.blank):
                        m.next = "NEXT"
            with m.State("LIST"):
                m.d.comb += [self.o_command.valid.eq(1),
                             self.o_command.payload.addr.eq(entry.bases + (chunk.first_page << 3)),
                             self.o_command.payload.bytes.eq(base << 3)]
                with m.If(self.o_command.ready):
                    m.next = "BASES"
            with m.State("BASES"):
                m.d.comb += [self.o_base.valid.eq(self.i.valid), self.i.ready.eq(self.o_base.ready)]
                with m.If(self.i.valid & self.o_base.ready):
                    m.d.sync += base.eq(base - 1)
                    with m.If(base == 1):
                        m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [chunk.bank.eq(chunk.bank + 1), chunk.q.eq(chunk.q + plan.q_chunk),
                             chunk.o.eq(chunk.o + plan.o_chunk),
                             chunk.lse.eq(chunk.lse + (plan.chunk_rows << 2)),
                             chunk.part.eq(chunk.part + plan.part_chunk)]
                m.next = "BANK"
                with m.If(rows_left == 0):
                    m.d.sync += [groups.eq(groups - 1), entry_addr.eq(entry_addr + ENTRY_BYTES)]
                    m.next = "ASK"
                    with m.If(groups == 1):
                        m.next = "DONE"
            with m.State("DONE"):
                pass
        return m

    def _faults(self, m, entry, entry_addr):
        """The first illegal field of an entry sticks, and the walk with it."""
        config, plan = self.config, self.plan
        self._checking = Signal()
        one = entry.o[0] & plan.o_wide

        def outside(address):
            return address_outside(config, address)

        conditions = [
            ("q", ~plan.merge & (outside(entry.q) | (plan.q_wide & entry.q[0]))),
            ("o", outside(entry.o) | one),
            ("lse", plan.lse & (outside(entry.lse) | entry.lse[:2].any())),
            ("zero_shift", entry.zero_shift != 0),
            ("bases", outside(entry.bases) | entry.bases[:3].any()),
            ("zero_bases", entry.zero_bases != 0),
            ("rows", entry.rows == 0),
            ("keys", (entry.keys == 0) | (entry.keys > config.max_sequence)),
            ("zero_keys", entry.zero_keys != 0),
            ("zero_position", entry.zero_position != 0),
            ("zero_page", entry.zero_page != 0),
            ("reserved", entry.reserved != 0),
        ]
        bad = Cat(condition for _, condition in conditions)
        with m.If(self._checking & bad.any() & ~self.fault.valid):
            m.d.sync += [self.fault.valid.eq(1), self.fault.address.eq(entry_addr)]
            for index in reversed(range(len(conditions))):
                with m.If(bad[index]):
                    m.d.sync += self.fault.field.eq(GROUP_FIELDS.index(conditions[index][0]))
