"""Proofs of the reader's promise: R is never refused, and no credit is lost."""

import pytest
from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from olivine.control.job import span
from olivine.memory.credits import CreditCounter
from olivine.memory.reader import BurstReader
from olivine.memory.realign import words
from olivine.stream.queue import Queue

from tests.formal import prove


class CreditHarness(wiring.Component):
    """The counter between a bus and a queue, both as numbers, for all time.

    A burst takes credits; its beats arrive one a cycle, and go into the queue or are dropped; beats leave the
    queue one a cycle. All of it whenever the solver likes.
    """

    def __init__(self, depth, most):
        self.depth, self.most = depth, most
        super().__init__({"len": In(range(most)), "want": In(1), "arrives": In(1), "dropped": In(1),
                          "leaves": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.credits = credits = CreditCounter(self.depth, self.most)
        flying, queued = Signal(range(self.depth + 1)), Signal(range(self.depth + 1))
        arrives, leaves = self.arrives & (flying != 0), self.leaves & (queued != 0)
        enters = arrives & ~self.dropped
        take = self.want & credits.enough
        # What is taken is counted a cycle later.
        before, taken = Signal.like(self.len), Signal()
        pending = Signal(range(self.most + 1))
        m.d.sync += [before.eq(self.len), taken.eq(take)]
        m.d.comb += [
            Assume(self.len < self.most), Assume(~taken | (self.len == before)),
            pending.eq(Mux(taken, self.len + 1, 0)),
            credits.len.eq(self.len), credits.take.eq(take),
            credits.give.eq((arrives & self.dropped) + leaves),
        ]
        wanted = Signal(range(self.most + 1))
        m.d.comb += wanted.eq(Mux(take, self.len + 1, 0))
        m.d.sync += [flying.eq(flying + wanted - arrives), queued.eq(queued + enters - leaves)]
        m.d.comb += [
            Assert(flying + queued + credits.free == self.depth + pending),
            Assert(flying + queued <= self.depth),
            # A beat that arrives finds room.
            Assert(~enters | (queued < self.depth)),
            Assert(credits.full == ((flying == 0) & (queued == 0))),
        ]
        # What is enough stays enough until it is taken.
        patient = Signal()
        m.d.sync += patient.eq(credits.enough & ~take)
        m.d.comb += Assert(~(patient & (before == self.len)) | credits.enough)
        return m


class ReaderHarness(wiring.Component):
    """The whole reader against any memory that answers in order with the right number of beats."""

    def __init__(self):
        self.reader = BurstReader(13, 2, depth_beats=4, max_burst_beats=2, max_outstanding=4)
        super().__init__({"i": In(stream.Signature(span(13))), "o": Out(stream.Signature(words(2))),
                          "ar_ready": In(1), "r_valid": In(1), "resp": In(2), "abort": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        connect(m, flipped(self.i), reader.i)
        connect(m, reader.o, flipped(self.o))
        ar, r = reader.port.ar, reader.port.r

        # The memory: lengths of what was asked, and beats given of the oldest.
        m.submodules.asked = asked = Queue(1, 4)
        given = Signal()
        m.d.comb += [
            Assume(self.i.payload.last - self.i.payload.addr < 7), Assume(self.i.payload.last >= self.i.payload.addr),
            ar.ready.eq(self.ar_ready),
            asked.i.payload.eq(ar.payload.len), asked.i.valid.eq(ar.valid & ar.ready),
            r.valid.eq(self.r_valid & asked.o.valid),
            r.payload.last.eq(given == asked.o.payload), r.payload.resp.eq(self.resp),
            asked.o.ready.eq(r.valid & r.payload.last),
            reader.abort.eq(self.abort),
        ]
        with m.If(r.valid):
            m.d.sync += given.eq(given + 1)
            with m.If(r.payload.last):
                m.d.sync += given.eq(0)

        # Credits out for beats that have not arrived: noted where bursts are issued.
        flying, pending, taken = Signal(4), Signal(2), Signal()
        issued = reader.credits.take
        m.d.sync += [flying.eq(flying + Mux(issued, reader.credits.len + 1, 0) - r.valid), taken.eq(issued)]
        m.d.comb += [
            pending.eq(Mux(taken, reader.credits.len + 1, 0)),
            Assert(flying + reader.queue.level + reader.returned + reader.credits.free
                   == reader.depth_beats + pending),
            Assert(~reader.queue.i.valid | reader.queue.i.ready),
            Assert(r.ready),
            Assert(~r.valid | reader.flight.o.valid),
            Assert(~asked.i.valid | asked.i.ready),
            Assert(~reader.idle | reader.credits.full & ~ar.valid & ~asked.o.valid & ~reader.o.valid),
        ]
        # AR holds until taken, abort or not; so does the output's valid, but for aborts.
        held, last_ar = Signal(), Signal.like(ar.payload.as_value())
        m.d.sync += [held.eq(ar.valid & ~ar.ready), last_ar.eq(ar.payload)]
        m.d.comb += Assert(~held | ar.valid & (ar.payload.as_value() == last_ar))
        waits = Signal()
        m.d.sync += waits.eq(reader.o.valid & ~reader.o.ready & ~self.abort & ~reader.draining)
        m.d.comb += Assert(~waits | reader.o.valid)
        return m


@pytest.mark.parametrize("depth, most", [(4, 2), (5, 4), (16, 16)])
def test_credits_are_never_lost(depth, most):
    prove(CreditHarness(depth, most), f"credits_{depth}_{most}", depth=3)


@pytest.mark.slow
def test_reader_never_refuses_a_beat():
    prove(ReaderHarness(), "reader_credits", mode="pdr", timeout=400)
