"""Frames from the line, checked before anyone sees them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.checks import check_power_of_two
from .cobs import EVENT
from .frames import CARRIES, CRC_BYTES, HEADER, HEADER_BYTES, MAX_PAYLOAD

__all__ = ["COUNT_BITS", "word_write", "FrameReceiver"]

COUNT_BITS = 16
"""Of what is counted; it wraps."""


def word_write(bus_bits, words):
    """In a cycle with ``valid``, a word for the store of payloads."""
    return data.StructLayout({"valid": 1, "index": range(words), "data": bus_bits})


class FrameReceiver(wiring.Component):
    """Puts a frame's payload into the store, and offers its header once the whole frame was right.

    The frame is dropped and counted if it is bad, its CRC is wrong, it is longer than the store, or its payload has
    another length than its header says. While a header is offered everything that arrives is dropped, to the end of its
    frame, and counted apart, so that the header and the store hold.

    Latency: ``o.valid`` rises 3 cycles after the end of the frame on ``i``.

    Cost on ECP5: about 270 LUTs, of which the CRC takes half.

    Parameters
    ----------
    bus_bits : int
        Bits of a word, power of two, 32 to 512.
    max_payload : int
        Bytes of the store, power of two, 64 to `MAX_PAYLOAD`.

    Members
    -------
    i : In(EVENT)
    store : Out({valid, index, data})
        Words of payload; those of a frame that is dropped, too.
    o : Out(stream(HEADER))
    value : Out(32)
        With ``o``: the last 4 bytes of payload.
    damaged, late : Out(16)
        Frames dropped: because they were not right; because a header was offered. They wrap.
    """

    def __init__(self, bus_bits, max_payload):
        self.bus_bits = check_power_of_two("bus_bits", bus_bits, 32, 512)
        self.max_payload = check_power_of_two("max_payload", max_payload, 64, MAX_PAYLOAD)
        self.words = 8 * max_payload // bus_bits
        super().__init__({"i": In(EVENT), "store": Out(word_write(bus_bits, self.words)),
                          "o": Out(stream.Signature(HEADER)), "value": Out(32), "damaged": Out(COUNT_BITS),
                          "late": Out(COUNT_BITS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = check = crc.catalog.CRC32_ISO_HDLC(data_width=8).create()
        longest = HEADER_BYTES + self.max_payload + CRC_BYTES
        index = Signal(range(longest + 1))      # bytes of the frame so far
        overlong, late = Signal(), Signal()
        header = Signal(HEADER)
        expected = Signal(17)                   # bytes that its header announces
        ended, judged, right = Signal(), Signal(), Signal()     # the end of a frame was 1, 2 cycles ago; it is right
        blocked, taken, byte, end = Signal(), Signal(), Signal(8), Signal()
        # A byte counts a cycle after it came, as it goes to many; its frame ends a cycle later at least.
        m.d.comb += [blocked.eq(self.o.valid | ended | judged), end.eq(self.i.valid & self.i.end)]
        m.d.sync += [taken.eq(self.i.valid & ~self.i.end & ~blocked & ~late), byte.eq(self.i.data)]
        m.d.comb += [
            check.data.eq(byte), check.valid.eq(taken), check.start.eq(taken & (index == 0)),
            self.o.payload.eq(header),
        ]
        m.d.sync += expected.eq(HEADER_BYTES + CRC_BYTES + Mux((header.operation & CARRIES) != 0, header.count, 0))

        with m.If(self.i.valid & ~self.i.end & blocked):
            m.d.sync += late.eq(1)
        with m.If(taken):
            with m.If(index == longest):
                m.d.sync += overlong.eq(1)
            with m.Else():
                m.d.sync += index.eq(index + 1)
            with m.If(index < HEADER_BYTES):
                m.d.sync += header.eq(Cat(header.as_value()[8:], byte))
        self._gather(m, taken, byte, index)

        m.d.sync += [ended.eq(0), judged.eq(ended),
                     right.eq(check.match_detected & (index == expected) & ~overlong)]
        with m.If(end):
            m.d.sync += late.eq(0)
            with m.If(late | blocked):
                m.d.sync += self.late.eq(self.late + 1)
            with m.Elif(self.i.bad):
                m.d.sync += [self.damaged.eq(self.damaged + 1), index.eq(0), overlong.eq(0)]
            with m.Else():
                m.d.sync += ended.eq(1)
        with m.If(judged):
            m.d.sync += [index.eq(0), overlong.eq(0)]
            with m.If(right):
                m.d.sync += self.o.valid.eq(1)
            with m.Else():
                m.d.sync += self.damaged.eq(self.damaged + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m

    def _gather(self, m, taken, byte, index):
        """Bytes behind the header to words. What lies past the store is a CRC, or too much."""
        size = self.bus_bits // 8
        held = Signal(max(self.bus_bits, 64), reset_less=True)
        lane, word = Signal(range(size)), Signal(range(self.words + 1))
        m.d.comb += [self.store.data.eq(held[-self.bus_bits:]), self.value.eq(held[-64:-32])]
        m.d.sync += self.store.valid.eq(0)
        with m.If(taken):
            m.d.sync += held.eq(Cat(held[8:], byte))
            with m.If(index < HEADER_BYTES):
                m.d.sync += [lane.eq(0), word.eq(0)]
            with m.Elif(word != self.words):
                m.d.sync += [lane.eq(lane + 1), self.store.index.eq(word)]
                with m.If(lane == size - 1):
                    m.d.sync += [self.store.valid.eq(1), word.eq(word + 1)]
