"""A UART: bytes to and from a serial line, eight data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.checks import check_integer

__all__ = ["TOLERANCE", "divisor_of", "UartReceiver", "UartTransmitter"]

TOLERANCE = 0.02
"""Error of the bit rate that a receiver bears, as a fraction."""


def divisor_of(clock, baud):
    """Clock cycles of a bit, from the clock's frequency in hertz and the bit rate.

    Raises
    ------
    ValueError
        If no whole number of at least 8 comes near enough: within half of `TOLERANCE`, so that the other side may be
        off as well.
    """
    divisor = round(clock / baud)
    if divisor < 8:
        raise ValueError(f"baud is {baud}: a clock of {clock} Hz allows at most {int(clock // 8)}")
    if abs(clock / divisor / baud - 1) > TOLERANCE / 2:
        raise ValueError(f"baud is {baud}: a clock of {clock} Hz divided by {divisor} is {clock / divisor:.0f}, "
                         f"too far from it")
    return divisor


class UartReceiver(wiring.Component):
    """Bytes from a serial line.

    Each bit is the majority of three samples, an eighth of a bit apart, around its middle. A start bit that is not low
    there was noise. The line is free for the next start bit from the third sample of the stop bit on, so that a sender
    up to 2 % faster or slower is understood. After a framing error nothing is received until the line is high.

    Latency: a byte is offered ``latency`` cycles after the first cycle in which its start bit is low on ``rx``.

    Cost on ECP5: about 50 LUTs.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, 8 to 65,535.

    Members
    -------
    rx : In(1)
        The line, from any clock domain; high at rest.
    o : Out(stream(8))
        The bytes.
    error : Out(1)
        For one cycle: a byte was lost, as its stop bit was low (a framing error or the begin of a break), or as the one
        before it was not taken in time.
    low : Out(1)
        A break: the line stayed low for a whole byte and is low still.
    """

    def __init__(self, divisor):
        self.divisor = check_integer("divisor", divisor, 8, 65_535)
        self.middle, self.spread = (divisor - 1) // 2, divisor // 8
        # Two cycles of the synchroniser, and a register behind the majority.
        self.latency = 2 + 9 * divisor + self.middle + self.spread + 1
        super().__init__({"rx": In(1), "o": Out(stream.Signature(8)), "error": Out(1), "low": Out(1)})

    def elaborate(self, platform):
        m = Module()
        rx, error = Signal(init=1), Signal()
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, rx, init=1)
        # Cycles since the bit began, and its number: 0 is the start bit, 9 the stop bit.
        count, bit = Signal(range(self.divisor)), Signal(range(10))
        earlier = Signal(2)             # the first two samples of this bit
        value = Signal()                # the bit, if this cycle has its third sample
        byte = Signal(8)
        m.d.comb += [self.error.eq(error), value.eq(earlier.all() | earlier.any() & rx)]
        m.d.sync += error.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                # This very cycle is the start bit's first.
                m.d.sync += [count.eq(1), bit.eq(0)]
                with m.If(~rx):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += count.eq(count + 1)
                with m.If(count == self.divisor - 1):
                    m.d.sync += [count.eq(0), bit.eq(bit + 1)]
                with m.If((count == self.middle - self.spread) | (count == self.middle)):
                    m.d.sync += earlier.eq(Cat(rx, earlier[0]))
                with m.If(count == self.middle + self.spread):
                    with m.If((bit == 0) & value):
                        m.next = "IDLE"
                    with m.Elif(bit == 9):
                        with m.If(value):
                            m.next = "IDLE"
                            with m.If(~self.o.valid | self.o.ready):
                                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(byte)]
                            with m.Else():
                                m.d.sync += error.eq(1)
                        with m.Else():
                            m.d.sync += error.eq(1)
                            m.next = "LOW"
                    with m.Else():
                        m.d.sync += byte.eq(Cat(byte[1:], value))
            with m.State("LOW"):
                m.d.comb += self.low.eq(byte == 0)
                with m.If(rx):
                    m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a serial line.

    Throughput: a byte in 10 * ``divisor`` cycles, without a gap. Latency: a byte's start bit is on ``tx`` in the cycle
    after its transfer. ``ready`` depends on registers only.

    Cost on ECP5: about 30 LUTs.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, 8 to 65,535.

    Members
    -------
    i : In(stream(8))
    tx : Out(1)
        The line, from a register; high at rest and in reset.
    """

    latency = 1

    def __init__(self, divisor):
        self.divisor = check_integer("divisor", divisor, 8, 65_535)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        count, left = Signal(range(self.divisor)), Signal(range(11))
        bits = Signal(9)                # that follow the one on the line; the stop bit comes from behind
        m.d.comb += self.i.ready.eq((left == 0) | (left == 1) & (count == 0))
        with m.If(self.i.ready):
            m.d.sync += left.eq(0)
            with m.If(self.i.valid):
                m.d.sync += [left.eq(10), count.eq(self.divisor - 1), self.tx.eq(0), bits.eq(Cat(self.i.payload, 1))]
        with m.Elif(count == 0):
            m.d.sync += [left.eq(left - 1), count.eq(self.divisor - 1), self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], 1))]
        with m.Else():
            m.d.sync += count.eq(count - 1)
        return m
