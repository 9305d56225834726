"""What a bridge does with the bytes that it gets, in Python: for the gateware to be compared with, and for a host to
talk to."""

from olivine.bridge.frames import (
    ANSWER,
    DELIMITER,
    IDENTIFIER,
    IDENTITY,
    REGISTER_BYTES,
    REGISTER_SPACE,
    STATUS,
    VERSION,
    Code,
    Operation,
)
from olivine_host.board.frame import BadFrame, Frame

from tb.streams import pack

__all__ = ["BridgeModel"]


class BridgeModel:
    """A device with memory and registers.

    Parameters
    ----------
    memory : bytearray
    addr_width, bus_bytes, max_payload : int
        See `olivine.bridge.bridge.Bridge`.

    Attributes
    ----------
    registers : dict of int to int
        By offset; reads of others answer DECERR, as do writes.
    done : list of (Operation, address, value or bytes)
        Accesses that were really made, reads with None.
    faults : dict of Operation to Code
        Accesses that the bus answers with an error.
    irq, board, damaged, late, line, resets : int
    """

    def __init__(self, memory, addr_width=16, bus_bytes=8, max_payload=4096):
        self.memory, self.addr_width, self.bus_bytes, self.max_payload = memory, addr_width, bus_bytes, max_payload
        self.registers, self.done, self.faults = {}, [], {}
        self.irq = self.board = self.damaged = self.late = self.line = self.resets = 0
        self.last = None                # (sequence number, answer)
        self._held = b""

    def feed(self, content):
        """Bytes from the line; returns the bytes of the answers."""
        *coded, self._held = (self._held + content).split(bytes([DELIMITER]))
        return b"".join(self.frame(piece) for piece in coded if piece)

    def frame(self, coded):
        """What stood before a delimiter; returns the answer's bytes, none for what is dropped."""
        try:
            frame = Frame.unpack(coded)
            if frame.carries and frame.count > self.max_payload:
                raise BadFrame("it is too long")
        except BadFrame:
            self.damaged += 1
            return b""
        return self.answer(frame)

    def answer(self, frame):
        """The bytes of the answer to a request."""
        again = frame.operation in (Operation.IDENTIFY, Operation.READ_MEMORY)
        if self.last and self.last[0] == frame.sequence and not again:
            code, payload = self.last[1]
        else:
            code, payload = self._do(frame)
            self.last = frame.sequence, (code, payload)
            if frame.operation == Operation.IDENTIFY and code == Code.OK:
                self.last = None
        return Frame(frame.operation | ANSWER, frame.sequence, frame.address, len(payload), payload, code).pack()

    def _do(self, frame):
        if frame.version != VERSION:
            return Code.BAD_VERSION, b""
        if frame.operation not in set(Operation):
            return Code.BAD_OPERATION, b""
        operation = Operation(frame.operation)
        if operation == Operation.IDENTIFY:
            return Code.OK, pack(IDENTITY, {
                "identifier": IDENTIFIER, "max_payload": self.max_payload, "bus_bytes": self.bus_bytes,
                "addr_width": self.addr_width}).to_bytes(8, "little")
        if operation == Operation.STATUS:
            return Code.OK, pack(STATUS, {
                "irq": self.irq, "board": self.board, "damaged": self.damaged & 0xffff, "late": self.late & 0xffff,
                "line": self.line & 0xffff}).to_bytes(8, "little")
        if operation == Operation.RESET:
            self.resets += 1
            return Code.OK, b""
        register = operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER)
        size, space = (REGISTER_BYTES, REGISTER_SPACE) if register else (self.bus_bytes, 1 << self.addr_width)
        outside = frame.address >= space
        if not register:
            # What lies in the last page may reach past the end.
            outside = outside or frame.address >> 12 == (space - 1) >> 12 and \
                frame.address % 4096 + (frame.count & 0x1fff) > 4096
        if frame.address % size or outside:
            return Code.BAD_ADDRESS, b""
        if register and frame.count != size or frame.count % size or not 0 < frame.count <= self.max_payload:
            return Code.BAD_COUNT, b""
        return (self._register if register else self._memory)(operation, frame)

    def _register(self, operation, frame):
        write = operation == Operation.WRITE_REGISTER
        value = int.from_bytes(frame.payload, "little") if write else None
        self.done.append((operation, frame.address, value))
        if code := self.faults.get(operation, Code.OK if frame.address in self.registers else Code.DECERR):
            return code, b""
        if write:
            self.registers[frame.address] = value
            return Code.OK, b""
        return Code.OK, self.registers[frame.address].to_bytes(4, "little")

    def _memory(self, operation, frame):
        place = slice(frame.address, frame.address + frame.count)
        self.done.append((operation, frame.address, frame.payload or None))
        if code := self.faults.get(operation, Code.OK if place.stop <= len(self.memory) else Code.DECERR):
            return code, b""
        if operation == Operation.READ_MEMORY:
            return Code.OK, bytes(self.memory[place])
        self.memory[place] = frame.payload
        return Code.OK, b""
