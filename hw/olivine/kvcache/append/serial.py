"""Rows of keys and values where they may take a cycle an element: one multiplier, one encoder, bytes in a row."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...memory.realign import words
from ...numerics.narrow import shift_right
from ...olive.encoder import SerialPairEncoder
from ...olive.formats import LaneFormat
from ...stream import Queue, Skid, Spare
from .plan import plan_layout, scales_layout
from .source import ELEMENT_BITS, block_layout
from .store import piece_layout

__all__ = ["byte_layout", "SerialLoader", "SerialStore"]

HALVES = 2
"""Keys of a step and its values are two."""


def byte_layout(config):
    """A byte of a row's key or values; ``final``: all of the block's rows are complete with it."""
    return data.StructLayout({"row": range(config.rows), "byte": range(config.max_head_dim), "final": 1, "code": 8})


class SerialLoader(wiring.Component):
    """Cuts blocks into elements, and requantizes and encodes one a cycle, as `Requantizer` does.

    ::

        cycle  0  element chosen from the word
               1  * mult
               2  (multiplier's second register)
               3  shifted
               4  rounded, saturated
               5  encoder
               8  o

    Members
    -------
    plan : In
    i : In(stream(words)), i_block : In(stream(block_layout))
        The blocks' bytes, a packet a block.
    i_scales : In(stream(scales_layout))
        One a head.
    release : In(1)
        A half of the store is free again; `HALVES` are at first.
    o_valid : Out(1), o : Out(byte_layout), saturated : Out(range(3))
        Never waits: a block begins when a half is free. ``saturated``: stored elements of existing rows out of range,
        in this cycle. Of rows that are stored and do not exist bytes come, too.

    Throughput: an element a cycle. Cost: a multiplier of 16 x 17 bits, a shifter, an encoder; 560 LUTs on `ecp5`.
    """

    latency = 5 + SerialPairEncoder.latency

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(words(config.bus_bytes))),
            "i_block": In(stream.Signature(block_layout(config))), "i_scales": In(stream.Signature(scales_layout)),
            "release": In(1), "o_valid": Out(1), "o": Out(byte_layout(config)), "saturated": Out(range(3)),
        })
        self._tag = data.StructLayout({
            "valid": 1, "row": range(config.rows), "second": 1, "pair": range(config.max_head_dim // 2), "final": 1,
            "exists": 1, "format": LaneFormat, "mult": 16, "shift": 6})

    def elaborate(self, platform):
        m = Module()
        config, stages = self.config, [Signal(self._tag, name=f"stage_{cycle}") for cycle in range(self.latency + 1)]
        m.d.sync += [after.eq(before) for before, after in zip(stages, stages[1:])]
        x = self._elements(m, stages[0])
        half_units = self._scale(m, x, stages)

        m.submodules.encoder = encoder = SerialPairEncoder(config.rows, ELEMENT_BITS)
        entering, leaving = stages[5], stages[self.latency]
        int8 = leaving.format == LaneFormat.INT8
        stores = leaving.valid & (int8 | leaving.second)
        m.d.comb += [
            encoder.i_valid.eq(entering.valid), encoder.i.value.eq(half_units), encoder.i.second.eq(entering.second),
            encoder.i.pair.eq(entering.row), encoder.i.format.eq(entering.format),
            self.o_valid.eq(stores), self.o.code.eq(encoder.o.code), self.o.row.eq(leaving.row),
            self.o.byte.eq(Mux(int8, Cat(leaving.second, leaving.pair), leaving.pair)),
            self.o.final.eq(leaving.final),
            self.saturated.eq(Mux(stores & leaving.exists, encoder.o.saturated, 0)),
        ]
        return m

    def _elements(self, m, tag):
        """Walk through the words: the element in 16 bits, and what there is to know of it."""
        config, plan, size = self.config, self.plan, self.config.bus_bytes
        m.submodules.coming = coming = Queue(block_layout(config), 8)
        m.submodules.at_work = at_work = Skid(block_layout(config))
        wiring.connect(m, wiring.flipped(self.i_block), coming.i)
        wiring.connect(m, coming.o, at_work.i)
        # Whether a word is done is known late, and its reader's ``ready`` goes far.
        m.submodules.words = taken = Spare(self.i.payload.shape())
        wiring.connect(m, wiring.flipped(self.i), taken.i)
        block, scales = at_work.o.payload, self.i_scales.payload
        halves, begun, moves = Signal(range(HALVES + 1), init=HALVES), Signal(), Signal()
        at, row, second = Signal(range(size)), Signal(range(config.rows)), Signal()
        pair = Signal(range(config.max_head_dim // 2))
        last_row, last_of_word, end = Signal(), Signal(), Signal()
        # A pair has two elements at least, so whether it is the last is known from the cycle before.
        last_pair = Signal()
        m.d.sync += last_pair.eq(pair + 1 == plan.pairs)
        m.d.comb += [
            moves.eq(taken.o.valid & at_work.o.valid & self.i_scales.valid & (begun | (halves != 0))),
            last_row.eq(row + 1 == block.stored), last_of_word.eq(at[1:].all() & (plan.wide | at[0])),
            end.eq(last_row & second & last_pair),
            taken.o.ready.eq(moves & (last_of_word | end)), at_work.o.ready.eq(moves & end),
            self.i_scales.ready.eq(moves & end & block.value & block.last),
        ]
        m.d.sync += halves.eq(halves - (moves & ~begun) + self.release)
        with m.If(moves):
            m.d.sync += [begun.eq(~end), at.eq(Mux(end, 0, at + 1 + plan.wide)), row.eq(row + 1)]
            with m.If(last_row):
                m.d.sync += [row.eq(0), second.eq(~second), pair.eq(pair + second)]
                with m.If(end):
                    m.d.sync += pair.eq(0)

        container, byte = Signal(16), Signal(8)
        whole = taken.o.payload.data.as_value()
        m.d.comb += [
            container.eq(whole.word_select(at[1:], 16)), byte.eq(Mux(at[0], container[8:], container[:8])),
            tag.valid.eq(moves), tag.row.eq(row), tag.second.eq(second), tag.pair.eq(pair), tag.final.eq(end),
            tag.exists.eq(row < block.rows),
            tag.format.eq(Mux(block.value, plan.value_format, plan.key_format)),
            tag.mult.eq(Mux(block.value, scales.value_mult, scales.key_mult)),
            tag.shift.eq(Mux(block.value, scales.value_shift, scales.key_shift)),
        ]
        return Mux(plan.wide, container, Cat(byte, byte[-1].replicate(8))).as_signed()

    def _scale(self, m, element, stages):
        """Half units, five cycles later."""
        x, product = Signal(signed(ELEMENT_BITS)), Signal(signed(2 * ELEMENT_BITS + 1))
        held = Signal.like(product)
        m.d.sync += [x.eq(element), product.eq(x * stages[1].mult), held.eq(product)]

        # Beside a value that fits in 16 bits when it is shifted, only the bit below its point counts.
        floor, half, outside = shift_right(held, stages[3].shift, ELEMENT_BITS)
        shifted = Cat(half, floor).as_signed()
        shifted_4, outside_4, negative_4 = Signal.like(shifted), Signal(), Signal()
        m.d.sync += [shifted_4.eq(shifted), outside_4.eq(outside), negative_4.eq(held[-1])]

        # Whole units for 8 bit: what saturates here saturates there.
        int8 = stages[4].format == LaneFormat.INT8
        rounded, half_units = Signal(signed(ELEMENT_BITS + 1)), Signal(signed(ELEMENT_BITS))
        m.d.comb += rounded.eq((shifted_4 >> 1) + shifted_4[0])
        with m.If(outside_4 | (rounded[-1] != rounded[-2]) | int8 & (rounded[-1] != rounded[-3])):
            m.d.sync += half_units.eq(Cat((~negative_4).replicate(ELEMENT_BITS - 1), negative_4))
        with m.Else():
            m.d.sync += half_units.eq(Mux(int8, rounded << 1, rounded)[:ELEMENT_BITS])
        return half_units


class SerialStore(wiring.Component):
    """Transposes: bytes of rows come in one by one, beats of memory's order are put together byte by byte.

    Members
    -------
    plan : In
    i_valid : In(1), i : In(byte_layout)
        A step's keys, then its values.
    i_piece : In(stream(piece_layout))
        The pieces of the steps, in order.
    release : Out(1)
        Keys or values of a step were read for the last time.
    o : Out(stream(B bytes))
        The beats of the pieces. Of a column's the other lanes hold anything, and so do the bytes past the end of a row.

    Throughput: a byte a cycle, and a cycle for each piece. Keys leave while the values of their step come in. Cost: a
    memory of 2 P `max_head_dim` bytes, one beat of registers, counters; on `ecp5` a block RAM and 90 LUTs.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i_valid": In(1), "i": In(byte_layout(config)),
            "i_piece": In(stream.Signature(piece_layout(config))), "release": Out(1),
            "o": Out(stream.Signature(data.ArrayLayout(8, config.bus_bytes))),
        })

    def elaborate(self, platform):
        m = Module()
        config, size = self.config, self.config.bus_bytes
        log_dims, log_rows = (config.max_head_dim - 1).bit_length(), config.rows.bit_length() - 1
        m.submodules.memory = memory = Memory(shape=unsigned(8), depth=HALVES << log_rows + log_dims, init=[])
        write, read = memory.write_port(), memory.read_port()

        fill_half, half, complete = Signal(), Signal(), Signal(range(HALVES + 1))
        filled = self.i_valid & self.i.final
        m.d.comb += [write.addr.eq(Cat(self.i.byte[:log_dims], self.i.row, fill_half)), write.data.eq(self.i.code),
                     write.en.eq(self.i_valid)]
        m.d.sync += [fill_half.eq(fill_half ^ filled), complete.eq(complete + filled - self.release)]

        # A byte a cycle, unless a whole beat waits.
        piece = self.i_piece.payload
        row, lane, beats, word = (Signal.like(piece.row), Signal(range(size)), Signal.like(piece.beats),
                                  Signal(log_dims))
        # The piece at work, as it was before its first byte.
        held, last_beat = Signal(piece.shape()), Signal()
        begun, reads, last_lane, moves = Signal(), Signal(), Signal(), Signal()
        arrives, arriving_lane, arriving_last = Signal(), Signal.like(lane), Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready), reads.eq(begun & moves),
            last_lane.eq(lane == Mux(held.column, held.high, size - 1)),
            read.en.eq(moves), read.addr.eq(Cat(Mux(held.column, word, Cat(lane, word)[:log_dims]), row, half)),
            self.i_piece.ready.eq(~begun & (complete != 0)),
            self.release.eq(reads & last_lane & last_beat & held.last),
        ]
        with m.If(~begun):
            m.d.sync += [begun.eq(self.i_piece.valid & (complete != 0)), beats.eq(piece.beats), word.eq(piece.word),
                         lane.eq(Mux(piece.column, piece.low, 0)), row.eq(piece.row), held.eq(piece),
                         last_beat.eq(piece.beats == 1)]
        with m.If(reads):
            m.d.sync += [lane.eq(lane + 1), row.eq(row + held.column)]
        with m.If(reads & last_lane):
            m.d.sync += [lane.eq(Mux(held.column, held.low, 0)), row.eq(held.row), word.eq(word + 1),
                         beats.eq(beats - 1), last_beat.eq(beats == 2), begun.eq(~last_beat)]
        with m.If(self.release):
            m.d.sync += half.eq(~half)

        with m.If(moves):
            m.d.sync += [arrives.eq(begun), arriving_lane.eq(lane), arriving_last.eq(last_lane),
                         self.o.valid.eq(arrives & arriving_last)]
            for index in range(size):
                with m.If(arriving_lane == index):
                    m.d.sync += self.o.payload[index].eq(read.data)
        return m
