"""The protocol of the serial bridge, declared once: gateware, host, testbenches and documentation read it here.

The host asks, the device answers: one request at a time, each answered under its own sequence number. A *frame* is a
header, ``count`` bytes of payload where the operation carries some, and a CRC-32 of both (ISO-HDLC: that of zlib and
Ethernet), all little-endian; on the line it is COBS-encoded, so that it has no zero byte, and a zero byte ends it. So
whatever was lost or garbled, both sides agree again from the next zero byte on. Zero bytes between frames mean nothing.

**Dropped.** A frame is dropped without an answer, and counted, if bytes of it were lost on the line, its COBS code ends
early, its CRC is wrong, its length is not what its header says, it carries more than the device's largest payload, or
it arrives while the device works on another. The host asks again after a time.

**Asked again.** A request with the sequence number of the last one is answered from what was done then: a write to a
register happens once however often the host has to ask. Only reads of memory are done again, and ``IDENTIFY``, which
also makes the device forget the last number: so a host begins with it, whatever another host before it did. Its
address may be anything and comes back: by it a host knows the answer to its own question.

**Refused.** An illegal request is answered with a `Code` and nothing is done. So is one of another version, whose
``IDENTIFY`` has the same form.
"""

import enum

from amaranth.hdl import unsigned
from amaranth.lib import data

__all__ = ["VERSION", "IDENTIFIER", "DELIMITER", "COBS_BLOCK", "ANSWER", "CARRIES", "Operation", "Code", "HEADER",
           "HEADER_BYTES", "CRC_BYTES", "ADDRESS_BITS", "VALUE_BYTES", "STATUS", "IDENTITY", "REGISTER_BYTES",
           "REGISTER_SPACE", "RESET_CYCLES", "MAX_PAYLOAD"]

VERSION = 1

IDENTIFIER = int.from_bytes(b"OLVB", "little")

DELIMITER = 0
"""The byte that ends a frame."""

COBS_BLOCK = 254
"""Bytes of a COBS block, at most, beside its code."""

CARRIES = 0x10
"""Bit of an operation whose request carries ``count`` bytes."""

ANSWER = 0x80
"""Bit of an operation in an answer, which always carries ``count`` bytes."""


class Operation(enum.IntEnum):
    """What is asked."""

    IDENTIFY = 0x00
    """Answers `IDENTITY`, and forgets the last sequence number."""
    STATUS = 0x01
    """Answers `STATUS`."""
    RESET = 0x02
    """Resets the core and whatever shares its buses, for `RESET_CYCLES`."""
    READ_REGISTER = 0x03
    """``count`` is 4, ``address`` a multiple of 4 below 4,096."""
    READ_MEMORY = 0x04
    """``count`` bytes: whole beats, at most the largest payload, as is ``address``."""
    WRITE_REGISTER = 0x13
    """As `READ_REGISTER`."""
    WRITE_MEMORY = 0x14
    """As `READ_MEMORY`. Nothing is written before the whole frame is there and right."""


class Code(enum.IntEnum):
    """What became of a request; in a request 0."""

    OK = 0
    BAD_VERSION = 1
    """The device speaks the version that the answer's header has."""
    BAD_OPERATION = 2
    BAD_ADDRESS = 3
    """Not a multiple of what is accessed, or outside."""
    BAD_COUNT = 4
    SLVERR = 5
    """The bus answered so. Of memory, other bytes of the request may have been written."""
    DECERR = 6
    TIMEOUT = 7
    """The bus was silent; what was not written yet never will be."""
    BUSY = 8
    """The bus still owes answers to an access that timed out. A reset ends it."""


ADDRESS_BITS = 48

HEADER = data.StructLayout({"version": unsigned(8), "sequence": unsigned(8), "operation": unsigned(8),
                            "code": unsigned(8), "address": unsigned(ADDRESS_BITS), "count": unsigned(16)})
"""First field first on the line. An answer has its request's sequence number and address, ``count`` of its own."""

HEADER_BYTES = HEADER.size // 8
CRC_BYTES = 4

MAX_PAYLOAD = 4096
"""Bytes of payload of any frame, at most; a device may have less room (`IDENTITY`)."""

IDENTITY = data.StructLayout({"identifier": unsigned(32), "max_payload": unsigned(16), "bus_bytes": unsigned(8),
                              "addr_width": unsigned(8)})
"""What the device is: `IDENTIFIER`, its largest payload, bytes of a beat, bits of a memory address."""

STATUS = data.StructLayout({"irq": unsigned(1), "busy": unsigned(1), "free": unsigned(6), "board": unsigned(8),
                            "damaged": unsigned(16), "late": unsigned(16), "line": unsigned(16)})
"""The core's interrupt; whether a bus owes answers to an access that timed out; the board's own bits, of which bit 0
says that memory is ready, and bit 1 that the host has to level it before it is; and three counts that wrap: frames
dropped because they were damaged, frames dropped because the device was at work, and errors of the line (framing,
breaks, lost bytes)."""

VALUE_BYTES = 8
"""Payload of an answer that is not memory, at most: `IDENTITY` and `STATUS` have so many."""

REGISTER_BYTES = 4
REGISTER_SPACE = 4096

RESET_CYCLES = 16
