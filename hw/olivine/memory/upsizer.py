"""AXI4 from a narrow bus to a wide one."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..stream.queue import Queue
from .axi import AXI4
from .checks import check_integer, check_power_of_two

__all__ = ["AxiUpsizer"]


class AxiUpsizer(wiring.Component):
    """Bursts of a narrow master as bursts of a wide slave: the same bytes, with fewer beats.

    A burst may begin and end anywhere in a wide beat. What of a wide beat lies outside is read and dropped, and
    written without strobes. IDs and responses pass. A wide burst lies in the same 4 KiB as the narrow one.

    Cycle budget: addresses and responses pass in the cycle; each narrow beat takes a cycle, and a wide one moves with
    the last narrow beat of it: no bubble within or between bursts.

    Stalls: AR while ``bursts`` have not had their last beat, AW likewise; W until its address has passed.

    Parameters
    ----------
    addr_width : int
    narrow_bits, wide_bits : int
        Powers of two; ``wide_bits`` is larger.
    id_width : int
    bursts : int
        Of each kind that may be under way.

    Members
    -------
    master : In(AXI4)
        The narrow bus.
    slave : Out(AXI4)
        The wide bus;
        it must answer reads in the order of their addresses, whatever their IDs.

    Cost: two queues of ``bursts`` lengths, a register of a wide beat less a narrow one, a choice of one of
    ``wide_bits / narrow_bits`` for each bit of R.
    """

    def __init__(self, addr_width, narrow_bits, wide_bits, id_width=1, bursts=16):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.narrow_bits = check_power_of_two("narrow_bits", narrow_bits, 8, 512)
        self.wide_bits = check_power_of_two("wide_bits", wide_bits, 2 * narrow_bits, 1024)
        self.id_width = check_integer("id_width", id_width, 1, 16)
        self.bursts = check_integer("bursts", bursts, 1, 256)
        super().__init__({"master": In(AXI4(addr_width, narrow_bits, id_width)),
                          "slave": Out(AXI4(addr_width, wide_bits, id_width))})

    def elaborate(self, platform):
        m = Module()
        ratio = self.wide_bits // self.narrow_bits
        self._reads(m, self._addresses(m, "ar", exact_log2(ratio)), ratio)
        self._writes(m, self._addresses(m, "aw", exact_log2(ratio)), ratio)
        m.d.comb += [
            self.master.b.payload.eq(self.slave.b.payload), self.master.b.valid.eq(self.slave.b.valid),
            self.slave.b.ready.eq(self.master.b.ready),
        ]
        return m

    def _addresses(self, m, name, bits):
        """AR or AW; returns the queue of bursts that passed: the part of a wide beat where each begins, its length."""
        source, sink = getattr(self.master, name), getattr(self.slave, name)
        low = exact_log2(self.narrow_bits // 8)
        begin = source.payload.addr[low:low + bits]
        m.submodules[name] = queue = Queue(data.StructLayout({"part": bits, "len": 8}), self.bursts)
        m.d.comb += [
            sink.payload.id.eq(source.payload.id),
            sink.payload.addr.eq(source.payload.addr & -(self.wide_bits // 8)),
            sink.payload.len.eq((source.payload.len + begin) >> bits),
            sink.valid.eq(source.valid & queue.i.ready), source.ready.eq(sink.ready & queue.i.ready),
            queue.i.valid.eq(source.valid & sink.ready),
            queue.i.payload.part.eq(begin), queue.i.payload.len.eq(source.payload.len),
        ]
        return queue

    def _place(self, m, queue, moves):
        """The part of a wide beat whose turn it is, and whether it is a burst's last."""
        first = queue.o.payload
        begun, count, place = Signal(), Signal(8), Signal(len(first.part))
        part, last = Signal.like(place), Signal()
        m.d.comb += [part.eq(Mux(begun, place, first.part)), last.eq(count == first.len),
                     queue.o.ready.eq(moves & last)]
        with m.If(moves):
            m.d.sync += [begun.eq(~last), place.eq(part + 1), count.eq(Mux(last, 0, count + 1))]
        return part, last

    def _reads(self, m, queue, ratio):
        narrow, wide = self.master.r, self.slave.r
        moves = Signal()
        part, last = self._place(m, queue, moves)
        m.d.comb += [
            narrow.valid.eq(wide.valid & queue.o.valid), moves.eq(narrow.valid & narrow.ready),
            wide.ready.eq(moves & (last | (part == ratio - 1))),
            narrow.payload.id.eq(wide.payload.id), narrow.payload.resp.eq(wide.payload.resp),
            narrow.payload.data.eq(wide.payload.data.word_select(part, self.narrow_bits)),
            narrow.payload.last.eq(last),
        ]

    def _writes(self, m, queue, ratio):
        narrow, wide = self.master.w, self.slave.w
        moves, fills = Signal(), Signal()
        part, last = self._place(m, queue, moves)
        m.d.comb += [
            fills.eq(last | (part == ratio - 1)), wide.valid.eq(narrow.valid & queue.o.valid & fills),
            narrow.ready.eq(queue.o.valid & (wide.ready | ~fills)), moves.eq(narrow.valid & narrow.ready),
            wide.payload.last.eq(last),
        ]
        words, strobes = [], []
        for index in range(ratio):
            word, strobe = narrow.payload.data, narrow.payload.strb
            if index < ratio - 1:
                # Beats that came before; the last part of a wide one never has to wait for others.
                held = Signal(self.narrow_bits, name=f"word_{index}", reset_less=True)
                held_strobe = Signal(self.narrow_bits // 8, name=f"strobe_{index}")
                with m.If(moves & (part == index)):
                    m.d.sync += held.eq(word)
                with m.If(moves):
                    m.d.sync += held_strobe.eq(Mux(fills, 0, Mux(part == index, strobe, held_strobe)))
                word, strobe = Mux(part == index, word, held), Mux(part == index, strobe, held_strobe)
            else:
                strobe = Mux(part == index, strobe, 0)
            words.append(word)
            strobes.append(strobe)
        m.d.comb += [wide.payload.data.eq(Cat(words)), wide.payload.strb.eq(Cat(strobes))]
