"""The bridge without its UART: bytes of requests in, bytes of answers out."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.axi import AXI4
from ..program.axi_lite import AXI4Lite
from ..stream import read_later
from .cobs import CobsDecoder, CobsEncoder
from .commands import Commands
from .frames import MAX_PAYLOAD
from .memory_access import MemoryAccess
from .receiver import COUNT_BITS, FrameReceiver
from .register_access import REGISTER_ADDRESS, RegisterAccess
from .sender import FrameSender

__all__ = ["Responder"]


class Responder(wiring.Component):
    """Does what frames ask for (`olivine.bridge.frames`), one at a time.

    ::

        i -> CobsDecoder -> FrameReceiver --header--> Commands -> RegisterAccess -> host
                                 |                     |    +---> MemoryAccess ---> memory
                              payload ---> store <-----|---------------+
                                             |         v
        o <- CobsEncoder <-------------- FrameSender <- answer

    Throughput: a byte a cycle in, 13 cycles a byte out. From a request's delimiter to the first byte of its answer: 9
    cycles, those of the access, and 13 for each byte of the first COBS block, at most 254.

    Stalls: ``i`` never waits: what arrives while a request is at work is dropped.

    Parameters
    ----------
    addr_width : int
        Bits of memory's addresses, 13 to 48: requests beyond are refused, so give it as many as there is memory.
    bus_bits : int
        Power of two, 32 to 512.
    id_width : int
        Bits of the ID on ``memory``, which is 0.
    max_payload : int
        Bytes of a frame's payload at most, power of two, 64 to `MAX_PAYLOAD`.
    timeout : int
        Cycles of a silent bus after which an access is given up, 16 to 2^24 - 1.

    Members
    -------
    i : In(stream(8))
        Always ready.
    lost : In(1)
        A byte was lost on the line, behind those that were transferred before.
    o : Out(stream(8))
    host : Out(AXI4Lite(12))
        The core's registers.
    memory : Out(AXI4(addr_width, bus_bits, id_width))
    irq : In(1)
        The core's interrupt.
    board : In(8)
        Bits for the host to see; bit 0: memory is ready.
    reset : Out(1)
        For `RESET_CYCLES`, on request. Everything behind ``host`` and ``memory`` is to be reset by it, the memory
        controller's ports too: accesses of the bridge itself that are at work are forgotten.
    """

    def __init__(self, addr_width, bus_bits, id_width=1, max_payload=MAX_PAYLOAD, timeout=100_000):
        self.commands = Commands(addr_width, bus_bits, max_payload, timeout)
        self.memory_access = MemoryAccess(addr_width, bus_bits, max_payload, id_width)
        self.addr_width, self.bus_bits, self.id_width = addr_width, bus_bits, id_width
        self.max_payload, self.timeout = max_payload, timeout
        super().__init__({
            "i": In(stream.Signature(8)), "lost": In(1), "o": Out(stream.Signature(8)),
            "host": Out(AXI4Lite(REGISTER_ADDRESS)), "memory": Out(AXI4(addr_width, bus_bits, id_width)), "irq": In(1),
            "board": In(8), "reset": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.receiver = receiver = FrameReceiver(self.bus_bits, self.max_payload)
        m.submodules.commands = commands = self.commands
        access, registers = self.memory_access, RegisterAccess()
        m.submodules.memory_access = ResetInserter(commands.clear)(access)
        m.submodules.register_access = ResetInserter(commands.clear)(registers)
        m.submodules.sender = sender = FrameSender(self.bus_bits, self.max_payload)
        m.submodules.encoder = encoder = CobsEncoder()
        m.submodules.store = store = memory.Memory(shape=self.bus_bits, depth=receiver.words, init=[])

        line_errors = Signal(COUNT_BITS)
        m.d.comb += [
            decoder.spoil.eq(self.lost), receiver.i.eq(decoder.o), commands.value.eq(receiver.value),
            commands.status.irq.eq(self.irq), commands.status.board.eq(self.board),
            commands.status.damaged.eq(receiver.damaged), commands.status.late.eq(receiver.late),
            commands.status.line.eq(line_errors),
            commands.memory_done.eq(access.done), commands.memory_resp.eq(access.resp),
            commands.memory_progress.eq(access.progress), access.abandon.eq(commands.memory_abandon),
            commands.register_done.eq(registers.done), commands.register_resp.eq(registers.resp),
            commands.register_data.eq(registers.data), self.reset.eq(commands.clear),
        ]
        m.d.sync += line_errors.eq(line_errors + self.lost)
        flipped = wiring.flipped
        for source, target in (
                (flipped(self.i), decoder.i), (receiver.o, commands.i), (commands.o, sender.i), (sender.o, encoder.i),
                (encoder.o, flipped(self.o)), (commands.memory, access.i), (commands.register, registers.i),
                (registers.bus, flipped(self.host)), (access.port, flipped(self.memory))):
            wiring.connect(m, source, target)

        # One side at a time has the store: a request's bytes are in it before the access, the answer's behind.
        write = store.write_port()
        word = read_later(m, store, Mux(commands.o.valid, sender.index, access.index), write)
        written = Signal(receiver.store.shape())
        m.d.comb += [
            written.eq(Mux(access.store.valid, access.store, receiver.store)),
            write.en.eq(written.valid), write.addr.eq(written.index), write.data.eq(written.data),
            sender.word.eq(word), access.word.eq(word),
        ]
        return m
