"""Keeps transfers inside the windows that the host opened."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Window, command, span
from .checks import check_integer

__all__ = ["AddressGuard"]


class AddressGuard(wiring.Component):
    """Passes a command only if all its bytes lie in one window with the right permission.

    The range ``[addr, addr + bytes)`` is not taken modulo the address space: one that runs past the
    last address is refused, and so is an empty one. Two windows that touch do not make one.

    Cycle budget: a command taken in cycle 0 is offered in cycle 3 if it lies in the window of the command before it;
    cycle 1 adds up where it ends, cycle 2 compares. Otherwise the windows are looked through, one a cycle: a command
    for the n-th window after that is offered in cycle 3 + n, and one that lies in none is refused in cycle
    3 + ``windows``. The next is taken once it is gone, so one command passes in four cycles: a command is many beats,
    and ``i.ready`` and ``o.valid`` are registers.

    Parameters
    ----------
    addr_width : int
        Address bits of the commands.
    windows : int
        Number of windows, 1 to 64.
    write : bool
        Ask for ``writable`` windows; otherwise ``readable`` ones.
    window_width : int, optional
        Address bits of the windows, at most ``addr_width``, which is the default. Commands may ask for more, in vain.

    Members
    -------
    i : In(stream(command))
    o : Out(stream(span)), of ``window_width`` bits
        What may go. Holds until taken.
    windows : In(ArrayLayout(Window))
        Constant while a command is held. A window whose ``last`` is below its ``first`` is closed.
    busy : Out(1)
        A command is held: it is looked up, on offer or refused.
    fault : Out({valid, addr})
        A command was refused, and its first byte. It stays, and nothing passes, until ``clear``.
    clear : In(1)
        Drops the refused command, if there is one.

    The window that the last command lay in is kept as a number and outlives a reset, so that what it says is never out
    of date.

    Cost: two additions and two comparisons of ``window_width`` bits, a choice of one window and a register behind it.
    """

    def __init__(self, addr_width, windows, write, window_width=None):
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        self.window_count = check_integer("windows", windows, 1, 64)
        if not isinstance(write, bool):
            raise TypeError(f"write must be True or False, not {write!r}")
        self.write = write
        self.window_width = check_integer("window_width", addr_width if window_width is None else window_width,
                                          13, addr_width)
        super().__init__({
            "i": In(stream.Signature(command(addr_width))),
            "o": Out(stream.Signature(span(self.window_width))),
            "windows": In(data.ArrayLayout(Window(self.window_width), windows)),
            "busy": Out(1),
            "fault": Out(data.StructLayout({"valid": unsigned(1), "addr": unsigned(addr_width)})),
            "clear": In(1),
        })
        # Open to proofs: the command; its last byte, and that it has bytes, all of them below 2**window_width, both
        # known once ``added``. The number of the window that comes next, that of the window compared, which is in a
        # register, and that of the window to which ``fits`` belongs, once ``judged``; how many did not fit.
        self.held = Signal(command(self.addr_width))
        self.last, self.sound, self.added = Signal(self.window_width), Signal(), Signal()
        self.coming, self.current, self.before = (
            Signal(range(windows), reset_less=True, name=name) for name in ("coming", "current", "before"))
        self.window = Signal(Window(self.window_width), reset_less=True)
        self.judged, self.fits, self.tried = Signal(), Signal(), Signal(range(windows))

    def elaborate(self, platform):
        m = Module()
        width = self.window_width
        held, last, sound = self.held, self.last, self.sound
        # The bytes after the first; -1 of none has all the upper bits set.
        after = Signal(max(width, 32) + 1)
        end = Signal(width + 1)
        m.d.comb += [after.eq(held.bytes - 1), end.eq(held.addr[:width] + after[:width])]

        final = self.window_count - 1
        # Every bit of ``held`` waits for ``valid``. ``free`` says the opposite to those who wait for nothing else; of
        # two registers that say the same synthesis would make one.
        valid, free, added, refused = Signal(), Signal(init=1), self.added, Signal()
        coming, current, window, judged, fits = self.coming, self.current, self.window, self.judged, self.fits
        m.d.sync += [window.eq(self.windows[coming]), current.eq(coming), self.before.eq(current)]
        m.d.comb += [
            self.o.payload.addr.eq(held.addr),
            self.o.payload.last.eq(last),
            self.o.valid.eq(fits),
            self.busy.eq(~free),
            self.fault.valid.eq(refused),
            self.fault.addr.eq(held.addr),
            self.i.ready.eq(free),
        ]
        onward = coming.eq(Mux(coming == final, 0, coming + 1))
        with m.If(~valid):
            m.d.sync += [valid.eq(self.i.valid), free.eq(~self.i.valid), held.eq(self.i.payload), self.tried.eq(0)]
        with m.Elif(~added):
            m.d.sync += [added.eq(1), last.eq(end), onward,
                         sound.eq(~(held.addr[width:].any() | after[width:].any() | end[width]))]
        with m.Elif(refused):
            with m.If(self.clear):
                m.d.sync += [valid.eq(0), free.eq(1), added.eq(0), judged.eq(0), refused.eq(0)]
        with m.Elif(fits):
            # The next command begins with this window.
            with m.If(judged):
                m.d.sync += [coming.eq(self.before), judged.eq(0)]
            with m.If(self.o.ready):
                m.d.sync += [valid.eq(0), free.eq(1), added.eq(0), judged.eq(0), fits.eq(0)]
        with m.Else():
            m.d.sync += [
                judged.eq(1), onward,
                fits.eq(sound & (window.writable if self.write else window.readable)
                        & (held.addr[:width] >= window.first) & (last <= window.last)),
            ]
            with m.If(judged):
                m.d.sync += [self.tried.eq(self.tried + 1), refused.eq(self.tried == final)]
                with m.If(self.tried == final):
                    m.d.sync += coming.eq(current)
        return m
