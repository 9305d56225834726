"""One AXI4 master, two AXI4 memories: what lies in the scratchpad's window stays on the chip."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .axi import AXI4
from .checks import check_integer, check_power_of_two
from .order import BurstOrder

__all__ = ["BusSplit"]

COUNT_BITS = 7
"""Of the bursts that one ID had, and of those that were answered, modulo 2**7. All IDs together have fewer at once."""


class BusSplit(wiring.Component):
    """Sends bursts by address to one of two memories; the window is the end of the address space.

    What AXI4 promises for one ID holds: a burst that would overtake, because its ID still waits for answers from the
    other memory, waits.

    Cycle budget: an address passes a register, and takes two cycles; the other channels pass without one, a beat a
    cycle. W carries bursts in the order of their addresses. Where both memories answer in one cycle, ``far`` goes
    first: nobody else may be kept waiting on its bus.

    Stalls: AW waits while 8 bursts or more have an address and none of their beats is due; AR and AW of an ID while it
    waits for the other memory, and of all while 124 bursts have no answer.

    Parameters
    ----------
    addr_width, bus_bits : int
    window_bytes : int
        Power of two.
    id_width : int

    Members
    -------
    master : In(AXI4)
        Takes R and B always.
    near, far : Out(AXI4)
        The window, and the rest.

    After reset no address passes for as many cycles as there are IDs: the counts are cleared.

    Cost: for AR and AW each three memories of a count for each ID (LUT RAM) and a register of an address; a choice of
    one of two for each bit of R and B. On ECP5, with 8 bytes, 32 address bits and 4 ID bits: 247 LUTs, 37 carry cells,
    142 flip-flops, 13 LUT RAMs of 16 x 4 bits.
    """

    def __init__(self, addr_width, bus_bits, window_bytes, id_width=1):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.bus_bits = check_integer("bus_bits", bus_bits, 8, 1024)
        self.window_bytes = check_power_of_two("window_bytes", window_bytes, 4096, 1 << addr_width - 1)
        self.id_width = check_integer("id_width", id_width, 1, 8)
        port = AXI4(addr_width, bus_bits, id_width)
        super().__init__({"master": In(port), "near": Out(port), "far": Out(port)})

    def elaborate(self, platform):
        m = Module()
        master, near, far = self.master, self.near, self.far
        m.submodules.order = order = BurstOrder(2)
        read_done = master.r.valid & master.r.ready & master.r.payload.last
        write_done = master.b.valid & master.b.ready
        ident, cleared = Signal(self.id_width), Signal()
        with m.If(~cleared):
            m.d.sync += [ident.eq(ident + 1), cleared.eq(ident.all())]
        clears = ~cleared, ident
        self._addresses(m, "ar", read_done, master.r.payload.id, cleared, clears)
        goes_near = self._addresses(m, "aw", write_done, master.b.payload.id, cleared & order.room, clears)
        begins, (far_turn, near_turn) = master.aw.valid & master.aw.ready, order.first
        m.d.comb += [
            order.enters.eq(Cat(begins & ~goes_near, begins & goes_near)),
            order.leaves.eq(master.w.valid & master.w.ready & master.w.payload.last),
            near.w.payload.eq(master.w.payload), far.w.payload.eq(master.w.payload),
            near.w.valid.eq(master.w.valid & near_turn), far.w.valid.eq(master.w.valid & far_turn),
            master.w.ready.eq(near_turn & near.w.ready | far_turn & far.w.ready),
        ]
        m.d.comb += [
            master.b.valid.eq(far.b.valid | near.b.valid), far.b.ready.eq(master.b.ready),
            near.b.ready.eq(master.b.ready & ~far.b.valid),
            master.b.payload.eq(Mux(far.b.valid, far.b.payload.as_value(), near.b.payload.as_value())),
        ]
        m.d.comb += [far.r.ready.eq(1), near.r.ready.eq(~far.r.valid), master.r.valid.eq(far.r.valid | near.r.valid),
                     master.r.payload.eq(Mux(far.r.valid, far.r.payload.as_value(), near.r.payload.as_value()))]
        return m

    def _addresses(self, m, channel, done, done_id, room, clears):
        """AR or AW. Returns whether what passes goes near."""
        whole, near, far = (getattr(port, channel) for port in (self.master, self.near, self.far))
        clear, clear_id = clears
        # By ID: bursts that had an address, and where the last went; bursts that were answered.
        begun = data.StructLayout({"count": COUNT_BITS, "near": 1})
        m.submodules[f"{channel}_begun"] = memory = Memory(shape=begun, depth=1 << self.id_width, init=[])
        last, begin = memory.read_port(domain="comb"), memory.write_port()
        m.submodules[f"{channel}_ended"] = memory = Memory(
            shape=unsigned(COUNT_BITS), depth=1 << self.id_width, init=[])
        ended, before, end = memory.read_port(domain="comb"), memory.read_port(domain="comb"), memory.write_port()
        # Who answers is known late: counted a cycle later.
        answered, answered_id = Signal(), Signal(self.id_width)
        m.d.sync += [answered.eq(done), answered_id.eq(done_id)]
        # An address is looked at for a cycle, and passes from the next on, out of a register. It stays, and so does
        # what was found: that all before it was answered, or went the same way.
        held = Signal.like(whole.payload, reset_less=True)
        goes_near, last_near, quiet = Signal(), Signal(), Signal()
        m.d.sync += [held.eq(whole.payload), goes_near.eq(whole.payload.addr[exact_log2(self.window_bytes):].all()),
                     last_near.eq(last.data.near), quiet.eq(last.data.count == ended.data)]
        # Bursts without answer. What is decided by it is a cycle old, and what is on offer stays: two more may begin.
        owed, full, offered, may, taken = Signal(COUNT_BITS), Signal(), Signal(), Signal(), Signal()
        m.d.sync += [owed.eq(owed + taken - answered), full.eq(owed >= (1 << COUNT_BITS) - 4),
                     offered.eq(whole.valid & (room & ~full | offered) & ~taken)]
        m.d.comb += [
            last.addr.eq(whole.payload.id), ended.addr.eq(whole.payload.id), before.addr.eq(answered_id),
            may.eq(offered & (quiet | (last_near == goes_near))),
            begin.en.eq(clear | taken), begin.addr.eq(Mux(clear, clear_id, whole.payload.id)),
            begin.data.count.eq(Mux(clear, 0, last.data.count + 1)), begin.data.near.eq(goes_near),
            end.en.eq(clear | answered), end.addr.eq(Mux(clear, clear_id, answered_id)),
            end.data.eq(Mux(clear, 0, before.data + 1)),
            near.payload.eq(held), far.payload.eq(held),
            near.valid.eq(may & goes_near), far.valid.eq(may & ~goes_near),
            whole.ready.eq(may & Mux(goes_near, near.ready, far.ready)), taken.eq(whole.ready),
        ]
        return goes_near
