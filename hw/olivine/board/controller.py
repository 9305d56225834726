"""LiteDRAM's AXI4 port as an instance takes it, for the controllers of all kinds of memory."""

from amaranth.hdl import DomainRenamer, Signal
from amaranth.lib.wiring import connect

from ..stream.skid import Skid

__all__ = ["controller_bus"]

INCR = 0b01
ANSWERS = 16
"""Responses that LiteDRAM's AXI4 front end holds; it loses further ones."""


def controller_bus(m, core, bus, open_, domain):
    """The controller's AXI4 ports by name, as an instance takes them, for all that comes over ``bus``.

    Parameters
    ----------
    m : Module
        Gets what lies between.
    core : DramCore or Ddr3Core
    bus : AXI4
        In ``domain``, which is the controller's.
    open_ : value
        Whether addresses pass.
    domain : str
    """
    controller = {}
    _addresses(m, controller, core, bus, open_, domain)
    for name, inward in (("w", True), ("b", False), ("r", False)):
        channel = getattr(bus, name)
        for field, _ in channel.payload.shape():
            value = getattr(channel.payload, field)
            controller[f"{'i' if inward else 'o'}_{name}{field}"] = value if inward else _number(m, value)
        controller[f"{'i' if inward else 'o'}_{name}valid"] = channel.valid
        controller[f"{'o' if inward else 'i'}_{name}ready"] = channel.ready
    return controller


def _number(m, value):
    """Bits that an instance may drive, of a value that may be an enumeration."""
    value = getattr(value, "as_value", lambda: value)()
    bits = Signal(len(value))
    m.d.comb += value.eq(bits)
    return bits


def _addresses(m, controller, core, bus, open_, domain):
    # Writes that are owed a response: LiteDRAM has room for so many and does not look.
    owed = Signal(range(ANSWERS + 1))
    taken, answered = Signal(), Signal()
    m.d.comb += answered.eq(bus.b.valid & bus.b.ready)
    m.d[domain] += owed.eq(owed + taken - answered)
    for name, willing in (("aw", open_ & (owed != ANSWERS)), ("ar", open_)):
        # LiteDRAM decides late in a cycle whether it takes an address: not in one cycle with the crossing.
        skid = Skid(getattr(bus, name).payload.shape())
        m.submodules[f"{name}_skid"] = DomainRenamer(domain)(skid)
        connect(m, getattr(bus, name), skid.i)
        channel, ready = skid.o, Signal(name=f"{name}_ready")
        m.d.comb += channel.ready.eq(ready & willing)
        if name == "aw":
            m.d.comb += taken.eq(channel.valid & channel.ready)
        controller |= {
            f"i_{name}valid": channel.valid & willing, f"o_{name}ready": ready,
            f"i_{name}addr": channel.payload.addr[:core.addr_width], f"i_{name}len": channel.payload.len,
            f"i_{name}id": channel.payload.id, f"i_{name}burst": INCR,
            f"i_{name}size": (core.bus_bits // 8).bit_length() - 1,
        }
