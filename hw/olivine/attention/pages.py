"""Pages on their way from memory to the array: asked for in the order of use, placed in the tile buffer.

A page is one tile of keys and one tile of values for each L head dimensions. Tiles cross the bus in the
order in which the array takes them up (`next_is_keys`), so the tile buffer is a first-in first-out queue of
tiles, and no order of waiting can block it.
"""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..memory.tile_buffer import BeatMemory
from ..stream import fork
from .plan import ADDRESS_BITS, plan_layout, times
from .table import PAGE_BITS, chunk_layout, page_layout

__all__ = ["next_is_keys", "tile_layout", "PageAddresses", "PageLoader"]


def next_is_keys(more, ahead, lookahead, score):
    """Whether a chunk's next tile is of keys, if ``more`` pages of keys are to be taken up, and ``ahead`` were that
    wait for their values. With few contexts (``lookahead``), keys go one page ahead, so that the softmax works while
    they are multiplied. ``score`` jobs take up no values."""
    return score | more & (ahead < Mux(lookahead, 2, 1))


def tile_layout(config):
    """One tile on its way: of keys or of values, ``keys`` of the page that exist, and of values whether this is
    the page's last pass."""
    return data.StructLayout({"values": 1, "last_pass": 1, "keys": range(config.lanes + 1)})


class PageAddresses(wiring.Component):
    """Asks for the tiles of every chunk.

    Members
    -------
    plan : In
    i : In(stream(chunk_layout)), i_page : In(stream(page_layout))
    o_command : Out(stream(command)), o_tile : Out(stream(tile_layout))

    Of the last page only the sub-blocks of keys and the values that exist are read. Throughput: a tile in
    two cycles: in the second it is on offer, and of the next is found out what kind it is, where it lies and how
    long it is. Latency: 2 cycles from a chunk, 3 from a page. Of a blank chunk the page goes the same way.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(chunk_layout(config))),
            "i_page": In(stream.Signature(page_layout(config))),
            "o_command": Out(stream.Signature(command(ADDRESS_BITS))),
            "o_tile": Out(stream.Signature(tile_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, chunk = self.config, self.plan, self.i.payload
        log_bus, log_lanes = config.bus_bytes.bit_length() - 1, config.lanes.bit_length() - 1
        keys_done, ahead = Signal(PAGE_BITS), Signal(2)
        page = self.i_page.payload
        newer, older = Signal.like(page), Signal.like(page)     # pages whose keys were asked for last, and before
        passes = Signal.like(plan.passes)
        values_addr = Signal(ADDRESS_BITS)

        # The tile that is on offer.
        active = Signal()
        addr = Signal(ADDRESS_BITS)
        tile = Signal(tile_layout(config))
        words = Signal(unsigned(17))            # beats of the tile
        sent = fork(m, active, self.o_command, self.o_tile)
        m.d.comb += [
            self.o_command.payload.addr.eq(addr), self.o_command.payload.bytes.eq(words << log_bus),
            self.o_tile.payload.eq(tile),
        ]
        with m.If(sent):
            m.d.sync += active.eq(0)

        # What the next tile is, in registers: of a chunk from its second cycle on, and from the second cycle after a
        # tile. Of a page, what its tile of keys takes: from the page's third cycle on.
        known, blank, counted, page_known, moves = Signal(), Signal(), Signal(), Signal(), Signal()
        keys_next, all_keys, last_pass, page_end = Signal(), Signal(), Signal(), Signal()
        of, beats, blocks = Signal.like(page), Signal.like(plan.value_beats), Signal.like(page.keys)
        start, key_words, value_words = Signal(ADDRESS_BITS), Signal.like(words), Signal.like(words)
        at_last_pass = passes + 1 == plan.passes
        beats_here = Mux(at_last_pass, plan.last_value_beats, plan.value_beats)
        page_waits = self.i_page.valid & ~self.i_page.ready
        m.d.comb += of.eq(Mux(ahead == 2, older, newer))
        m.d.sync += [
            known.eq(self.i.valid & ~moves), blank.eq(chunk.blank), counted.eq(page_waits),
            page_known.eq(counted & page_waits),
            keys_next.eq((passes == 0) & next_is_keys(keys_done != chunk.pages, ahead, chunk.lookahead, plan.score)),
            all_keys.eq(plan.score & (keys_done + 1 == chunk.pages)),
            last_pass.eq(at_last_pass), page_end.eq(at_last_pass & (keys_done == chunk.pages) & (ahead == 1)),
            start.eq(Mux(passes != 0, values_addr, of.addr + (plan.key_words << log_lanes))), beats.eq(beats_here),
            value_words.eq(times(of.keys, beats_here)),
            blocks.eq((page.keys + (config.bus_bytes - 1)) >> log_bus), key_words.eq(times(plan.key_words, blocks)),
        ]
        with m.If(~active):
            m.d.sync += [
                addr.eq(Mux(keys_next, page.addr, start)), words.eq(Mux(keys_next, key_words, value_words)),
                tile.values.eq(~keys_next), tile.keys.eq(Mux(keys_next, page.keys, of.keys)),
                tile.last_pass.eq(last_pass),
            ]
        with m.If(known & ~active):
            with m.If(blank):
                m.d.comb += [self.i.ready.eq(page_known), self.i_page.ready.eq(page_known), moves.eq(page_known)]
            with m.Elif(keys_next):
                with m.If(page_known):
                    m.d.comb += [self.i_page.ready.eq(1), self.i.ready.eq(all_keys), moves.eq(1)]
                    m.d.sync += [newer.eq(page), older.eq(newer), keys_done.eq(keys_done + 1), ahead.eq(ahead + 1),
                                 active.eq(1)]
                    with m.If(all_keys):
                        m.d.sync += [keys_done.eq(0), ahead.eq(0)]
            with m.Else():
                m.d.comb += [self.i.ready.eq(page_end), moves.eq(1)]
                m.d.sync += [
                    # A block of values always has room for L keys.
                    active.eq(1), values_addr.eq(start + (beats << log_lanes << log_bus)), passes.eq(passes + 1),
                ]
                with m.If(last_pass):
                    m.d.sync += [passes.eq(0), ahead.eq(ahead - 1)]
                with m.If(page_end):
                    m.d.sync += keys_done.eq(0)
        return m


class PageLoader(wiring.Component):
    """The tile buffer: places the beats of tiles in words of L bytes.

    A word of keys is one dim (or two, in 4 bit) of all L keys: it fills up from every sub-block, so a tile of
    keys is complete, word by word, while its last sub-block arrives. A word of values is one key, or in 4
    bit two.

    Members
    -------
    plan : In
    i : In(stream(beat)), i_tile : In(stream(tile_layout))
    level : Out, offset : In, o : Out(word), release : In(1)
        As `TileBuffer`: complete words from the base on; the word ``offset`` past it, of the cycle before;
        the base moves on.

    Throughput: a beat a cycle, without a bubble between tiles; stalls while there is no room, of which it learns a
    cycle late. A tile's first beat enters two cycles after the tile is known. Cost: `tile_words` words of L bytes.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "i": In(stream.Signature(config.bus_bits)), "i_tile": In(stream.Signature(tile_layout(config))),
            "level": Out(range(config.tile_words + 1)), "offset": In(range(config.tile_words)),
            "o": Out(8 * config.lanes), "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, tile = self.config, self.plan, self.i_tile.payload
        depth, log_bus = config.tile_words, config.bus_bytes.bit_length() - 1
        keys = (tile.keys - 1)[:(config.lanes - 1).bit_length()]
        active, room, taken, load = Signal(), Signal(init=1), Signal(), Signal()
        m.submodules.memory = memory = BeatMemory(depth, config.lanes, config.bus_bytes)

        # The next tile: how often the inner loop of its beats runs after the first time, and the outer one. Of keys the
        # inner loop is over words, the outer over sub-blocks; of values over the beats of a key, and over keys.
        counts = data.StructLayout({"values": 1, "paired": 1, "outer": range(config.lanes),
                                    "inner": range(max(config.max_head_dim, config.word_beats))})
        following, known = Signal(counts, reset_less=True), Signal()
        beats = Mux(tile.last_pass, plan.last_value_beats, plan.value_beats)
        m.d.comb += self.i_tile.ready.eq(~known | load)
        with m.If(self.i_tile.ready):
            m.d.sync += [
                known.eq(self.i_tile.valid), following.values.eq(tile.values),
                following.paired.eq(tile.values & ~plan.value_int8),    # two keys of values in a word
                following.inner.eq(Mux(tile.values, beats, plan.key_words) - 1),
                following.outer.eq(Mux(tile.values, keys, keys >> log_bus)),
            ]

        # The tile at work: what is left of both loops. Pointers have one bit more than addresses: full differs from
        # empty.
        at_work = Signal.like(following)
        inner, outer = Signal.like(following.inner), Signal.like(following.outer)
        base, word, first = (Signal(range(2 * depth), name=name) for name in ("base", "word", "first"))
        beat, second = Signal(range(config.word_beats)), Signal()   # of the word; of the two keys in it
        inner_end, tile_end, word_end, onward, up = Signal(), Signal(), Signal(), Signal(), Signal.like(word)
        m.d.comb += [
            inner_end.eq(inner == 0), tile_end.eq(taken & inner_end & (outer == 0)),
            load.eq(known & (~active | tile_end)),
            # A word is full; the next beat belongs to the next word, and not to this one or the tile's first.
            word_end.eq(Mux(at_work.values, inner_end & (~at_work.paired | second | (outer == 0)), outer == 0)),
            onward.eq(Mux(at_work.values, word_end, ~inner_end | (outer == 0))), up.eq(word + 1),
            self.i.ready.eq(active & room), taken.eq(self.i.valid & self.i.ready),
            # That a beat comes is known late. Where it would go nobody looks until it is there.
            memory.write_enable.eq(self.i.ready), memory.write_addr.eq(word), memory.write_beat.eq(beat),
            memory.write_data.eq(self.i.payload),
            memory.addr.eq(base + self.offset), self.o.eq(memory.o),
        ]
        with m.If(taken):
            m.d.sync += [inner.eq(Mux(inner_end, at_work.inner, inner - 1)), outer.eq(outer - inner_end)]
            with m.If(onward):
                m.d.sync += word.eq(up)
            with m.Elif(~at_work.values):
                m.d.sync += word.eq(first)
            with m.If(~at_work.values):
                m.d.sync += beat.eq(beat + inner_end)
            with m.Else():
                upper_half = at_work.paired & ~second
                m.d.sync += [beat.eq(Mux(inner_end, Mux(upper_half, config.word_beats // 2, 0), beat + 1)),
                             second.eq(second ^ inner_end)]
        with m.If(tile_end):
            m.d.sync += [active.eq(0), first.eq(up)]
        with m.If(load):
            m.d.sync += [active.eq(1), at_work.eq(following), inner.eq(following.inner), outer.eq(following.outer),
                         beat.eq(0), second.eq(0)]

        # Room for the next beat, found a cycle ahead: the words held are as many as there are where the pointers differ
        # in their highest bit alone. Words before the next one are the tile's already.
        def full(word):
            return (word ^ base) == depth

        # ``release`` and the word's end come late: they choose between counts that are there.
        complete = taken & word_end
        m.d.sync += [room.eq(~Mux(taken, onward & full(up), full(word))), base.eq(base + self.release)]
        with m.If(complete & ~self.release):
            m.d.sync += self.level.eq(self.level + 1)
        with m.If(~complete & self.release):
            m.d.sync += self.level.eq(self.level - 1)
        return m
