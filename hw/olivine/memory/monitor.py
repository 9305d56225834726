"""Whether the bus owes an answer: what the watchdog and the counters watch."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BusMonitor"]

COUNT_BITS = 10
"""Of the bursts that are outstanding."""


class BusMonitor(wiring.Component):
    """Listens to ports of AXI4 (`listen`).

    Members
    -------
    ar_valid, ar_ready, r_valid, ... : In(1), r_last : In(1)
        The handshakes of the five channels, and RLAST.
    waiting : Out(1)
        Something is offered and not taken, or outstanding.
    progress : Out(1)
        A transfer happens on any channel.
    read_beat, write_beat : Out(1)
        A transfer on R, on W.

    Counts up to 1,023 bursts of reads and as many of writes. Latency: 1 cycle, a register at each input, so that
    watching adds nothing to the paths of the bus.
    """

    def __init__(self):
        super().__init__({
            **{f"{channel}_{side}": In(1) for channel in ("ar", "r", "aw", "w", "b") for side in ("valid", "ready")},
            "r_last": In(1),
            "waiting": Out(1), "progress": Out(1), "read_beat": Out(1), "write_beat": Out(1),
        })

    def listen(self, read, write=None):
        """Statements that connect the monitor to a `ReadPort` and a `WritePort`, or to an `AXI4` that is both."""
        channels = [(name, getattr(port, name)) for port, names in ((read, ("ar", "r")), (write, ("aw", "w", "b")))
                    if port is not None for name in names]
        return [self.r_last.eq(read.r.payload.last),
                *(getattr(self, f"{name}_{side}").eq(getattr(channel, side))
                  for name, channel in channels for side in ("valid", "ready"))]

    def elaborate(self, platform):
        m = Module()
        channels = "ar", "r", "aw", "w", "b"
        ar, r, aw, w, b = taken = [Signal(name=f"{channel}_taken") for channel in channels]
        offered, last = Signal(), Signal()
        m.d.sync += [
            *(seen.eq(getattr(self, f"{channel}_valid") & getattr(self, f"{channel}_ready"))
              for channel, seen in zip(channels, taken)),
            offered.eq(self.ar_valid | self.aw_valid | self.w_valid), last.eq(self.r_last),
        ]
        reads, writes = Signal(COUNT_BITS), Signal(COUNT_BITS)
        for count, begins, ends in ((reads, ar, r & last), (writes, aw, b)):
            with m.If(begins ^ ends):
                m.d.sync += count.eq(count + Mux(begins, 1, -1))
        m.d.comb += [
            self.waiting.eq(offered | (reads != 0) | (writes != 0)),
            self.progress.eq(ar | r | aw | w | b), self.read_beat.eq(r), self.write_beat.eq(w),
        ]
        return m
