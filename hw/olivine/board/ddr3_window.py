"""The host's way to the control registers of DDR3 memory, beside the core's registers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..bridge.frames import REGISTER_BYTES
from ..bridge.register_access import REGISTER_ADDRESS
from ..memory.axi import Response
from ..memory.checks import check_integer
from ..program.axi_lite import DATA_BITS, AXI4Lite
from .ddr3_registers import BASE, LANES, PAGE, STATE

__all__ = ["Ddr3Window"]

WORD = PAGE // REGISTER_BYTES


class Ddr3Window(wiring.Component):
    """Takes accesses from `BASE` on for itself, and lets all others pass to the core.

    Registers of the PHY are in the memory's clock: an access goes there and back, within 8 cycles of either clock.
    Before the memory is initialised it is answered SLVERR, as its controller may not have left its reset. `STATE` is
    always there.

    **The master's part.** One access at a time, whose address stays until its answer, as `RegisterAccess` has it.

    Parameters
    ----------
    lanes : int
        Byte lanes of the memory, as `STATE` tells them.
    domain, dram_domain : str
        Both are reset together; the memory's may be reset again while ``initialised`` is low.

    Members
    -------
    host : In(AXI4Lite)
    core : Out(AXI4Lite)
    initialised : In(1)
        The sequence of the memory's initialisation has ended; in ``domain``.
    levelled : Out(1)
        Bit 0 of `STATE`, which the host writes.
    address : Out(5), value : Out(32), write : Out(1), found : In(32)
        The control registers' bus, in ``dram_domain``: a write in the cycle in which ``write`` is high; what is
        ``found`` at an address comes a cycle later.

    Cost: a command and a word in registers, two synchronizers.
    """

    def __init__(self, lanes, domain="sync", dram_domain="dram"):
        self.lanes = check_integer("lanes", lanes, 1, 32)
        self.domain, self.dram_domain = domain, dram_domain
        super().__init__({
            "host": In(AXI4Lite(REGISTER_ADDRESS)), "core": Out(AXI4Lite(REGISTER_ADDRESS)),
            "initialised": In(1), "levelled": Out(1),
            "address": Out(range(check_integer("PAGE / 4", WORD, 1, 32))), "value": Out(DATA_BITS), "write": Out(1),
            "found": In(DATA_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        host, core = self.host, self.core
        here = {name: Signal(name=f"{name}_here") for name in ("ar", "aw")}
        for name, mine in here.items():
            m.d.comb += mine.eq(getattr(host, name).payload.addr >= BASE)
        own = {name: Signal(name=f"{name}_ready") for name in ("ar", "aw", "w")}
        answers = {name: Signal(name=f"{name}_valid") for name in ("r", "b")}
        for name, elsewhere in (("ar", ~here["ar"]), ("aw", ~here["aw"]), ("w", ~here["aw"])):
            source, sink = getattr(host, name), getattr(core, name)
            m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid & elsewhere),
                         source.ready.eq(own[name] | sink.ready & elsewhere)]
        for name in answers:
            source, sink = getattr(core, name), getattr(host, name)
            m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid | answers[name]),
                         source.ready.eq(sink.ready)]
        self._accesses(m, here, own, answers)
        return m

    def _accesses(self, m, here, own, answers):
        host, sync = self.host, m.d[self.domain]
        writes, word, value = Signal(), Signal(range(2 * WORD)), Signal(DATA_BITS)
        result, resp = Signal(DATA_BITS), Signal(Response)
        asked, done, arrived = Signal(), Signal(), self._far_side(m, writes, word, value)
        m.submodules.done = FFSynchronizer(arrived["answered"], done, o_domain=self.domain)
        m.submodules.asked = FFSynchronizer(asked, arrived["asked"], o_domain=self.dram_domain)
        local = Signal()
        m.d.comb += local.eq(word >= (STATE - BASE) // REGISTER_BYTES)
        with m.FSM(domain=self.domain):
            with m.State("IDLE"):
                with m.If(host.ar.valid & here["ar"]):
                    m.d.comb += own["ar"].eq(1)
                    sync += [writes.eq(0), word.eq(host.ar.payload.addr >> 2)]
                    m.next = "LOOK"
                with m.Elif(host.aw.valid & host.w.valid & here["aw"]):
                    m.d.comb += [own["aw"].eq(1), own["w"].eq(1)]
                    sync += [writes.eq(1), word.eq(host.aw.payload.addr >> 2), value.eq(host.w.payload.data)]
                    m.next = "LOOK"
            with m.State("LOOK"):
                sync += [resp.eq(Response.OKAY),
                         result.eq(self.levelled | self.initialised << 1 | self.lanes << LANES)]
                m.next = "ANSWER"
                with m.If(local):
                    with m.If(writes):
                        sync += self.levelled.eq(value[0] & self.initialised)
                with m.Elif(self.initialised):
                    sync += asked.eq(~asked)
                    m.next = "WAIT"
                with m.Else():
                    sync += resp.eq(Response.SLVERR)
            with m.State("WAIT"):
                sync += result.eq(arrived["found"])
                with m.If(done == asked):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    answers["r"].eq(~writes), answers["b"].eq(writes),
                    host.r.payload.data.eq(result), host.r.payload.resp.eq(resp), host.b.payload.resp.eq(resp),
                ]
                with m.If(host.r.ready & ~writes | host.b.ready & writes):
                    m.next = "IDLE"

    def _far_side(self, m, writes, word, value):
        """In the memory's clock: an access whenever ``asked`` changes. The command is at rest by then."""
        dram = m.d[self.dram_domain]
        asked, seen, answered = (Signal(name=f"far_{name}") for name in ("asked", "seen", "answered"))
        found = Signal(DATA_BITS)
        dram += [seen.eq(asked), answered.eq(seen)]
        with m.If(seen != answered):
            dram += found.eq(self.found)
        m.d.comb += [self.address.eq(word), self.value.eq(value), self.write.eq(writes & (asked != seen))]
        return {"asked": asked, "answered": answered, "found": found}
