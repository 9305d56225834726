"""Whether the bus owes an answer: what the watchdog and the counters watch."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["BusMonitor"]


class BusMonitor(wiring.Component):
    """Listens to an AXI4 port (`listen`).

    Members
    -------
    ar_valid, ar_ready, r_valid, ... : In(1), ar_len : In(8)
        The handshakes of the five channels, and AxLEN of AR.
    waiting : Out(1)
        Something is offered and not taken, or outstanding.
    progress : Out(1)
        A transfer happens on any channel.
    read_beat, write_beat : Out(1)
        A transfer on R, on W.

    Counts up to 65,535 read beats and 255 write bursts outstanding.
    """

    def __init__(self):
        super().__init__({
            **{f"{channel}_{side}": In(1) for channel in ("ar", "r", "aw", "w", "b") for side in ("valid", "ready")},
            "ar_len": In(8),
            "waiting": Out(1), "progress": Out(1), "read_beat": Out(1), "write_beat": Out(1),
        })

    def listen(self, bus):
        """Statements that connect the monitor to an `AXI4` interface."""
        return [self.ar_len.eq(bus.ar.payload.len),
                *(getattr(self, f"{channel}_{side}").eq(getattr(getattr(bus, channel), side))
                  for channel in ("ar", "r", "aw", "w", "b") for side in ("valid", "ready"))]

    def elaborate(self, platform):
        m = Module()
        ar, r, aw, w, b = (getattr(self, f"{channel}_valid") & getattr(self, f"{channel}_ready")
                           for channel in ("ar", "r", "aw", "w", "b"))
        reads, writes = Signal(16), Signal(8)
        m.d.sync += [reads.eq(reads + Mux(ar, self.ar_len + 1, 0) - r), writes.eq(writes + aw - b)]
        m.d.comb += [
            self.waiting.eq(self.ar_valid | self.aw_valid | self.w_valid | (reads != 0) | (writes != 0)),
            self.progress.eq(ar | r | aw | w | b), self.read_beat.eq(r), self.write_beat.eq(w),
        ]
        return m
