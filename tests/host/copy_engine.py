"""A stand-in engine: moves memory with the ports of a real engine, in a timing known to the cycle.

It exists to test the simulation harness: small enough to build in seconds, and simple enough that
the memory model's latencies and throughput can be asserted exactly.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from olivine.control.job import Activity, JobStatus, StatusCode, Window
from olivine.linear.descriptor import LinearDescriptor
from olivine.memory.axi import AXI4, Response

__all__ = ["CopyEngine", "COPY", "READ", "WRITE"]

COPY, READ, WRITE = 0, 1, 2
"""Values of the descriptor's ``n``."""


class CopyEngine(wiring.Component):
    """Moves ``m`` bursts of ``k`` beats.

    COPY
        From ``x`` to ``y``, every bit inverted, one burst at a time. ``m`` = 0 never ends.
    READ, WRITE
        All addresses are offered one after the other; beats are taken and given meanwhile. What is read
        is thrown away; what is written are zeros.

    Bytes of a beat whose bit is set in ``reserved`` are not written.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    job, done, windows, bus_timeout, activity, bus
        As of `olivine.linear.core.LinearCore`.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "job": In(stream.Signature(LinearDescriptor)),
            "done": Out(stream.Signature(JobStatus)),
            "windows": In(data.ArrayLayout(Window(config.addr_width), config.windows)),
            "bus_timeout": In(24),
            "activity": Out(Activity),
            "bus": Out(AXI4(config.addr_width, config.bus_bits, id_width=1)),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        job, status = Signal(LinearDescriptor), Signal(JobStatus)
        addresses, bursts, responses, beat = Signal(20), Signal(20), Signal(20), Signal(9)
        source, target = Signal(self.config.addr_width), Signal(self.config.addr_width)
        step = job.k << self.config.bus_bytes.bit_length() - 1
        last = beat == job.k - 1

        m.submodules.store = store = Memory(shape=self.config.bus_bits, depth=256, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            self.done.p.eq(status), self.activity.busy.eq(1),
            bus.ar.p.addr.eq(source), bus.ar.p.len.eq(job.k - 1),
            bus.aw.p.addr.eq(target), bus.aw.p.len.eq(job.k - 1),
            write.addr.eq(beat), write.data.eq(~bus.r.p.data), write.en.eq(self.activity.read_beat),
            read.addr.eq(beat), bus.w.p.strb.eq(~job.reserved), bus.w.p.last.eq(last),
            self.activity.read_beat.eq(bus.r.valid & bus.r.ready),
            self.activity.write_beat.eq(bus.w.valid & bus.w.ready),
        ]
        m.d.sync += status.cycles.eq(status.cycles + 1)
        with m.If(self.activity.read_beat | self.activity.write_beat):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last):
                m.d.sync += [beat.eq(0), bursts.eq(bursts - 1)]
        with m.If(self.activity.read_beat):
            m.d.sync += status.beats_read.eq(status.beats_read + 1)
            with m.If((bus.r.p.resp == Response.DECERR) & (status.code == StatusCode.OK)):
                m.d.sync += [status.code.eq(StatusCode.READ_DECERR), status.address.eq(source)]
        with m.If(self.activity.write_beat):
            m.d.sync += status.beats_written.eq(status.beats_written + 1)
        with m.If(bus.b.valid & bus.b.ready):
            m.d.sync += responses.eq(responses - 1)
            with m.If((bus.b.p.resp == Response.DECERR) & (status.code == StatusCode.OK)):
                m.d.sync += [status.code.eq(StatusCode.WRITE_DECERR), status.address.eq(target)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.job.ready.eq(1), self.activity.eq(0)]
                with m.If(self.job.valid):
                    p = self.job.p
                    m.d.sync += [job.eq(p), status.eq(0), source.eq(p.x), target.eq(p.y),
                                 addresses.eq(p.m), bursts.eq(p.m), responses.eq(p.m)]
                    with m.Switch(p.n):
                        with m.Case(COPY):
                            m.next = "COPY_AR"
                        with m.Case(READ):
                            m.next = "READ"
                        with m.Case(WRITE):
                            m.next = "WRITE"
            with m.State("COPY_AR"):
                m.d.comb += bus.ar.valid.eq(job.m != 0)
                with m.If(bus.ar.valid & bus.ar.ready):
                    m.next = "COPY_R"
            with m.State("COPY_R"):
                m.d.comb += bus.r.ready.eq(1)
                with m.If(bus.r.valid & bus.r.p.last):
                    m.next = "COPY_AW"
            with m.State("COPY_AW"):
                m.d.comb += bus.aw.valid.eq(1)
                with m.If(bus.aw.ready):
                    m.next = "COPY_W"
            with m.State("COPY_W"):
                m.d.comb += [bus.w.valid.eq(1), bus.w.p.data.eq(read.data)]
                with m.If(bus.w.ready & last):
                    m.next = "COPY_B"
            with m.State("COPY_B"):
                m.d.comb += bus.b.ready.eq(1)
                with m.If(bus.b.valid):
                    m.d.sync += [source.eq(source + step), target.eq(target + step)]
                    m.next = "COPY_AR"
                    with m.If(responses == 1):
                        m.next = "DONE"
            with m.State("READ"):
                m.d.comb += [bus.ar.valid.eq(addresses != 0), bus.r.ready.eq(1)]
                with m.If(bus.ar.valid & bus.ar.ready):
                    m.d.sync += [addresses.eq(addresses - 1), source.eq(source + step)]
                with m.If(bus.r.valid & last & (bursts == 1)):
                    m.next = "DONE"
            with m.State("WRITE"):
                m.d.comb += [bus.aw.valid.eq(addresses != 0), bus.w.valid.eq(bursts != 0), bus.b.ready.eq(1)]
                with m.If(bus.aw.valid & bus.aw.ready):
                    m.d.sync += [addresses.eq(addresses - 1), target.eq(target + step)]
                with m.If(bus.b.valid & (responses == 1)):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.done.valid.eq(1), self.activity.eq(0)]
                m.d.sync += status.cycles.eq(status.cycles)
                with m.If(self.done.ready):
                    m.next = "IDLE"
        return m
