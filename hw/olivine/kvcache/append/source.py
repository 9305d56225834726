"""Rows of keys and values: fetched head by head, requantized, and encoded as the cache's bytes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...control.job import command
from ...memory.realign import words
from ...numerics.rounding import rsh, sat
from ...olive.encoder import PairEncoder
from ...olive.formats import LaneFormat
from ...stream import Gearbox, Queue, fork
from ..addresses import address_bits
from .plan import plan_layout, scales_layout

__all__ = ["ELEMENT_BITS", "block_layout", "codes_layout", "SourceAddresses", "Requantizer", "SourceLoader"]

ELEMENT_BITS = 16


def block_layout(config):
    """Keys or values of a step: its ``rows``, and those ``stored``; ``last`` step of the head."""
    rows = range(config.rows + 1)
    return data.StructLayout({"value": 1, "rows": rows, "stored": rows, "last": 1})


def tag_layout(config):
    """Of a pair of dims of P rows, on its way through the requantizer."""
    return data.StructLayout({"value": 1, "pair": range(config.max_head_dim // 2), "final": 1,
                              "rows": range(config.rows + 1)})


def codes_layout(config):
    """A pair of dims of P rows as bytes: two in 8 bit, one in 4 bit. ``final``: the step's last, of its values."""
    return data.StructLayout({"tag": tag_layout(config), "int8": 1, "codes": data.ArrayLayout(16, config.rows)})


class SourceAddresses(wiring.Component):
    """Asks for keys, then values, of each head, of each row group.

    Members
    -------
    plan : In
    o_command : Out(stream(command)), o_block : Out(stream(block_layout))

    Throughput: two blocks in seven cycles. Starts by itself after reset: the first block is offered after 4 cycles and
    one for each bit of the number of heads. Cost: an adder of an address, five smaller ones; no multiplier.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "o_command": Out(stream.Signature(command(address_bits(config)))),
            "o_block": Out(stream.Signature(block_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, block = self.config, self.plan, self.o_block.payload
        log_rows = config.rows.bit_length() - 1
        value, group, heads = Signal(), Signal(range(config.contexts)), Signal.like(plan.heads)
        last_group = group + 1 == plan.groups
        # Elements of P rows from a row group to the next, and up to the one at hand; of rows, up to the head, in a
        # whole row group and in the last.
        longest = max((1 << len(plan.heads)) * config.max_head_dim, 1 << len(plan.channels))
        stride, group_at = Signal(range(longest)), Signal(range(longest * config.contexts))
        into, into_last = Signal(range(longest * config.rows)), Signal(range(longest * config.rows))
        offset = Signal(range(2 * longest * config.contexts * config.rows))
        # Heads times dims, bit by bit.
        left, term = Signal.like(plan.heads), Signal.like(stride)

        offered = Signal()
        sent = fork(m, offered, self.o_command, self.o_block)
        m.d.comb += [
            self.o_command.payload.bytes.eq(Mux(last_group, plan.last_head_bytes, plan.head_bytes)),
            block.value.eq(value), block.rows.eq(Mux(last_group, plan.last_rows, config.rows)),
            block.stored.eq(Mux(plan.full, config.rows, block.rows)), block.last.eq(last_group),
        ]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [heads.eq(plan.heads), left.eq(plan.heads), term.eq(plan.dims), stride.eq(plan.channels)]
                m.next = "MULTIPLY"
                with m.If(plan.channels != 0):
                    m.next = "OFFSET"
            with m.State("MULTIPLY"):
                m.d.sync += [left.eq(left >> 1), term.eq(term << 1)]
                with m.If(left[0]):
                    m.d.sync += stride.eq(stride + term)
                with m.If(left == 0):
                    m.next = "OFFSET"
            with m.State("OFFSET"):
                m.d.sync += offset.eq((group_at << log_rows) + Mux(last_group, into_last, into))
                m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.sync += self.o_command.payload.addr.eq(
                    Mux(value, plan.values, plan.keys) + Mux(plan.wide, offset << 1, offset))
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += offered.eq(1)
                with m.If(sent):
                    m.next = "NEXT"
            with m.State("NEXT"):
                # In a cycle of its own, as it is known late that both were taken.
                m.d.sync += value.eq(~value)
                m.next = "ADDRESS"
                with m.If(value):
                    m.d.sync += [group.eq(group + 1), group_at.eq(group_at + stride)]
                    m.next = "OFFSET"
                    with m.If(last_group):
                        m.d.sync += [
                            group.eq(0), group_at.eq(0), heads.eq(heads - 1), into.eq(into + (plan.dims << log_rows)),
                            into_last.eq(into_last + Mux(plan.wide, plan.last_head_bytes >> 1, plan.last_head_bytes)),
                        ]
                        with m.If(heads == 1):
                            m.next = "DONE"
            with m.State("DONE"):
                pass
        return m


class Requantizer(wiring.Component):
    """``sat8(rsh(x * mult, shift))``, or pairs of ``sat16(rsh(x * mult, shift))`` half units encoded in 4 bit.

    ::

        cycle  0  i
               1  * mult
               2  (multiplier's second register)
               3  rsh shift, sat
               4  encoder
               7  o

    Members
    -------
    i_valid : In(1), i : In(struct)
        Of P rows two consecutive dims; their scale, the cache's format.
    o_valid : Out(1), o : Out(codes_layout), saturated : Out
        ``saturated``: stored elements of existing rows out of range, in this cycle.

    `latency` cycles, a pair of dims of P rows a cycle. Cost: 2 P multipliers of 16 x 17 bits, P encoders.
    """

    latency = 4 + PairEncoder.latency

    def __init__(self, config):
        self.config = config
        super().__init__({
            "i_valid": In(1), "i": In(data.StructLayout({
                "tag": tag_layout(config), "format": LaneFormat, "mult": 16, "shift": 6,
                "x": data.ArrayLayout(data.ArrayLayout(signed(ELEMENT_BITS), config.rows), 2)})),
            "o_valid": Out(1), "o": Out(codes_layout(config)), "saturated": Out(range(2 * config.rows + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        config, latency = self.config, self.latency
        stage = [Signal(data.StructLayout({"valid": 1, "tag": tag_layout(config), "format": LaneFormat, "mult": 16,
                                           "shift": 6}), name=f"stage_{cycle}") for cycle in range(latency + 1)]
        m.d.comb += [stage[0].valid.eq(self.i_valid),
                     *(getattr(stage[0], name).eq(self.i[name]) for name in ("tag", "format", "mult", "shift"))]
        for before, after in zip(stage, stage[1:]):
            m.d.sync += after.eq(before)
        final, int8 = stage[latency], stage[3].format == LaneFormat.INT8

        saturated = []
        for row in range(config.rows):
            m.submodules[f"encoder_{row}"] = encoder = PairEncoder(ELEMENT_BITS)
            m.d.comb += encoder.i.format.eq(stage[4].format)
            for dim, name in enumerate(("first", "second")):
                x = Signal(signed(ELEMENT_BITS), name=f"x_{row}_{dim}")
                product = Signal(signed(2 * ELEMENT_BITS + 1), name=f"product_{row}_{dim}")
                held = Signal.like(product, name=f"held_{row}_{dim}")
                half_units = Signal(signed(ELEMENT_BITS), name=f"half_units_{row}_{dim}")
                scaled = rsh(held, stage[3].shift)
                m.d.sync += [
                    x.eq(self.i.x[dim][row]), product.eq(x * stage[1].mult), held.eq(product),
                    # Whole units for 8 bit: what saturates here saturates there.
                    half_units.eq(Mux(int8, sat(scaled, ELEMENT_BITS - 1) << 1, sat(scaled, ELEMENT_BITS))),
                ]
                m.d.comb += encoder.i[name].eq(half_units)
            m.d.comb += self.o.codes[row].eq(encoder.o.codes)
            saturated.append(Mux(final.valid & (final.tag.rows > row), encoder.o.saturated, 0))
        m.d.comb += [self.o_valid.eq(final.valid), self.o.tag.eq(final.tag),
                     self.o.int8.eq(final.format == LaneFormat.INT8)]
        m.d.sync += self.saturated.eq(sum(saturated))
        return m


class SourceLoader(wiring.Component):
    """Cuts blocks into pairs of dims of P rows and passes them through the requantizer.

    Members
    -------
    plan : In
    i : In(stream(words)), i_block : In(stream(block_layout))
        The blocks' bytes, a packet a block.
    i_scales : In(stream(scales_layout))
        One a head.
    release : In(1)
        A bank of the store is free again; two are at first.
    o_valid : Out(1), o : Out(codes_layout), saturated : Out
        As of `Requantizer`. Never waits: a step begins when a bank is free.

    Throughput: a pair of dims of P rows a cycle, as far as the bus brings them. Where a job's last row group has
    fewer rows, the others' bytes mean nothing.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "i": In(stream.Signature(words(config.bus_bytes))),
            "i_block": In(stream.Signature(block_layout(config))), "i_scales": In(stream.Signature(scales_layout)),
            "release": In(1), "o_valid": Out(1), "o": Out(codes_layout(config)),
            "saturated": Out(range(2 * config.rows + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, rows = self.config, self.plan, self.config.rows
        m.submodules.gearbox = gearbox = Gearbox(8, config.bus_bytes, 4 * rows)
        # Blocks whose bytes are still to come, and blocks on their way through the gearbox.
        m.submodules.coming = coming = Queue(block_layout(config), 8)
        m.submodules.inside = inside = Queue(block_layout(config), 4)
        m.submodules.requantizer = requantizer = Requantizer(config)
        wiring.connect(m, wiring.flipped(self.i_block), coming.i)

        # Into the gearbox. It knows one word size at a time: a block of another waits until it is empty.
        entered, take, may_enter, enters = Signal(), Signal(range(4 * rows + 1), init=1), Signal(), Signal()
        # Bytes of a pair of dims.
        next_take = Signal.like(take)
        m.d.comb += next_take.eq(coming.o.payload.stored << 1 << plan.wide)
        empty = inside.level == 0
        m.d.comb += [
            may_enter.eq(entered | (coming.o.valid & inside.i.ready & (empty | (take == next_take)))),
            gearbox.i.payload.eq(self.i.payload),
            gearbox.i.valid.eq(self.i.valid & may_enter), self.i.ready.eq(gearbox.i.ready & may_enter),
            gearbox.take.eq(Mux(coming.o.valid & ~entered & empty, next_take, take)),
            enters.eq(gearbox.i.valid & gearbox.i.ready & ~entered),
            coming.o.ready.eq(enters), inside.i.valid.eq(enters), inside.i.payload.eq(coming.o.payload),
        ]
        with m.If(gearbox.i.valid & gearbox.i.ready):
            m.d.sync += entered.eq(~self.i.payload.last)
        with m.If(enters):
            m.d.sync += take.eq(next_take)

        # Out of it, a step when a bank is free.
        block, word = inside.o.payload, gearbox.o.payload
        banks, begun, takes_bank, moves = Signal(range(3), init=2), Signal(), Signal(), Signal()
        pair = Signal(range(config.max_head_dim // 2))
        m.d.comb += [
            gearbox.o.ready.eq(inside.o.valid & self.i_scales.valid & (begun | (banks != 0))),
            moves.eq(gearbox.o.valid & gearbox.o.ready), takes_bank.eq(moves & ~begun),
            inside.o.ready.eq(moves & word.last), self.i_scales.ready.eq(moves & word.last & block.value & block.last),
        ]
        m.d.sync += banks.eq(banks - takes_bank + self.release)
        with m.If(moves):
            m.d.sync += [begun.eq(1), pair.eq(pair + 1)]
            with m.If(word.last):
                m.d.sync += pair.eq(0)
                with m.If(block.value):
                    m.d.sync += begun.eq(0)

        # Containers as 16 bits; the second dim's follow those of the rows that are stored.
        whole = word.data.as_value()
        narrow = Cat(Cat(whole.word_select(index, 8), whole.word_select(index, 8)[-1].replicate(8))
                     for index in range(2 * rows))
        containers, second = Signal(32 * rows), Signal(16 * rows)
        scales, to = self.i_scales.payload, requantizer.i
        m.d.comb += [
            containers.eq(Mux(plan.wide, whole, narrow)), second.eq(containers >> (block.stored << 4)),
            requantizer.i_valid.eq(moves),
            to.x[0].as_value().eq(containers[:16 * rows]), to.x[1].as_value().eq(second),
            to.mult.eq(Mux(block.value, scales.value_mult, scales.key_mult)),
            to.shift.eq(Mux(block.value, scales.value_shift, scales.key_shift)),
            to.format.eq(Mux(block.value, plan.value_format, plan.key_format)),
            to.tag.value.eq(block.value), to.tag.pair.eq(pair), to.tag.final.eq(word.last & block.value),
            to.tag.rows.eq(block.rows),
            self.o_valid.eq(requantizer.o_valid), self.o.eq(requantizer.o), self.saturated.eq(requantizer.saturated),
        ]
        return m
