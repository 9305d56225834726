"""What brings a memory up after the power: a list of register writes and waits, without a processor."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

__all__ = ["InitSequencer"]


class InitSequencer(wiring.Component):
    """Writes values into control registers, each followed by a wait, and then is done.

    Timing: a write every 3 cycles, and its wait behind it; ``done`` after the last wait. A reset begins anew.

    Parameters
    ----------
    steps : sequence of (int, int, int)
        Address, value, cycles to wait beyond the 2 that there are anyway.
    addr_width, data_width : int
        Of the control registers' bus.
    domain : str

    Members
    -------
    address, value, write : Out
        A write, in the cycle in which ``write`` is high.
    done : Out(1)

    Cost: a ROM of the steps, a counter of the longest wait.
    """

    def __init__(self, steps, addr_width=14, data_width=32, domain="sync"):
        self.steps = tuple(tuple(step) for step in steps)
        if not self.steps:
            raise ValueError("steps is empty: at least one is needed")
        for address, value, wait in self.steps:
            if not (0 <= address < 1 << addr_width and 0 <= value < 1 << data_width and wait >= 0):
                raise ValueError(f"step {address, value, wait} does not fit {addr_width} bits of address and "
                                 f"{data_width} of data, or waits less than nothing")
        self.domain = domain
        super().__init__({"address": Out(addr_width), "value": Out(data_width), "write": Out(1), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        sync = m.d[self.domain]
        widths = [max(1, max(column).bit_length()) for column in zip(*self.steps)]
        step = data.StructLayout({"address": widths[0], "value": widths[1], "wait": widths[2]})
        m.submodules.rom = rom = Memory(shape=step, depth=len(self.steps),
                                        init=[dict(zip(("address", "value", "wait"), s)) for s in self.steps])
        port = rom.read_port(domain=self.domain)
        index, wait = Signal(range(len(self.steps) + 1)), Signal(widths[2])
        m.d.comb += [port.en.eq(Const(1)), port.addr.eq(index), self.address.eq(port.data.address),
                     self.value.eq(port.data.value)]
        with m.FSM(domain=self.domain):
            with m.State("fetch"):
                m.next = "write"
            with m.State("write"):
                m.d.comb += self.write.eq(1)
                sync += [wait.eq(port.data.wait), index.eq(index + 1)]
                m.next = "wait"
            with m.State("wait"):
                with m.If(wait == 0):
                    with m.If(index == len(self.steps)):
                        m.next = "done"
                    with m.Else():
                        m.next = "fetch"
                with m.Else():
                    sync += wait.eq(wait - 1)
            with m.State("done"):
                m.d.comb += self.done.eq(1)
        return m
