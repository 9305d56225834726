"""Two steps of encoded rows on chip: written dim by dim, read as columns of keys or as rows of values."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...stream import Queue
from .plan import plan_layout
from .source import codes_layout

__all__ = ["BANKS", "row_words", "piece_layout", "RowStore"]

BANKS = 2

ON_THE_WAY = 2
"""Cycles from a read of the memory to the queue of beats."""


def row_words(config):
    """Beats of the longest row."""
    return -(-config.max_head_dim // config.bus_bytes)


def piece_layout(config):
    """What one write command takes: a ``column`` of keys, whose first row goes to byte ``low`` and the last to
    ``high``, or beats of one row's values from ``word`` on. ``row``: the (first) row; ``last`` of the step's keys, or
    of its values."""
    lane = range(config.bus_bytes)
    return data.StructLayout({
        "column": 1, "row": range(config.rows), "low": lane, "high": lane, "word": range(row_words(config)),
        "beats": range(config.max_head_dim + 1), "last": 1})


class RowStore(wiring.Component):
    """Transposes: P rows of pairs of dims come in, beats of memory's order go out.

    ::

        beats out   cycle  0  memory addressed: B bytes of each row
                           1  a byte of each (keys), or the bytes of one (values)
                           2  keys rotated to their lanes; queue
                           3  o

    Members
    -------
    i_valid : In(1), i : In(codes_layout)
        Keys, then values of a step.
    i_piece : In(stream(piece_layout))
        The pieces of the steps, in order.
    release : Out(1)
        A step was read for the last time.
    o : Out(stream(B bytes))
        The beats of the pieces. Of a column's the other lanes hold anything, and so do the bytes past the end of a row.

    Throughput: a beat a cycle. A step leaves once it is complete, while the next comes in. Cost: a memory of
    4 `row_words` words of P beats with byte enables, P multiplexers of B bytes, one of P beats, a rotator of
    max(P, B) bytes.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i_valid": In(1), "i": In(codes_layout(config)),
            "i_piece": In(stream.Signature(piece_layout(config))), "release": Out(1),
            "o": Out(stream.Signature(data.ArrayLayout(8, config.bus_bytes))),
        })

    def elaborate(self, platform):
        m = Module()
        config, size, rows = self.config, self.config.bus_bytes, self.config.rows
        # Powers of two, so that bank, keys or values, and word are bits of an address.
        log_words, log_bus = (row_words(config) - 1).bit_length(), size.bit_length() - 1
        m.submodules.memory = memory = Memory(shape=unsigned(8 * size * rows), depth=2 * BANKS << log_words, init=[])
        write, read = memory.write_port(granularity=8), memory.read_port()

        def address(bank, value, word):
            return Cat(word[:log_words], value, bank)

        # In: one or two bytes of each row.
        fill_bank, complete = Signal(), Signal(range(BANKS + 1))
        tag = self.i.tag
        byte = Signal(range(config.max_head_dim))
        filled = self.i_valid & tag.final
        m.d.comb += [byte.eq(Mux(self.i.int8, tag.pair << 1, tag.pair)),
                     write.addr.eq(address(fill_bank, tag.value, byte[log_bus:]))]
        for index in range(size):
            # The first of two bytes goes to an even place, the second beside it.
            mine = byte[:log_bus] == index
            if index % 2:
                mine |= self.i.int8 & (byte[:log_bus] == index - 1)
            for row in range(rows):
                code = self.i.codes[row]
                m.d.comb += [
                    write.data.word_select(row * size + index, 8).eq(
                        Mux(self.i.int8, code[8:], code[:8]) if index % 2 else code[:8]),
                    write.en[row * size + index].eq(self.i_valid & mine),
                ]
        with m.If(filled):
            m.d.sync += fill_bank.eq(~fill_bank)

        # Out: one read a beat, as long as its place in the queue is certain.
        m.submodules.beats = beats = Queue(data.ArrayLayout(8, size), 2 * ON_THE_WAY + 1)
        wiring.connect(m, beats.o, wiring.flipped(self.o))
        piece, bank, beat = self.i_piece.payload, Signal(), Signal(range(config.max_head_dim + 1))
        column_word = beat[log_bus:]
        reads, final = Signal(), beat + 1 == piece.beats
        held = [Signal(name=f"held_{cycle}") for cycle in range(1, ON_THE_WAY + 1)]
        m.d.comb += [
            reads.eq(self.i_piece.valid & (complete != 0) & (beats.level + sum(held) < beats.depth)),
            read.addr.eq(address(bank, ~piece.column, Mux(piece.column, column_word, piece.word + beat))),
            read.en.eq(reads), self.i_piece.ready.eq(reads & final),
            self.release.eq(reads & final & piece.last & ~piece.column),
        ]
        m.d.sync += [held[0].eq(reads), held[1].eq(held[0]), complete.eq(complete + filled - self.release)]
        with m.If(reads):
            m.d.sync += beat.eq(Mux(final, 0, beat + 1))
        with m.If(self.release):
            m.d.sync += bank.eq(~bank)

        # Cycle 1: what the beat is made of. Cycle 2: lane ``low`` takes the piece's first row.
        turns = max(rows, size)
        log_turns = turns.bit_length() - 1
        column, row, byte_1, turn = Signal(), Signal(range(rows)), Signal(range(size)), Signal(range(turns))
        column_2, turn_2, chosen, gathered = Signal(), Signal.like(turn), Signal(8 * size), Signal(8 * turns)
        m.d.sync += [column.eq(piece.column), row.eq(piece.row), byte_1.eq(beat), turn.eq(piece.low - piece.row),
                     column_2.eq(column), turn_2.eq(turn)]
        of_row = [read.data.word_select(index, 8 * size) for index in range(rows)]
        with m.Switch(row):
            for index in range(rows):
                with m.Case(index):
                    m.d.sync += chosen.eq(of_row[index])
        m.d.sync += gathered.eq(Cat(word.word_select(byte_1, 8) for word in of_row))
        turned = gathered
        for step in range(log_turns):
            turned = Mux(turn_2[step], turned.rotate_left(8 << step), turned)
        m.d.comb += [beats.i.valid.eq(held[1]), beats.i.payload.eq(Mux(column_2, turned[:8 * size], chosen))]
        return m


