"""An engine's questions to the cache, one at a time."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .lookup import LookupAnswer, LookupRequest

__all__ = ["LookupPort"]


class LookupPort(wiring.Component):
    """One lookup at a time, across jobs: a request that was begun is ended, its answer dropped if the job is over.

    Members
    -------
    i : In(stream(LookupRequest)), o : Out(stream(LookupAnswer))
        Of the job.
    lookup : Out(stream(LookupRequest)), found : In(stream(LookupAnswer))
        Of the cache.
    flush : In(1)
        The job is over.
    idle : Out(1)

    One register: a request is offered in the cycle after it was taken.
    """

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(LookupRequest)), "o": Out(stream.Signature(LookupAnswer)),
            "lookup": Out(stream.Signature(LookupRequest)), "found": In(stream.Signature(LookupAnswer)),
            "flush": In(1), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        waiting, stale = Signal(), Signal()
        m.d.comb += [
            self.idle.eq(~self.lookup.valid & ~waiting), self.i.ready.eq(self.idle & ~self.flush),
            self.o.payload.eq(self.found.payload), self.o.valid.eq(self.found.valid & waiting & ~stale),
            self.found.ready.eq(waiting & (stale | self.o.ready)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.lookup.payload.eq(self.i.payload), self.lookup.valid.eq(1)]
        with m.If(self.lookup.valid & self.lookup.ready):
            m.d.sync += [self.lookup.valid.eq(0), waiting.eq(1)]
        with m.If(self.found.valid & self.found.ready):
            m.d.sync += waiting.eq(0)
        with m.If(self.idle):
            m.d.sync += stale.eq(0)
        with m.Elif(self.flush):
            m.d.sync += stale.eq(1)
        return m
