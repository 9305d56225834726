"""A frame's payload to and from memory, in bursts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..memory.axi import AXI4, Response, address_channel
from ..memory.checks import check_integer, check_power_of_two
from .frames import ADDRESS_BITS, MAX_PAYLOAD
from .receiver import word_write

__all__ = ["BURST_BEATS", "memory_command", "is_error", "MemoryAccess"]

BURST_BEATS = 16
"""Longest burst. The line is slower than any memory; short bursts leave the bus to others."""


def memory_command(addr_width, bus_bits, words):
    """Write ``count`` words of the store, from its first on, to memory from beat number ``beat`` on, or read them."""
    return data.StructLayout({"write": 1, "beat": addr_width - exact_log2(bus_bits // 8), "count": range(words + 1)})


def is_error(resp):
    return (resp == Response.SLVERR) | (resp == Response.DECERR)


class MemoryAccess(wiring.Component):
    """Moves words between the store and memory, a burst after the other.

    Bursts are cut at multiples of `BURST_BEATS`, so that none crosses 4 KiB. After a burst with an error no further one
    is begun.

    Cycles of n beats: reads n + (latency of memory + 2) a burst, writes 3 n + (latency + 3) a burst.

    Cost on ECP5: about 170 LUTs at 32 address bits.

    Parameters
    ----------
    addr_width : int
        Address bits, 13 to 48.
    bus_bits : int
        Power of two, 32 to 512.
    max_payload : int
        Bytes of the store, power of two, 64 to `MAX_PAYLOAD`.
    id_width : int
        Bits of the ID, which is 0.

    Members
    -------
    i : In(stream(memory_command))
        ``count`` is not 0. Ready when nothing is at work.
    done : Out(1), resp : Out(Response)
        For one cycle: the command ended; its first error, or OKAY.
    abandon : In(1)
        For one cycle, while a command is at work: it is given up. What the bus was offered is carried through, as it
        must be, but nothing is written to the store any more, and no further word to memory.
    progress : Out(1)
        Something moved on the bus.
    store : Out({valid, index, data})
        Words read.
    index : Out(range(words)), word : In(bus_bits)
        The store: a word, in the cycle after its index.
    port : Out(AXI4)
    """

    def __init__(self, addr_width, bus_bits, max_payload, id_width=1):
        self.addr_width = check_integer("addr_width", addr_width, 13, ADDRESS_BITS)
        self.bus_bits = check_power_of_two("bus_bits", bus_bits, 32, 512)
        self.max_payload = check_power_of_two("max_payload", max_payload, 64, MAX_PAYLOAD)
        self.id_width = check_integer("id_width", id_width, 1, 16)
        self.words = 8 * max_payload // bus_bits
        super().__init__({
            "i": In(stream.Signature(memory_command(addr_width, bus_bits, self.words))),
            "done": Out(1), "resp": Out(Response), "abandon": In(1), "progress": Out(1),
            "store": Out(word_write(bus_bits, self.words)), "index": Out(range(self.words)), "word": In(bus_bits),
            "port": Out(AXI4(addr_width, bus_bits, id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        port, lanes = self.port, exact_log2(self.bus_bits // 8)
        # What is wide has no reset: its valid has one.
        command = Signal(self.i.payload.shape(), reset_less=True)       # ``beat`` and ``count``: what is to come
        index = Signal(range(self.words))               # of the next word
        given_up = Signal()
        address = Signal(address_channel(self.addr_width, self.id_width), reset_less=True)
        sent = Signal(port.w.payload.shape(), reset_less=True)
        first_length = Signal(range(BURST_BEATS))       # beats minus one up to where bursts are cut
        left = Signal(range(BURST_BEATS))               # of this burst, minus one
        closed = Signal()                               # no further burst
        resp, heard = Signal(Response), Signal(Response)
        m.d.comb += [
            first_length.eq(~command.beat[:exact_log2(BURST_BEATS)]),
            port.ar.payload.eq(address), port.aw.payload.eq(address), port.w.payload.eq(sent),
            self.index.eq(index), self.resp.eq(resp),
            closed.eq((command.count == 0) | given_up | is_error(resp)),
            self.progress.eq(port.ar.valid & port.ar.ready | port.aw.valid & port.aw.ready | port.r.valid
                             | port.w.valid & port.w.ready | port.b.valid),
        ]
        # Addresses stay offered until taken, beside whatever else goes on.
        for channel in (port.ar, port.aw):
            with m.If(channel.ready):
                m.d.sync += channel.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [command.eq(self.i.payload), index.eq(0), resp.eq(Response.OKAY), given_up.eq(0)]
                with m.If(self.i.valid):
                    m.next = "BURST"
            with m.State("BURST"):
                length = Mux(command.count > first_length, first_length, command.count - 1)
                m.d.sync += [left.eq(length), address.addr.eq(command.beat << lanes), address.len.eq(length)]
                with m.If(closed):
                    m.d.comb += self.done.eq(~given_up)
                    m.next = "IDLE"
                with m.Elif(command.write):
                    m.d.sync += port.aw.valid.eq(1)
                    m.next = "FETCH"
                with m.Else():
                    m.d.sync += port.ar.valid.eq(1)
                    m.next = "READ"

            def moved():
                m.d.sync += [index.eq(index + 1), command.beat.eq(command.beat + 1),
                             command.count.eq(command.count - 1), left.eq(left - 1)]

            with m.State("READ"):
                m.d.comb += [port.r.ready.eq(1), heard.eq(port.r.payload.resp)]
                with m.If(port.r.valid):
                    m.d.comb += self.store.valid.eq(~given_up)
                    moved()
                    with m.If(left == 0):
                        m.next = "BURST"

            # Of a write, the store's answer is on its way.
            with m.State("FETCH"):
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [port.w.valid.eq(1), sent.data.eq(self.word), sent.last.eq(left == 0),
                             sent.strb.eq((~given_up).replicate(self.bus_bits // 8))]
                m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(port.w.ready):
                    m.d.sync += port.w.valid.eq(0)
                    moved()
                    m.next = "FETCH"
                    with m.If(left == 0):
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += [port.b.ready.eq(1), heard.eq(port.b.payload.resp)]
                with m.If(port.b.valid):
                    m.next = "BURST"

        with m.If((port.r.valid & port.r.ready | port.b.valid & port.b.ready) & is_error(heard) & ~is_error(resp)):
            m.d.sync += resp.eq(heard)
        with m.If(self.abandon):
            m.d.sync += given_up.eq(1)
        m.d.comb += [self.store.index.eq(index), self.store.data.eq(port.r.payload.data)]
        return m
