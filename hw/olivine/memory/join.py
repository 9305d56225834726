"""Several AXI4 masters on one AXI4 bus."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..stream.arbiter import Arbiter
from ..stream.skid import Skid
from .axi import AXI4, address_channel
from .checks import check_integer
from .order import BurstOrder

__all__ = ["attach", "BusJoin"]


def attach(m, port, master):
    """Connect a master that may have fewer ID bits, or read channels only, to one of a `BusJoin`'s."""
    for channel in ("ar", "r", "aw", "w", "b"):
        inner = getattr(port, channel, None)
        if inner is None:
            continue
        outer = getattr(master, channel)
        source, target = (outer, inner) if channel in ("r", "b") else (inner, outer)
        m.d.comb += [target.valid.eq(source.valid), source.ready.eq(target.ready),
                     *(target.payload[name].eq(source.payload[name]) for name, _ in inner.payload.shape())]


class BusJoin(wiring.Component):
    """Gives several masters one bus: each one's number is put above its IDs, and answers return by it.

    A master's IDs keep their meaning: what the bus promises for transfers of one ID holds for one ID of one master,
    and data of different IDs may come interleaved in any way.

    **The user's part.** A master takes R and B always: they are offered for a cycle. It offers a write's address only
    when its beats are there to follow, or it keeps the others waiting. `BurstReader` and `BurstWriter` do both, and
    what is built from them with `ReadMux`.

    Cycle budget: AR and AW each pass one register, one address a cycle, masters taking turns; a change of turn where
    nothing went before costs one. An address offered on the bus stays until taken. R, W and B pass a
    register, a beat a cycle. W carries bursts in the order of their addresses, without a bubble.

    Stalls: AW waits while 8 bursts or more have an address and none of their beats is due.

    Parameters
    ----------
    addr_width, bus_bits : int
    masters : int
        2 to 16.
    id_width : int
        ID bits of each master. The bus has ``ceil(log2(masters))`` more, at most 16 in all.
    favoured : bool
        Reads of the first master go before those of all others; else all take turns.

    Attributes
    ----------
    bus_id_width : int

    Members
    -------
    masters : In(AXI4), array
    bus : Out(AXI4)
        What comes with a number that no master has is taken and dropped.

    Cost: a `Skid` of an address for AR and for AW, and one of a beat for W, registers of R and B; a choice of one of
    ``masters`` for each bit of AR, AW and W.
    """

    def __init__(self, addr_width, bus_bits, masters, id_width=1, favoured=False):
        self.favoured = favoured
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bits = check_integer("bus_bits", bus_bits, 8, 1024)
        self.master_count = check_integer("masters", masters, 2, 16)
        number = (masters - 1).bit_length()
        self.id_width = check_integer("id_width", id_width, 1, 16 - number)
        self.bus_id_width = id_width + number
        super().__init__({"masters": In(AXI4(addr_width, bus_bits, id_width)).array(masters),
                          "bus": Out(AXI4(addr_width, bus_bits, self.bus_id_width))})

    def elaborate(self, platform):
        m = Module()
        masters, bus = list(self.masters), self.bus
        self._writes(m, masters, bus)

        m.submodules.ar_arbiter = arbiter = Arbiter(
            address_channel(self.addr_width, self.id_width), len(masters))
        granted = arbiter.o.payload
        m.d.comb += [
            bus.ar.payload.addr.eq(granted.payload.addr),
            bus.ar.payload.len.eq(granted.payload.len),
            bus.ar.payload.id.eq(self._id_of(granted.payload, granted.source)),
            bus.ar.valid.eq(arbiter.o.valid),
            arbiter.o.ready.eq(bus.ar.ready),
            bus.r.ready.eq(1),
        ]
        # A memory is slow to answer, and its readers are many and far apart: each has a register that says it is his.
        valid, answer = Signal(len(masters)), Signal.like(bus.r.payload, reset_less=True)
        m.d.sync += answer.eq(bus.r.payload)
        for index, master in enumerate(masters):
            m.d.sync += valid[index].eq(bus.r.valid & (self._source_of(bus.r.payload.id) == index))
            may = ~masters[0].ar.valid if self.favoured and index else 1
            m.d.comb += [
                arbiter.i[index].payload.eq(master.ar.payload),
                arbiter.i[index].valid.eq(master.ar.valid & may),
                master.ar.ready.eq(arbiter.i[index].ready & may),
                *(master.r.payload[name].eq(answer[name]) for name in ("data", "resp", "last")),
                # A master's own ID is the lower bits.
                master.r.payload.id.eq(answer.id),
                master.r.valid.eq(valid[index]),
            ]
        return m

    def _writes(self, m, masters, bus):
        """AW, W and B."""
        m.submodules.aw_arbiter = arbiter = Arbiter(masters[0].aw.payload.shape(), len(masters))
        # The masters of the granted addresses, in order.
        m.submodules.w_order = order = BurstOrder(len(masters))
        # What a memory takes it says late, and there are many who would like to know.
        m.submodules.w_skid = beats = Skid(bus.w.payload.shape())
        wiring.connect(m, beats.o, wiring.flipped(bus.w))
        granted = arbiter.o.payload
        m.d.comb += [
            bus.aw.payload.addr.eq(granted.payload.addr),
            bus.aw.payload.len.eq(granted.payload.len),
            bus.aw.payload.id.eq(self._id_of(granted.payload, granted.source)),
            bus.aw.valid.eq(arbiter.o.valid),
            arbiter.o.ready.eq(bus.aw.ready),
            order.enters.eq(Cat(master.aw.valid & master.aw.ready for master in masters)),
            order.leaves.eq(beats.i.valid & beats.i.ready & beats.i.payload.last),
            bus.b.ready.eq(1),
        ]
        # Answers go far, as those of reads do.
        valid, answer = Signal(len(masters)), Signal.like(bus.b.payload, reset_less=True)
        m.d.sync += answer.eq(bus.b.payload)
        for index, (master, sends) in enumerate(zip(masters, order.first)):
            m.d.sync += valid[index].eq(bus.b.valid & (self._source_of(bus.b.payload.id) == index))
            m.d.comb += [
                arbiter.i[index].payload.eq(master.aw.payload),
                arbiter.i[index].valid.eq(master.aw.valid & order.room),
                master.aw.ready.eq(arbiter.i[index].ready & order.room),
                master.w.ready.eq(sends & beats.i.ready),
                # A master's own ID is the lower bits.
                master.b.payload.id.eq(answer.id),
                master.b.payload.resp.eq(answer.resp),
                master.b.valid.eq(valid[index]),
            ]
        # At most one: an AND and an OR for each master and bit, none for a master that never writes.
        m.d.comb += [
            beats.i.valid.eq(reduce(or_, (turn & master.w.valid for turn, master in zip(order.first, masters)))),
            beats.i.payload.as_value().eq(reduce(or_, (
                turn.replicate(bus.w.payload.shape().size) & master.w.payload.as_value()
                for turn, master in zip(order.first, masters)))),
        ]

    def _id_of(self, address, master):
        return Cat(address.id, master)

    def _source_of(self, ident):
        return ident[self.id_width:]
