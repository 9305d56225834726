"""Pins of DDR3 memory, and their buffers. All registers are in the PHY's primitives."""

from amaranth.hdl import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Ddr3Pins", "Ddr3Pads"]

COMMAND = ("cke", "odt", "ras_n", "cas_n", "we_n")
OUTPUTS = ("clk", *COMMAND, "a", "ba", "dm")
BOTH_WAYS = ("dq_o", "dq_oe", "dqs_o", "dqs_oe")


class Ddr3Pins(wiring.Signature):
    """Pins seen from the PHY; lines that are driven both ways as output, output enable a line, and input.

    ``clk``, ``cke``, ``odt``, ``ras_n``, ``cas_n``, ``we_n``, ``a``, ``ba``, ``dm`` leave it; ``dq`` and the strobes
    ``dqs``, a line a byte lane, go both ways. Of pairs only the positive line is here. There is no chip select and no
    reset: boards tie them.
    """

    def __init__(self, part):
        self.part = part
        bits, lanes = part.data_bits, part.data_bits // 8
        super().__init__({
            "clk": Out(1), **{name: Out(1) for name in COMMAND}, "a": Out(part.row_bits), "ba": Out(part.bank_bits),
            "dm": Out(lanes), "dq_o": Out(bits), "dq_oe": Out(bits), "dq_i": In(bits),
            "dqs_o": Out(lanes), "dqs_oe": Out(lanes), "dqs_i": In(lanes),
        })


class Ddr3Pads(wiring.Component):
    """The cells of the pins, if there are pins.

    Parameters
    ----------
    part : Ddr3Part
    ports : object
        I/O ports of Amaranth: ``clk``, ``clk_en``, ``odt``, ``ras``, ``cas``, ``we`` (inverted by the port where low
        is active), ``a``, ``ba``, ``dm``, ``dq``, ``dqs``, as `amaranth_boards` declares them. None: ``pins`` is a
        member.

    Members
    -------
    pins : Out(Ddr3Pins)
        Only without ``ports``.
    """

    def __init__(self, part, ports=None):
        self.part, self.ports = part, ports
        self._inner = Ddr3Pins(part).create(path=("inner",))
        super().__init__({"pins": Out(Ddr3Pins(part))} if ports is None else {})

    def controller(self):
        """The controller's ports by name, as an instance takes them."""
        inner = self._inner
        return {**{f"o_pin_{name}": getattr(inner, name) for name in (*OUTPUTS[1:], *BOTH_WAYS)},
                "o_pin_clk_p": inner.clk, "i_pin_dq_i": inner.dq_i, "i_pin_dqs_i": inner.dqs_i}

    def elaborate(self, platform):
        m = Module()
        if self.ports is None:
            m.d.comb += [getattr(self.pins, name).eq(getattr(self._inner, name))
                         for name in (*OUTPUTS, *BOTH_WAYS)]
            m.d.comb += [getattr(self._inner, name).eq(getattr(self.pins, name)) for name in ("dq_i", "dqs_i")]
        else:
            self._buffers(m)
        return m

    def _buffers(self, m):
        inner, ports = self._inner, self.ports
        outputs = {"clk": ports.clk, "cke": ports.clk_en, "odt": ports.odt, "a": ports.a, "ba": ports.ba,
                   "dm": ports.dm,
                   # Inverted twice: nothing may lie between a primitive and its pin.
                   "ras_n": ~ports.ras, "cas_n": ~ports.cas, "we_n": ~ports.we}
        for name, port in outputs.items():
            m.submodules[name] = buffer = io.Buffer("o", port)
            m.d.comb += buffer.o.eq(getattr(inner, name))
        for name, port in (("dq", ports.dq), ("dqs", ports.dqs)):
            o, oe, i = (getattr(inner, f"{name}_{part}") for part in ("o", "oe", "i"))
            for number in range(len(port)):
                m.submodules[f"{name}_{number}"] = buffer = io.Buffer("io", port[number])
                m.d.comb += [buffer.o.eq(o[number]), buffer.oe.eq(oe[number]), i[number].eq(buffer.i)]
