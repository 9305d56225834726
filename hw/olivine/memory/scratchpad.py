"""Memory on the chip that answers as AXI4 memory does."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from ..stream.later import read_later
from ..stream.queue import Queue
from ..stream.spare import Spare
from .axi import AXI4, Response
from .checks import check_integer, check_power_of_two

__all__ = ["Scratchpad"]

ANSWERS = 4
"""Beats that are read and not taken: the memory's latency, and a register."""


class Scratchpad(wiring.Component):
    """A memory of ``words`` bus beats, one read and one written each cycle.

    Latency: AR to its first R 4 cycles, the last W to B 1 cycle; what was written is read by an AR after B.
    Throughput: one beat a cycle each way, without a bubble between bursts. A read of a beat waits while it is written.

    Parameters
    ----------
    addr_width, bus_bits : int
    words : int
        Power of two.
    id_width : int

    Members
    -------
    bus : In(AXI4)
        Addresses count modulo the memory's size. Bursts are answered in order. Of both R and B, what is
        not taken waits.

    ``ar.ready`` and ``aw.ready`` are registers.

    Cost: the memory, byte enables, a queue of 4 beats, a `Spare` for an address each way.
    """

    def __init__(self, addr_width, bus_bits, words, id_width=1):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bits = check_power_of_two("bus_bits", bus_bits, 16, 1024)
        self.words = check_power_of_two("words", words, 16, 1 << 24)
        self.id_width = check_integer("id_width", id_width, 1, 16)
        super().__init__({"bus": In(AXI4(addr_width, bus_bits, id_width))})

    def elaborate(self, platform):
        m = Module()
        low = exact_log2(self.bus_bits // 8)
        high = low + exact_log2(self.words)
        m.submodules.memory = memory = Memory(shape=unsigned(self.bus_bits), depth=self.words, init=[])
        write = memory.write_port(granularity=8)
        written = self._write(m, write, low, high)
        self._read(m, memory, write, written, low, high)
        return m

    def _read(self, m, memory, write, written, low, high):
        bus = self.bus
        tag = data.StructLayout({"id": self.id_width, "last": 1})
        m.submodules.answers = answers = Queue(
            data.StructLayout({"tag": tag, "data": self.bus_bits}), ANSWERS)
        active, addr, left, ident = Signal(), Signal.like(write.addr), Signal(8), Signal(self.id_width)
        addr_after = Signal.like(addr)
        # Room for the beat that is asked for now, behind the one on its way. A beat that is written now waits: one of
        # its other bytes may be wanted, and a block RAM does not say what it reads then. Whether they meet is found a
        # cycle ahead, for each address that may come.
        on_way, asked, meets = Signal(), Signal(tag), Signal()
        issue, last = Signal(), left == 0
        # An address is taken when the burst before is about to end, not before: the one behind it may go to memory.
        soon = Signal(init=1)
        asks = self._addresses(m, "ar", low, high, soon)
        with m.If(asks.valid & asks.ready):
            m.d.sync += soon.eq(asks.payload.len == 0)
        with m.Else():
            m.d.sync += soon.eq(~active | (left <= 1))
        m.d.comb += [
            issue.eq(active & (answers.level + on_way < ANSWERS) & ~meets),
            asks.ready.eq(~active | issue & last),
            answers.i.valid.eq(on_way), answers.i.payload.data.eq(read_later(m, memory, addr, write, issue, meets)),
            answers.i.payload.tag.eq(asked),
            bus.r.valid.eq(answers.o.valid), answers.o.ready.eq(bus.r.ready),
            bus.r.payload.data.eq(answers.o.payload.data), bus.r.payload.id.eq(answers.o.payload.tag.id),
            bus.r.payload.last.eq(answers.o.payload.tag.last), bus.r.payload.resp.eq(Response.OKAY),
        ]
        taken, place = written
        same, onward, other = place == addr, place == addr_after, place == asks.payload.addr
        m.d.comb += addr_after.eq(addr + 1)
        m.d.sync += [on_way.eq(issue), asked.id.eq(ident), asked.last.eq(last),
                     meets.eq(taken & Mux(asks.ready, other, Mux(issue, onward, same)))]
        with m.If(issue):
            m.d.sync += [addr.eq(addr_after), left.eq(left - 1)]
        # Whether there is an address is known late, and only ``active`` waits for it.
        with m.If(asks.ready):
            m.d.sync += [active.eq(asks.valid), addr.eq(asks.payload.addr), left.eq(asks.payload.len),
                         ident.eq(asks.payload.id)]

    def _addresses(self, m, channel, low, high, may=1):
        """AR or AW behind a spare place: whoever offers sees registers."""
        offered = getattr(self.bus, channel)
        m.submodules[channel] = spare = Spare(data.StructLayout({"addr": high - low, "len": 8, "id": self.id_width}))
        m.d.comb += [
            spare.i.payload.addr.eq(offered.payload.addr[low:high]), spare.i.payload.len.eq(offered.payload.len),
            spare.i.payload.id.eq(offered.payload.id), spare.i.valid.eq(offered.valid & may),
            offered.ready.eq(spare.i.ready & may),
        ]
        return spare.o

    def _write(self, m, port, low, high):
        """Returns whether a beat is written in the next cycle, and where."""
        bus = self.bus
        m.submodules.responses = responses = Queue(unsigned(self.id_width), 2)
        active, addr, ident = Signal(), Signal.like(port.addr), Signal(self.id_width)
        taken = Signal()
        last = bus.w.payload.last
        asks = self._addresses(m, "aw", low, high)
        m.d.comb += [
            bus.w.ready.eq(active & responses.i.ready), taken.eq(bus.w.valid & bus.w.ready),
            asks.ready.eq(~active | taken & last),
            responses.i.valid.eq(taken & last), responses.i.payload.eq(ident),
            bus.b.valid.eq(responses.o.valid), responses.o.ready.eq(bus.b.ready),
            bus.b.payload.id.eq(responses.o.payload), bus.b.payload.resp.eq(Response.OKAY),
        ]
        # Written a cycle later: what reads wait for is a register, and an AR after B still comes after it.
        m.d.sync += [port.addr.eq(addr), port.data.eq(bus.w.payload.data), port.en.eq(0)]
        with m.If(taken):
            m.d.sync += [addr.eq(addr + 1), port.en.eq(bus.w.payload.strb)]
        with m.If(asks.ready):
            m.d.sync += [active.eq(asks.valid), addr.eq(asks.payload.addr), ident.eq(asks.payload.id)]
        return taken, addr
