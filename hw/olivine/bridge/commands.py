"""Requests to what they ask for, and to their answers."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..memory.axi import Response
from ..memory.checks import check_integer, check_power_of_two
from ..memory.watchdog import Watchdog
from ..program.axi_lite import DATA_BITS
from .frames import (
    ADDRESS_BITS,
    ANSWER,
    HEADER,
    IDENTIFIER,
    IDENTITY,
    MAX_PAYLOAD,
    REGISTER_BYTES,
    RESET_CYCLES,
    STATUS,
    VALUE_BYTES,
    VERSION,
    Code,
    Operation,
)
from .memory_access import is_error, memory_command
from .register_access import REGISTER_ADDRESS, REGISTER_COMMAND
from .sender import REPLY

__all__ = ["Commands"]


class Commands(wiring.Component):
    """Checks a request, has it done, answers.

    A request whose sequence number is the last one's is answered from what is remembered: code, count and value. Reads
    of memory are done again, and ``IDENTIFY`` always is; it forgets the number.

    Cycles: 3 from a request to its answer, and those of its access.

    Cost on ECP5: about 220 LUTs.

    Parameters
    ----------
    addr_width, bus_bits, max_payload : int
        See `MemoryAccess`.
    timeout : int
        Cycles without progress on a bus after which an access is given up, 16 to 2^24 - 1.

    Members
    -------
    i : In(stream(HEADER)), value : In(32)
        The request, and of a write to a register the data. Taken when its answer was.
    o : Out(stream(REPLY))
        The answer.
    status : In(STATUS)
        ``busy`` is not looked at.
    memory : Out(stream(memory_command)), memory_done : In(1), memory_resp : In(Response), memory_progress : In(1),
    memory_abandon : Out(1)
        See `MemoryAccess`.
    register : Out(stream(REGISTER_COMMAND)), register_done : In(1), register_resp : In(Response),
    register_data : In(32)
        See `RegisterAccess`.
    clear : Out(1)
        The reset, for `RESET_CYCLES`.
    """

    def __init__(self, addr_width, bus_bits, max_payload, timeout):
        self.addr_width = check_integer("addr_width", addr_width, 13, ADDRESS_BITS)
        self.bus_bits = check_power_of_two("bus_bits", bus_bits, 32, 512)
        self.max_payload = check_power_of_two("max_payload", max_payload, 64, MAX_PAYLOAD)
        self.timeout = check_integer("timeout", timeout, 16, (1 << 24) - 1)
        words = 8 * max_payload // bus_bits
        super().__init__({
            "i": In(stream.Signature(HEADER)), "value": In(DATA_BITS), "o": Out(stream.Signature(REPLY)),
            "status": In(STATUS),
            "memory": Out(stream.Signature(memory_command(addr_width, bus_bits, words))), "memory_done": In(1),
            "memory_resp": In(Response), "memory_progress": In(1), "memory_abandon": Out(1),
            "register": Out(stream.Signature(REGISTER_COMMAND)), "register_done": In(1), "register_resp": In(Response),
            "register_data": In(DATA_BITS), "clear": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        bits = self.timeout.bit_length()
        m.submodules.watchdog = watchdog = Watchdog(bits)
        request, answer = self.i.payload, self.o.payload
        right = self._check(m, request)

        last, known = Signal(8), Signal()       # the last sequence number, if it counts
        code, count = Signal(8), Signal(16)
        value, stored = Signal(8 * VALUE_BYTES), Signal()
        reset_left = Signal(range(RESET_CYCLES + 1))
        waits = Signal()
        m.d.comb += [
            watchdog.limit.eq(self.timeout), watchdog.waiting.eq(waits), watchdog.progress.eq(self.memory_progress),
            self.clear.eq(reset_left != 0),
            answer.header.eq(request), answer.header.version.eq(VERSION),
            answer.header.operation.eq(request.operation | ANSWER), answer.header.code.eq(code),
            answer.header.count.eq(count), answer.value.eq(value), answer.stored.eq(stored),
            self.memory.payload.write.eq(request.operation == Operation.WRITE_MEMORY),
            self.memory.payload.beat.eq(request.address[:self.addr_width] >> exact_log2(self.bus_bits // 8)),
            self.memory.payload.count.eq(request.count >> exact_log2(self.bus_bits // 8)),
            self.register.payload.write.eq(request.operation == Operation.WRITE_REGISTER),
            self.register.payload.addr.eq(request.address[:REGISTER_ADDRESS]),
            self.register.payload.data.eq(self.value),
        ]
        status = Signal(STATUS)
        m.d.comb += [status.eq(self.status), status.busy.eq(~(self.memory.ready & self.register.ready))]
        identity = Const(IDENTIFIER | self.max_payload << 32 | self.bus_bits // 8 << 48 | self.addr_width << 56,
                         IDENTITY.size)

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.i.valid):
                    m.next = "LOOK"
            with m.State("LOOK"):
                # Comparisons with the request are in registers by the next cycle.
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.next = "ANSWER"
                with m.If(~(known & right["same"])):
                    m.d.sync += [last.eq(request.sequence), known.eq(1), code.eq(Code.OK), count.eq(0), stored.eq(0)]
                    with m.If(~right["version"]):
                        m.d.sync += code.eq(Code.BAD_VERSION)
                    with m.Else():
                        with m.Switch(request.operation):
                            with m.Case(Operation.IDENTIFY):
                                m.d.sync += [known.eq(0), value.eq(identity), count.eq(VALUE_BYTES)]
                            with m.Case(Operation.STATUS):
                                m.d.sync += [value.eq(status), count.eq(VALUE_BYTES)]
                            with m.Case(Operation.RESET):
                                m.d.sync += reset_left.eq(RESET_CYCLES)
                                m.next = "RESET"
                            with m.Case(Operation.READ_REGISTER, Operation.WRITE_REGISTER):
                                self._refuse(m, code, right["register_address"], right["register_count"],
                                             self.register.ready, "REGISTER")
                            with m.Case(Operation.READ_MEMORY, Operation.WRITE_MEMORY):
                                self._refuse(m, code, right["memory_address"], right["memory_count"],
                                             self.memory.ready, "MEMORY")
                            with m.Default():
                                m.d.sync += code.eq(Code.BAD_OPERATION)
            with m.State("RESET"):
                m.d.sync += reset_left.eq(reset_left - 1)
                with m.If(reset_left == 1):
                    m.next = "ANSWER"

            def ended(response):
                with m.If(is_error(response)):
                    m.d.sync += code.eq(Mux(response == Response.SLVERR, Code.SLVERR, Code.DECERR))
                m.next = "ANSWER"

            with m.State("REGISTER"):
                m.d.comb += self.register.valid.eq(1)
                m.next = "REGISTER-WAIT"
            with m.State("REGISTER-WAIT"):
                m.d.comb += waits.eq(1)
                with m.If(self.register_done):
                    ended(self.register_resp)
                    with m.If(~self.register.payload.write & ~is_error(self.register_resp)):
                        m.d.sync += [value.eq(self.register_data), count.eq(REGISTER_BYTES)]
                with m.Elif(watchdog.expired):
                    m.d.sync += code.eq(Code.TIMEOUT)
                    m.next = "ANSWER"
            with m.State("MEMORY"):
                m.d.comb += self.memory.valid.eq(1)
                m.next = "MEMORY-WAIT"
            with m.State("MEMORY-WAIT"):
                m.d.comb += waits.eq(1)
                with m.If(self.memory_done):
                    ended(self.memory_resp)
                    with m.If(~self.memory.payload.write & ~is_error(self.memory_resp)):
                        m.d.sync += [stored.eq(1), count.eq(request.count)]
                with m.Elif(watchdog.expired):
                    m.d.comb += self.memory_abandon.eq(1)
                    m.d.sync += code.eq(Code.TIMEOUT)
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "IDLE"
        m.d.sync += right["same"].eq((request.sequence == last) & (request.operation != Operation.IDENTIFY)
                                     & (request.operation != Operation.READ_MEMORY))
        return m

    def _check(self, m, request):
        """What is right about the request, in registers."""
        right = {name: Signal(name=f"right_{name}") for name in (
            "same", "version", "register_address", "register_count", "memory_address", "memory_count")}
        lanes = exact_log2(self.bus_bits // 8)
        address, count = request.address, request.count
        page = exact_log2(MAX_PAYLOAD)
        low_end = Signal(range(2 * MAX_PAYLOAD + 1))
        m.d.comb += low_end.eq(address[:page] + count[:page + 1])
        m.d.sync += [
            right["version"].eq(request.version == VERSION),
            right["register_address"].eq((address[REGISTER_ADDRESS:] == 0) & (address[:2] == 0)),
            right["register_count"].eq(count == REGISTER_BYTES),
            # Only in the last page of the space can the end lie outside.
            right["memory_address"].eq((address[self.addr_width:] == 0) & (address[:lanes] == 0)
                                       & ~(address[page:self.addr_width].all() & (low_end > MAX_PAYLOAD))),
            right["memory_count"].eq((count != 0) & (count <= self.max_payload) & (count[:lanes] == 0)),
        ]
        return right

    @staticmethod
    def _refuse(m, code, address, count, free, state):
        """Go on to a state, or say what is wrong."""
        with m.If(~address):
            m.d.sync += code.eq(Code.BAD_ADDRESS)
        with m.Elif(~count):
            m.d.sync += code.eq(Code.BAD_COUNT)
        with m.Elif(~free):
            m.d.sync += code.eq(Code.BUSY)
        with m.Else():
            m.next = state
