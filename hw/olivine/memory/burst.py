"""From a transfer of bytes to bursts of beats.

Bursts are cut at multiples of a *chunk*: the longest burst, or 4 KiB where that is shorter. Both are
powers of two, so a chunk never crosses a 4 KiB boundary and the cut needs no second comparison. An
unaligned transfer may so need one burst more than the fewest, which costs an address cycle that a
pipelined bus hides.
"""

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.job import command
from .axi import BOUNDARY
from .checks import check_integer, check_power_of_two

__all__ = ["chunk_beats", "span", "span_of", "burst", "BurstSplitter"]


def chunk_beats(bus_bytes, max_burst_beats):
    """Beats of a chunk."""
    return min(max_burst_beats, BOUNDARY // bus_bytes)


def span(addr_width, bus_bytes):
    """The beats that hold a transfer: the first and the last beat's number (address / bus bytes), the
    first byte's place in the first beat (``head``) and the last byte's in the last beat (``tail``)."""
    lane_bits = exact_log2(bus_bytes)
    beat = unsigned(addr_width - lane_bits)
    return data.StructLayout({"first": beat, "last": beat, "head": unsigned(lane_bits),
                              "tail": unsigned(lane_bits)})


def span_of(payload, addr_width, bus_bytes):
    """Bits of the `span` of a command; one addition of ``addr_width`` bits."""
    lane_bits = exact_log2(bus_bytes)
    end = (payload.addr + payload.bytes - 1)[:addr_width]
    return Cat(payload.addr[lane_bits:], end[lane_bits:], payload.addr[:lane_bits], end[:lane_bits])


def burst(addr_width, bus_bytes):
    """One burst: the number of its first ``beat``, ``len`` (beats minus one), whether it is the ``first``
    and the ``last`` of its command, and the command's ``head`` and ``tail``."""
    shape = span(addr_width, bus_bytes)
    return data.StructLayout({"beat": shape["first"].shape, "len": unsigned(8), "first": unsigned(1),
                              "last": unsigned(1), "head": shape["head"].shape, "tail": shape["tail"].shape})


class BurstSplitter(wiring.Component):
    """Cuts commands into bursts.

    Cycle budget: a command taken in cycle 0 offers its first burst in cycle 1; then one burst a cycle,
    and the next command's first burst in the cycle after a command's last.

    Parameters
    ----------
    addr_width : int
        Address bits.
    bus_bytes : int
        Bytes of a beat, power of two, 2 to 128.
    max_burst_beats : int
        Longest burst, power of two, 1 to 256.

    Members
    -------
    i : In(stream(command))
        Transfers of 1 byte or more. One that runs past the last address wraps around: refuse it before.
    o : Out(stream(burst))
        Holds until taken, except for ``flush``.
    flush : In(1)
        Forgets the command that is being split; ``o.valid`` is low from the next cycle on.
    """

    def __init__(self, addr_width, bus_bytes, max_burst_beats):
        self.bus_bytes = check_power_of_two("bus_bytes", bus_bytes, 2, 128)
        self.max_burst_beats = check_power_of_two("max_burst_beats", max_burst_beats, 1, 256)
        self.addr_width = check_integer("addr_width", addr_width, 13, 64)
        super().__init__({
            "i": In(stream.Signature(command(addr_width))),
            "o": Out(stream.Signature(burst(addr_width, bus_bytes))),
            "flush": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        chunk = chunk_beats(self.bus_bytes, self.max_burst_beats)
        low = exact_log2(chunk)

        held = Signal(span(self.addr_width, self.bus_bytes))
        busy, started = Signal(), Signal()
        final = Signal()
        m.d.comb += [
            # The burst reaches the command's last beat if that lies in the same chunk.
            final.eq(held.first[low:] == held.last[low:]),
            self.o.valid.eq(busy),
            self.o.payload.beat.eq(held.first),
            self.o.payload.len.eq(((held.last[:low] | Const(chunk - 1, 8) & ~final.replicate(8))
                                   - held.first[:low])[:low] if low else 0),
            self.o.payload.first.eq(~started),
            self.o.payload.last.eq(final),
            self.o.payload.head.eq(held.head),
            self.o.payload.tail.eq(held.tail),
            self.i.ready.eq(~busy | self.o.ready & final),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [held.first.eq(Cat(Const(0, low), held.first[low:] + 1)), started.eq(1)]
        with m.If(self.i.ready):
            m.d.sync += [busy.eq(self.i.valid), started.eq(0),
                         held.eq(span_of(self.i.payload, self.addr_width, self.bus_bytes))]
        with m.If(self.flush):
            m.d.sync += busy.eq(0)
        return m
