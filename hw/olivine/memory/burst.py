"""From a transfer of bytes to bursts of beats.

Bursts are cut at multiples of a *chunk*: the longest burst, or 4 KiB where that is shorter. Both are
powers of two, so a chunk never crosses a 4 KiB boundary and the cut needs no second comparison. An
unaligned transfer may so need one burst more than the fewest, which costs an address cycle that a
pipelined bus hides.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..control.job import span
from .axi import BOUNDARY
from .checks import check_integer, check_power_of_two

__all__ = ["chunk_beats", "burst", "BurstSplitter"]


def chunk_beats(bus_bytes, max_burst_beats):
    """Beats of a chunk."""
    return min(max_burst_beats, BOUNDARY // bus_bytes)


def burst(addr_width, bus_bytes):
    """One burst: the number of its first ``beat`` (address / bus bytes), ``len`` (beats minus one), whether it is the
    ``first`` and the ``last`` of its command; the places of the command's first byte in its first beat (``head``) and
    of its last byte in its last beat (``tail``)."""
    lane_bits = exact_log2(bus_bytes)
    return data.StructLayout({"beat": unsigned(addr_width - lane_bits), "len": unsigned(8), "first": unsigned(1),
                              "last": unsigned(1), "head": unsigned(lane_bits), "tail": unsigned(lane_bits)})


class BurstSplitter(wiring.Component):
    """Cuts commands into bursts.

    Cycle budget: a command taken in cycle 0 offers its first burst in cycle 1; then one burst a cycle. The next
    command is taken in the cycle after a command's last burst, so that ``i.ready`` is a register.

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
    i : In(stream(span))
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
            "i": In(stream.Signature(span(addr_width))),
            "o": Out(stream.Signature(burst(addr_width, bus_bytes))),
            "flush": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        chunk = chunk_beats(self.bus_bytes, self.max_burst_beats)
        low = exact_log2(chunk)

        lane_bits = exact_log2(self.bus_bytes)
        beat = Signal(self.addr_width - lane_bits)
        head, last = Signal(lane_bits), Signal(self.addr_width)
        busy, started = Signal(), Signal()
        final = Signal()
        chunk_number, after = beat[low:], Signal(len(beat) - low)
        # Both lengths are there before it is known whether this is the last.
        last_len = Signal(max(low, 1))
        m.d.comb += [
            after.eq(chunk_number + 1),
            final.eq(chunk_number == last[lane_bits + low:]),
            last_len.eq(last[lane_bits:lane_bits + low] - beat[:low] if low else 0),
            self.o.valid.eq(busy),
            self.o.payload.beat.eq(beat),
            self.o.payload.len.eq(Mux(final, last_len, ~beat[:low]) if low else 0),
            self.o.payload.first.eq(~started),
            self.o.payload.last.eq(final),
            self.o.payload.head.eq(head),
            self.o.payload.tail.eq(last[:lane_bits]),
            self.i.ready.eq(~busy),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [beat.eq(Cat(Const(0, low), after)), started.eq(1), busy.eq(~final)]
        with m.If(self.i.ready):
            asked = self.i.payload
            m.d.sync += [busy.eq(self.i.valid), started.eq(0), beat.eq(asked.addr[lane_bits:]),
                         head.eq(asked.addr[:lane_bits]), last.eq(asked.last)]
        with m.If(self.flush):
            m.d.sync += busy.eq(0)
        return m
