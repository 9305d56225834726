"""Answers as frames: header, payload, CRC."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import crc, data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..memory.checks import check_power_of_two
from .cobs import BYTE
from .frames import CRC_BYTES, HEADER, HEADER_BYTES, MAX_PAYLOAD, VALUE_BYTES

__all__ = ["REPLY", "FrameSender"]

REPLY = data.StructLayout({"header": HEADER, "value": 8 * VALUE_BYTES, "stored": 1})
"""An answer. Its ``header.count`` bytes of payload are those of ``value``, or with ``stored`` those of the store."""


class _Part(enum.Enum, shape=2):
    HEADER = 0
    VALUE = 1
    STORED = 2
    CRC = 3


def _byte(value, place):
    """A byte of a value, by a tree of two-way choices: shifters, as Yosys makes them, take thrice the LUTs."""
    if len(value) <= 8:
        return value
    half = 8 << ceil_log2(len(value) // 8) - 1
    return Mux(place[ceil_log2(len(value) // 8) - 1], _byte(value[half:], place), _byte(value[:half], place))


class FrameSender(wiring.Component):
    """Sends an answer byte by byte.

    The CRC is made bit by bit: the line is slower still.

    Throughput: a byte in 13 cycles. Latency: the first byte is offered in the cycle after ``i``.

    Cost on ECP5: about 250 LUTs.

    Parameters
    ----------
    bus_bits : int
        Bits of a word of the store, power of two, 32 to 512.
    max_payload : int
        Bytes of the store, power of two, 64 to `MAX_PAYLOAD`.

    Members
    -------
    i : In(stream(REPLY))
        Taken with the last byte of its frame.
    index : Out(range(words)), word : In(bus_bits)
        The store: a word, in the cycle after its index.
    o : Out(stream(BYTE))
    """

    def __init__(self, bus_bits, max_payload):
        self.bus_bits = check_power_of_two("bus_bits", bus_bits, 32, 512)
        self.max_payload = check_power_of_two("max_payload", max_payload, 64, MAX_PAYLOAD)
        self.words = 8 * max_payload // bus_bits
        super().__init__({"i": In(stream.Signature(REPLY)), "index": Out(range(self.words)), "word": In(bus_bits),
                          "o": Out(stream.Signature(BYTE))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = check = crc.catalog.CRC32_ISO_HDLC(data_width=1).create()
        header, size = self.i.payload.header, self.bus_bits // 8
        part = Signal(_Part)
        place = Signal(range(self.max_payload))         # of the byte in its part
        final = Signal()                                # it is its part's last
        byte = self.o.payload.data
        bit, follows, stored = Signal(3), Signal(_Part), Signal(8)
        m.d.sync += stored.eq(_byte(self.word, place))
        m.d.comb += [self.index.eq(place // size), check.data.eq(byte.bit_select(bit, 1)),
                     follows.eq(Mux(header.count == 0, _Part.CRC,
                                    Mux(self.i.payload.stored, _Part.STORED, _Part.VALUE)))]

        # A cycle to find the byte, one or more to offer it, eight for its CRC, two for the store to find the next.
        with m.FSM():
            with m.State("FIND"):
                with m.Switch(part):
                    with m.Case(_Part.HEADER):
                        m.d.sync += [byte.eq(_byte(header.as_value(), place)),
                                     final.eq(place == HEADER_BYTES - 1)]
                    with m.Case(_Part.VALUE):
                        m.d.sync += [byte.eq(_byte(self.i.payload.value, place)),
                                     final.eq(place + 1 == header.count)]
                    with m.Case(_Part.STORED):
                        m.d.sync += [byte.eq(stored),
                                     final.eq(place + 1 == header.count)]
                    with m.Default():
                        m.d.sync += [byte.eq(_byte(check.crc, place)),
                                     final.eq(place == CRC_BYTES - 1)]
                with m.If(self.i.valid):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.last.eq(final & (part == _Part.CRC)),
                             self.i.ready.eq(self.o.ready & self.o.payload.last)]
                with m.If(self.o.ready):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [check.valid.eq(part != _Part.CRC),
                             check.start.eq((part == _Part.HEADER) & (place == 0) & (bit == 0))]
                m.d.sync += bit.eq(bit + 1)
                with m.If(bit.all()):
                    m.d.sync += place.eq(Mux(final, 0, place + 1))
                    with m.If(final):
                        with m.Switch(part):
                            with m.Case(_Part.HEADER):
                                m.d.sync += part.eq(follows)
                            with m.Case(_Part.VALUE, _Part.STORED):
                                m.d.sync += part.eq(_Part.CRC)
                            with m.Default():
                                m.d.sync += part.eq(_Part.HEADER)
                    m.next = "FETCH"
            with m.State("FETCH"):
                # The store has the new index,
                m.next = "LOAD"
            with m.State("LOAD"):
                # and its word, which is slow, the byte.
                m.next = "FIND"
        return m
