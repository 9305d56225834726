"""The passes of a vector job in order, and what each reads and writes."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..control.job import command
from ..linear.plan import ADDRESS_BITS
from ..memory.burst import chunk_beats
from ..memory.writer import column_command
from ..stream import Queue
from .plan import address_bits, plan_layout, size_bits

__all__ = ["PASSES_AHEAD", "WRITE_BURST_BEATS", "pass_layout", "row_command", "PassWalk"]

PASSES_AHEAD = 4
"""Passes whose words and writes are not begun."""

WRITE_BURST_BEATS = 16

_COUNT_BITS = 20
"""Bursts are counted modulo 2**20: two row groups have fewer than half as many."""

_X, _R, _W, _R_SECOND, _Y_SECOND = range(5)
"""What a walk goes along: of first passes reads of x and r and writes, of second ones reads of r and writes of y."""


def pass_layout(config):
    """A pass for the datapath: whether it is a ``second`` one, the ``rows`` that count, the ``end`` of its row group
    (of its last head) and the ``final`` one of the job; whether it ``updates`` residuals; and which streams its words
    take: of ``x``, of ``r`` words of int16 or ``residuals``, of ``t`` norm parameters; or it ``turns`` a head."""
    return data.StructLayout({"second": 1, "rows": range(config.rows + 1), "end": 1, "final": 1, "updates": 1,
                              "turns": 1, "takes": data.StructLayout({"x": 1, "r": 1, "residuals": 1, "t": 1})})


row_command = data.StructLayout({"to_r": 1, "command": command(ADDRESS_BITS)})
"""A read of x, or of r."""


class PassWalk(wiring.Component):
    """Asks for the rows of each pass, announces its results, and tells the datapath of it.

    A job with two passes for each row group has them in the order first of group 0, first of 1, second of 0, first of
    2, second of 1 and so on: while a group's second pass waits for its statistics and for the responses of its writes,
    the next group's first goes on.

    Members
    -------
    plan : In
    answered : In(1)
        A write burst's response arrived.
    o_row : Out(stream(row_command)), o_write : Out(stream(column_command)), o : Out(stream(pass_layout))
        Row commands of one pass x first. A second pass's reads come after the responses of its first's writes.

    Starts by itself after reset. Throughput: a pass in at most 4 cycles. Stalls: at most `PASSES_AHEAD` passes are
    ahead of the writes and of the datapath.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)), "answered": In(1),
            "o_row": Out(stream.Signature(row_command)),
            "o_write": Out(stream.Signature(column_command(ADDRESS_BITS, config.bus_bytes))),
            "o": Out(stream.Signature(pass_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, job = self.config, self.plan, self.plan.job
        # Addresses and sizes are whole beats.
        log_bus = config.bus_bytes.bit_length() - 1
        place_shape, size_shape = unsigned(address_bits(config) - log_bus), unsigned(size_bits(config) - log_bus)
        kept = data.StructLayout({"place": place_shape, "size": size_shape})
        m.submodules.writes = writes = Queue(kept, PASSES_AHEAD)
        m.submodules.passes = passes = Queue(pass_layout(config), PASSES_AHEAD)
        m.d.comb += [
            self.o.valid.eq(passes.o.valid), self.o.payload.eq(passes.o.payload), passes.o.ready.eq(self.o.ready),
            self.o_write.valid.eq(writes.o.valid), writes.o.ready.eq(self.o_write.ready),
            self.o_write.payload.addr.eq(writes.o.payload.place << log_bus),
            self.o_write.payload.bytes.eq(writes.o.payload.size << log_bus),
            self.o_write.payload.column.eq(plan.op.lanes),
            self.o_write.payload.low.eq(job.first_lane << 1), self.o_write.payload.high.eq((job.last_lane << 1) + 1),
        ]

        # Where each of the five goes on, if it has begun.
        m.submodules.places = places = Memory(shape=place_shape, depth=8, init=[])
        store, load = places.write_port(), places.read_port(domain="comb")
        which, begun, place, size = Signal(3), Signal(8), Signal(place_shape), Signal(size_shape)
        low, high, as_r, as_w = (Signal(name=name) for name in ("low", "high", "as_r", "as_w"))

        def goes_to(which_next, from_r=0, from_y=0, r=0, w=0):
            """Registers for what the next state asks for, so that it begins with an address."""
            goes_on = begun.bit_select(which_next, 1)
            return [which.eq(which_next), low.eq(goes_on | from_y), high.eq(goes_on | from_r), as_r.eq(r), as_w.eq(w)]

        m.d.comb += [
            place.eq(Mux(high, Mux(low, load.data, job.r[log_bus:]), Mux(low, job.y[log_bus:], job.x[log_bus:]))),
            size.eq(Mux(as_r, plan.r_bytes[log_bus:], Mux(as_w, plan.w_bytes[log_bus:], plan.x_bytes[log_bus:]))),
        ]

        moves, moved = Signal(), Signal(data.StructLayout({"which": 3, "place": place_shape, "size": size_shape}))
        group, head, step = Signal.like(job.groups), Signal.like(plan.heads), Signal()
        second, last_head, last_group, final = Signal(), Signal(), Signal(), Signal()
        row, write, announced = self.o_row.payload, writes.i.payload, passes.i.payload
        m.d.comb += [
            second.eq(step | plan.second), final.eq(last_head & last_group & (second | ~plan.two)),
            row.command.addr.eq(place << log_bus), row.command.bytes.eq(size << log_bus),
            write.place.eq(place), write.size.eq(size),
            load.addr.eq(which), store.addr.eq(moved.which), store.data.eq(moved.place + moved.size),
            store.en.eq(moves), announced.second.eq(second), announced.end.eq(last_head), announced.final.eq(final),
            announced.updates.eq(plan.op.residual & ~second),
            announced.turns.eq(plan.op.rotate),
            announced.takes.x.eq(~second & plan.takes_x), announced.takes.r.eq(plan.op.gate),
            announced.takes.residuals.eq(plan.op.residual & (second | plan.reads_r)),
            announced.takes.t.eq(second & plan.normalises),
            announced.rows.eq(Mux(last_group, plan.last_rows, config.rows)),
        ]
        # Where a command ends is stored a cycle later: the next of its kind comes after those of the others.
        m.d.sync += [moves.eq((self.o_row.valid & self.o_row.ready) | (writes.i.valid & writes.i.ready)),
                     moved.which.eq(which), moved.place.eq(place), moved.size.eq(size)]
        with m.If(moves):
            m.d.sync += begun.bit_select(moved.which, 1).eq(1)
        may_reread = self._responses(m, second, writes.i, self.o_row, moved)

        # Settled in state X, and looked at in the others.
        after, wants_r = Signal(), Signal()
        m.d.sync += [wants_r.eq(second | (plan.reads_r & (head == 0))), last_head.eq(head + 1 == plan.heads),
                     last_group.eq(group + 1 == job.groups)]
        with m.FSM():
            with m.State("X"):
                m.d.comb += self.o_row.valid.eq(~second & plan.reads_x)
                with m.If(~self.o_row.valid | self.o_row.ready):
                    m.d.sync += goes_to(Mux(second, _R_SECOND, _R), from_r=1, r=1)
                    m.next = "R"
            with m.State("R"):
                m.d.comb += [row.to_r.eq(1), self.o_row.valid.eq(wants_r & (~second | may_reread))]
                with m.If(~wants_r | (self.o_row.valid & self.o_row.ready)):
                    to_r = ~second & plan.writes_r
                    m.d.sync += goes_to(Mux(second, _Y_SECOND, _W), from_r=to_r, from_y=~to_r, w=~second)
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += writes.i.valid.eq(second | plan.writes)
                with m.If(~writes.i.valid | writes.i.ready):
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += [passes.i.valid.eq(1), after.eq(passes.i.ready)]
                with m.If(after):
                    m.d.sync += goes_to(Const(_X, 3))
                    m.next = "X"
                    with m.If(final):
                        m.next = "END"
            with m.State("END"):
                pass

        with m.If(after & ~plan.two):
            m.d.sync += head.eq(Mux(last_head, 0, head + 1))
            with m.If(last_head):
                m.d.sync += group.eq(group + 1)
        with m.If(after & plan.two):
            # First passes are one group ahead; the last group's first is followed by two second ones.
            with m.If(~step):
                with m.If((group == 0) & ~last_group):
                    m.d.sync += group.eq(1)
                with m.Else():
                    m.d.sync += [step.eq(1), group.eq(Mux(group == 0, 0, group - 1))]
            with m.Elif(group + 2 < job.groups):
                m.d.sync += [step.eq(0), group.eq(group + 2)]
            with m.Else():
                m.d.sync += group.eq(group + 1)
        return m

    def _responses(self, m, second, asks, rereads, moved):
        """Whether the oldest first pass that no second one has followed has the responses of all its writes."""
        low = chunk_beats(self.config.bus_bytes, WRITE_BURST_BEATS).bit_length() - 1
        m.submodules.targets = targets = Queue(unsigned(_COUNT_BITS), 2)
        bursts, asked, answered, ahead = (Signal(_COUNT_BITS, name=name) for name in (
            "bursts", "asked", "answered", "ahead"))
        reached = Signal()
        # Bursts of a command are counted in the cycle after it went, when it is what ``moved``; responses come late.
        went, heard = Signal(), Signal()
        goes = asks.valid & asks.ready
        m.d.comb += bursts.eq((moved.place[:low] + moved.size - 1 >> low) + 1)
        m.d.sync += [went.eq(goes), heard.eq(self.answered), answered.eq(answered + heard)]
        with m.If(went):
            m.d.sync += asked.eq(asked + bursts)
        m.d.comb += [
            targets.i.payload.eq(asked + bursts), targets.i.valid.eq(went & ~second & self.plan.two),
            targets.o.ready.eq(second & self.plan.two & rereads.valid & rereads.ready),
            ahead.eq(answered + heard - targets.o.payload),
        ]
        # Known a cycle after the response; the target is much older, and the next one is looked at much later.
        m.d.sync += reached.eq(~self.plan.two | ~self.plan.writes | (targets.o.valid & ~ahead[-1]))
        return reached
