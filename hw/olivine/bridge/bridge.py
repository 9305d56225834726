"""The serial host bridge: a UART on one side, the core's registers and memory on the other."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..memory.axi import AXI4
from ..program.axi_lite import AXI4Lite
from .frames import MAX_PAYLOAD
from .register_access import REGISTER_ADDRESS
from .responder import Responder
from .uart import UartReceiver, UartTransmitter

__all__ = ["Bridge"]


class Bridge(wiring.Component):
    """A `Responder` on a serial line.

    Throughput: the line's, a byte in 10 * ``divisor`` cycles, each way in turn.

    Cost on ECP5 with a bus of 64 bits and 32 address bits: 1,214 LUTs beside 141 carry cells, 3 DP16KD.

    Parameters
    ----------
    divisor : int
        Cycles of a bit, at least 8 (`divisor_of`).
    addr_width, bus_bits, id_width, max_payload, timeout : int
        See `Responder`.

    Members
    -------
    rx : In(1), tx : Out(1)
        The line; ``rx`` from any clock domain.
    host, memory, irq, board, reset
        See `Responder`.
    """

    def __init__(self, addr_width, bus_bits, divisor, id_width=1, *, max_payload=MAX_PAYLOAD, timeout=100_000):
        self.uart_receiver, self.uart_transmitter = UartReceiver(divisor), UartTransmitter(divisor)
        self.responder = Responder(addr_width, bus_bits, id_width, max_payload, timeout)
        self.addr_width, self.bus_bits, self.divisor, self.id_width = addr_width, bus_bits, divisor, id_width
        self.max_payload, self.timeout = max_payload, timeout
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "host": Out(AXI4Lite(REGISTER_ADDRESS)),
            "memory": Out(AXI4(addr_width, bus_bits, id_width)), "irq": In(1), "board": In(8), "reset": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart_receiver = receiver = self.uart_receiver
        m.submodules.uart_transmitter = transmitter = self.uart_transmitter
        m.submodules.responder = responder = self.responder
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), responder.lost.eq(receiver.error),
            responder.irq.eq(self.irq), responder.board.eq(self.board), self.reset.eq(responder.reset),
        ]
        for source, target in ((receiver.o, responder.i), (responder.o, transmitter.i),
                               (responder.host, wiring.flipped(self.host)),
                               (responder.memory, wiring.flipped(self.memory))):
            wiring.connect(m, source, target)
        return m
