"""Pins of a single-data-rate SDRAM, and the registers in front of them."""

from amaranth.hdl import ClockSignal, Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SdramPins", "SdramPads"]

COMMAND = ("cke", "cs_n", "ras_n", "cas_n", "we_n")


class SdramPins(wiring.Signature):
    """Pins seen from the controller; the data bus as output, output enable and input.

    ``clk``, ``cke``, ``cs_n``, ``ras_n``, ``cas_n``, ``we_n``, ``a``, ``ba``, ``dm`` leave it; ``dq_o`` leaves it while
    ``dq_oe`` is high, ``dq_i`` enters it.
    """

    def __init__(self, part):
        self.part = part
        super().__init__({
            "clk": Out(1), **{name: Out(1) for name in COMMAND}, "a": Out(part.row_bits), "ba": Out(part.bank_bits),
            "dm": Out(part.data_bits // 8), "dq_o": Out(part.data_bits), "dq_oe": Out(1), "dq_i": In(part.data_bits),
        })


class SdramPads(wiring.Component):
    """One register on each pin, out and in, in the pins' own cells if there are pins.

    Parameters
    ----------
    part : SdramPart
    ports : object
        I/O ports of Amaranth: ``clk``, ``a``, ``ba``, ``dq``, and ``dqm`` or ``dm``; ``clk_en`` or ``cke``, and
        ``cs``, ``ras``, ``cas``, ``we``, inverted by the port where low is active, as `amaranth_boards` declares
        them. None: the registers are plain, and ``pins`` is a member.
    domain, pin_domain : str
        Clock of the registers, and of the clock pin.

    Members
    -------
    pins : Out(SdramPins)
        Only without ``ports``.
    """

    def __init__(self, part, ports=None, domain="dram", pin_domain="dram_pin"):
        self.part, self.ports, self.domain, self.pin_domain = part, ports, domain, pin_domain
        self._inner = SdramPins(part).create(path=("inner",))
        super().__init__({"pins": Out(SdramPins(part))} if ports is None else {})

    def controller(self):
        """The controller's ports by name, as an instance takes them."""
        inner = self._inner
        return {**{f"o_pin_{name}": getattr(inner, name) for name in (*COMMAND, "a", "ba", "dm", "dq_o", "dq_oe")},
                "i_pin_dq_i": inner.dq_i}

    def elaborate(self, platform):
        m = Module()
        if self.ports is None:
            inner, sync = self._inner, m.d[self.domain]
            sync += [getattr(self.pins, name).eq(getattr(inner, name))
                     for name in (*COMMAND, "a", "ba", "dm", "dq_o", "dq_oe")]
            sync += inner.dq_i.eq(self.pins.dq_i)
            m.d.comb += self.pins.clk.eq(ClockSignal(self.pin_domain))
        else:
            self._buffers(m)
        return m

    def _buffers(self, m):
        inner, ports = self._inner, self.ports

        def out(name, port, value):
            m.submodules[name] = buffer = io.FFBuffer("o", port, o_domain=self.domain)
            m.d.comb += buffer.o.eq(value)

        out("cke", getattr(ports, "clk_en", None) or ports.cke, inner.cke)
        for name in ("cs", "ras", "cas", "we"):
            out(name, getattr(ports, name), ~getattr(inner, f"{name}_n"))
        out("a", ports.a, inner.a)
        out("ba", ports.ba, inner.ba)
        out("dm", getattr(ports, "dqm", None) or ports.dm, inner.dm)
        m.submodules.dq = dq = io.FFBuffer("io", ports.dq, i_domain=self.domain, o_domain=self.domain)
        m.d.comb += [dq.o.eq(inner.dq_o), dq.oe.eq(inner.dq_oe), inner.dq_i.eq(dq.i)]
        m.submodules.clk = clk = io.DDRBuffer("o", ports.clk, o_domain=self.pin_domain)
        m.d.comb += [clk.o[0].eq(1), clk.o[1].eq(0)]
