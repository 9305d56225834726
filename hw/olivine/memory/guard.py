"""Keeps transfers inside the windows that the host opened."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Window, command
from .checks import check_integer

__all__ = ["AddressGuard"]


class AddressGuard(wiring.Component):
    """Passes a command only if all its bytes lie in one window with the right permission.

    The range ``[addr, addr + bytes)`` is not taken modulo the address space: one that runs past the
    last address is refused, and so is an empty one. Two windows that touch do not make one.

    Cycle budget: one register; a command taken in cycle 0 is offered, or refused, in cycle 1. One
    command a cycle.

    Parameters
    ----------
    addr_width : int
        Address bits.
    windows : int
        Number of windows, 1 to 64.
    write : bool
        Ask for ``writable`` windows; otherwise ``readable`` ones.

    Members
    -------
    i : In(stream(command))
    o : Out(stream(command))
        Commands that may go. Holds until taken.
    windows : In(ArrayLayout(Window))
        Constant while commands are in flight. A window whose ``last`` is below its ``first`` is closed.
    fault : Out({valid, addr})
        A command was refused, and its first byte. It stays, and nothing passes, until ``clear``.
    clear : In(1)
        Drops the refused command, if there is one.

    Cost: one addition and two comparisons a window, of ``addr_width`` bits.
    """

    def __init__(self, addr_width, windows, write):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.window_count = check_integer("windows", windows, 1, 64)
        if not isinstance(write, bool):
            raise TypeError(f"write must be True or False, not {write!r}")
        self.write = write
        super().__init__({
            "i": In(stream.Signature(command(addr_width))),
            "o": Out(stream.Signature(command(addr_width))),
            "windows": In(data.ArrayLayout(Window(addr_width), windows)),
            "fault": Out(data.StructLayout({"valid": unsigned(1), "addr": unsigned(addr_width)})),
            "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        asked = self.i.payload
        # The last byte, with all the bits that it can have: no wrap-around.
        last = Signal(max(self.addr_width, 32) + 1)
        m.d.comb += last.eq(asked.addr + asked.bytes - 1)
        inside = []
        for index in range(self.window_count):
            window = self.windows[index]
            allowed = window.writable if self.write else window.readable
            inside.append(allowed & (asked.addr >= window.first) & (last <= window.last))

        held = Signal(command(self.addr_width))
        valid, passes = Signal(), Signal()
        m.d.comb += [
            self.o.payload.eq(held),
            self.o.valid.eq(valid & passes),
            self.fault.valid.eq(valid & ~passes),
            self.fault.addr.eq(held.addr),
            self.i.ready.eq(~valid | passes & self.o.ready),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), held.eq(asked),
                         passes.eq(Cat(inside).any() & (asked.bytes != 0))]
        with m.Elif(self.clear & ~passes):
            m.d.sync += valid.eq(0)
        return m
