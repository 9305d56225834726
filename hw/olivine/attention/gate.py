"""Several streams of commands through one guard."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Window, command, span
from ..memory.guard import AddressGuard

__all__ = ["CommandGate"]


class CommandGate(wiring.Component):
    """Commands of several streams, each to its own target, all looked at by one `AddressGuard`.

    A command goes in only when its target can take it, and none of its stream is inside: so it never keeps the others
    waiting, if a target that is ready stays so until it gets a command. Of several the one of the first stream goes
    first. Whose turn it is is decided a cycle ahead, while the guard is busy with another, so that ``i.ready`` is made
    of registers.

    Parameters
    ----------
    addr_width, windows, write, window_width
        As of `AddressGuard`.
    streams : int

    Members
    -------
    i : In(stream(command)), o : Out(stream(span)), arrays of ``streams``
        ``valid`` of an input may fall again.
    windows : In(ArrayLayout(Window)), fault : Out(struct ``valid``, ``addr``)
        As of `AddressGuard`.
    held : Out(streams)
        A bit for each stream: a command of its is inside.

    Latency: that of `AddressGuard`, and one where the guard was idle. Throughput: that of `AddressGuard` for commands
    of different streams, two cycles more for those of one. Cost: `AddressGuard`, and a choice of commands.
    """

    def __init__(self, addr_width, windows, write, window_width, streams):
        self.streams = streams
        self.guard = AddressGuard(addr_width, windows, write, window_width)
        commands, checked = stream.Signature(command(addr_width)), stream.Signature(span(window_width))
        super().__init__({
            "i": In(commands).array(streams), "o": Out(checked).array(streams),
            "windows": In(data.ArrayLayout(Window(window_width), windows)),
            "fault": Out(self.guard.fault.shape()), "held": Out(streams),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.guard = guard = self.guard
        # ``turn``: who goes next, at most one.
        offers, first, turn, goes, source = (Signal(self.streams, name=name) for name in (
            "offers", "first", "turn", "goes", "source"))
        for index, (i, o) in enumerate(zip(self.i, self.o)):
            m.d.comb += [
                offers[index].eq(i.valid & o.ready & ~self.held[index]),
                i.ready.eq(turn[index] & guard.i.ready), goes[index].eq(turn[index] & i.valid),
                o.valid.eq(guard.o.valid & source[index]), o.payload.eq(guard.o.payload),
            ]
        m.d.comb += [
            first.eq(offers & (~offers + 1)),
            guard.i.valid.eq(goes.any()),
            guard.o.ready.eq((source & Cat(o.ready for o in self.o)).any()),
            guard.windows.eq(self.windows), self.fault.eq(guard.fault),
            self.held.eq(source & guard.busy.replicate(self.streams)),
        ]
        for name in ("addr", "bytes"):
            choices = [i.payload[name] & bit.replicate(len(i.payload[name])) for i, bit in zip(self.i, turn)]
            value = choices[0]
            for choice in choices[1:]:
                value |= choice
            m.d.comb += guard.i.payload[name].eq(value)
        with m.If(goes.any()):
            with m.If(guard.i.ready):
                m.d.sync += [turn.eq(0), source.eq(turn)]
        with m.Else():
            m.d.sync += turn.eq(first)
        return m
