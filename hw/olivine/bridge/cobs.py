"""Consistent overhead byte stuffing: frames without zero bytes, so that a zero byte can end them.

A frame is cut into blocks, each of up to 254 bytes other than zero. A block goes out behind its *code*, its length
plus one. Behind each block but the last, and but those of 254 bytes, a zero byte is meant. (S. Cheshire and M. Baker,
"Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999.)
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .frames import COBS_BLOCK, DELIMITER

__all__ = ["EVENT", "BYTE", "CobsDecoder", "CobsEncoder"]

EVENT = data.StructLayout({"valid": 1, "data": 8, "end": 1, "bad": 1})
"""In a cycle with ``valid`` a byte of a frame; or, with ``end``, the end of one, which is ``bad`` if its code ended
early or bytes of it were lost.
"""

BYTE = data.StructLayout({"data": 8, "last": 1})
"""A byte of a frame; ``last`` is its last."""

_FULL = COBS_BLOCK + 1


class CobsDecoder(wiring.Component):
    """Bytes from the line to frames.

    A byte a cycle; what comes of it follows one cycle later. Zero bytes that no other byte precedes are passed over.

    Cost on ECP5: about 40 LUTs.

    Members
    -------
    i : In(stream(8))
        Always ready.
    spoil : In(1)
        A byte was lost here: the frame that it belongs to is bad. In any cycle; behind the byte that is transferred in
        it, if one is.
    o : Out(EVENT)
        The frames. Nobody can hold them up.
    """

    latency = 1

    def __init__(self):
        super().__init__({"i": In(stream.Signature(8)), "spoil": In(1), "o": Out(EVENT)})

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)                # bytes of this block that are to come
        begun, bad = Signal(), Signal()
        zero = Signal()                 # the next code stands for a zero byte as well
        end, code = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(1), end.eq(self.i.payload == DELIMITER), code.eq(~end & (left == 0))]
        m.d.sync += [self.o.valid.eq(self.i.valid & Mux(end, begun, ~code | zero)), self.o.end.eq(end),
                     self.o.data.eq(Mux(code, 0, self.i.payload)), self.o.bad.eq(bad | (left != 0))]
        with m.If(self.i.valid):
            with m.If(end):
                m.d.sync += [left.eq(0), begun.eq(0), bad.eq(0), zero.eq(0)]
            with m.Elif(code):
                m.d.sync += [left.eq(self.i.payload - 1), begun.eq(1), zero.eq(self.i.payload != _FULL)]
            with m.Else():
                m.d.sync += left.eq(left - 1)
        with m.If(self.spoil):
            m.d.sync += [begun.eq(1), bad.eq(1)]
        return m


class CobsEncoder(wiring.Component):
    """Frames to bytes for the line, each with a zero byte behind it.

    A block's code goes first and needs its length: blocks are gathered in one half of a memory while the one before
    leaves from the other.

    Throughput: a byte in two cycles, and three for each block's code; a long block behind a short one is waited for.
    Latency: a block's code is offered 2 cycles after its last byte was taken, if none is leaving.

    Cost on ECP5: about 90 LUTs and a DP16KD.

    Members
    -------
    i : In(stream(BYTE))
        Bytes of frames. A frame has at least one byte.
    o : Out(stream(8))
    """

    def __init__(self):
        super().__init__({"i": In(stream.Signature(BYTE)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=512, init=[])
        write, read = store.write_port(), store.read_port()

        # A block that waits to leave: its half, its length, and whether it is its frame's last.
        full, side = Signal(), Signal()
        length, final = Signal(8), Signal()
        taken = Signal()                # it begins to leave in this cycle

        # Gathering.
        half, gathered = Signal(), Signal(8)
        last, closing = Signal(), Signal()      # a zero byte was the frame's last: an empty block follows
        zero, ends, count = Signal(), Signal(), Signal(8)
        m.d.comb += [
            self.i.ready.eq(~full & ~closing),
            zero.eq(self.i.payload.data == 0), count.eq(Mux(zero, gathered, gathered + 1)),
            last.eq(self.i.payload.last), ends.eq(zero | last | (gathered == COBS_BLOCK - 1)),
            write.addr.eq(Cat(gathered, half)), write.data.eq(self.i.payload.data),
            write.en.eq(self.i.valid & self.i.ready & ~zero),
        ]
        with m.If(taken):
            m.d.sync += full.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += gathered.eq(count)
            with m.If(ends):
                m.d.sync += [full.eq(1), side.eq(half), length.eq(count), final.eq(last & ~zero), half.eq(~half),
                             gathered.eq(0), closing.eq(last & zero)]
        with m.Elif(closing & ~full):
            m.d.sync += [full.eq(1), length.eq(0), final.eq(1), closing.eq(0)]

        # Leaving.
        place, left = Signal(9), Signal(8)
        ending = Signal()
        m.d.comb += [read.addr.eq(place), read.en.eq(1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [place.eq(side << 8), left.eq(length), ending.eq(final)]
                with m.If(full):
                    m.d.comb += taken.eq(1)
                    m.next = "CODE"
            with m.State("CODE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(left + 1)]
                with m.If(self.o.ready):
                    m.next = "NEXT"
            with m.State("NEXT"):
                # The memory gives the byte at ``place`` in the next cycle.
                with m.If(left != 0):
                    m.next = "BYTE"
                with m.Elif(ending):
                    m.next = "END"
                with m.Else():
                    m.next = "IDLE"
            with m.State("BYTE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(read.data)]
                with m.If(self.o.ready):
                    m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
                    m.next = "NEXT"
            with m.State("END"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(DELIMITER)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
