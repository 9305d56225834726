"""Frames of the bridge's protocol (`olivine.bridge.frames`), packed and unpacked."""

import struct
import zlib
from dataclasses import dataclass

from olivine.bridge.frames import (
    ANSWER,
    CARRIES,
    COBS_BLOCK,
    CRC_BYTES,
    DELIMITER,
    HEADER_BYTES,
    IDENTITY,
    STATUS,
    VERSION,
    Code,
)

__all__ = ["BadFrame", "Frame", "Identity", "Status", "Splitter", "line_bytes", "stuffed", "unstuffed"]

_HEADER = struct.Struct("<BBBB6sH")


class BadFrame(ValueError):
    """Bytes that are no frame."""


def stuffed(raw):
    """COBS."""
    coded, block = bytearray(), bytearray()
    for byte in raw:
        if byte:
            block.append(byte)
        if not byte or len(block) == COBS_BLOCK:
            coded += bytes([len(block) + 1]) + block
            block.clear()
    if block or not raw or raw[-1] == 0:
        coded += bytes([len(block) + 1]) + block
    return bytes(coded)


def unstuffed(coded):
    """The inverse of `stuffed`."""
    raw, place = bytearray(), 0
    while place < len(coded):
        code = coded[place]
        block = coded[place + 1:place + code]
        if code == 0 or 0 in block or len(block) != code - 1:
            raise BadFrame("its COBS code is wrong")
        raw += block
        place += code
        if code <= COBS_BLOCK and place < len(coded):
            raw.append(0)
    return bytes(raw)


@dataclass(frozen=True)
class Frame:
    """A request or an answer.

    Parameters
    ----------
    operation : int
        With `ANSWER` in an answer.
    sequence, address, count, code, version : int
        See `olivine.bridge.frames.HEADER`.
    payload : bytes
    """

    operation: int
    sequence: int = 0
    address: int = 0
    count: int = 0
    payload: bytes = b""
    code: int = Code.OK
    version: int = VERSION

    @property
    def carries(self):
        """Whether there are ``count`` bytes of payload."""
        return bool(self.operation & (CARRIES | ANSWER))

    def pack(self):
        """Bytes for the line, with the delimiter."""
        if len(self.payload) != (self.count if self.carries else 0):
            raise ValueError(f"count is {self.count}, with {len(self.payload)} bytes of payload")
        raw = _HEADER.pack(self.version, self.sequence, self.operation, self.code, self.address.to_bytes(6, "little"),
                           self.count) + self.payload
        return stuffed(raw + struct.pack("<I", zlib.crc32(raw))) + bytes([DELIMITER])

    @classmethod
    def unpack(cls, coded):
        """A frame from what stood before a delimiter.

        Raises
        ------
        BadFrame
        """
        raw = unstuffed(coded)
        if len(raw) < HEADER_BYTES + CRC_BYTES:
            raise BadFrame(f"it has {len(raw)} bytes")
        if zlib.crc32(raw[:-CRC_BYTES]) != int.from_bytes(raw[-CRC_BYTES:], "little"):
            raise BadFrame("its CRC is wrong")
        version, sequence, operation, code, address, count = _HEADER.unpack_from(raw)
        frame = cls(operation, sequence, int.from_bytes(address, "little"), count, raw[HEADER_BYTES:-CRC_BYTES], code,
                    version)
        if len(frame.payload) != (count if frame.carries else 0):
            raise BadFrame(f"its header announces {count} bytes, it carries {len(frame.payload)}")
        return frame


class Splitter:
    """Cuts what comes from the line into frames.

    Attributes
    ----------
    damaged : int
        Frames that were no frames.
    """

    def __init__(self):
        self._held = bytearray()
        self.damaged = 0

    def feed(self, content):
        """The frames that ``content`` completes."""
        self._held += content
        *coded, self._held = self._held.split(bytes([DELIMITER]))
        frames = []
        for piece in filter(None, coded):
            try:
                frames.append(Frame.unpack(piece))
            except BadFrame:
                self.damaged += 1
        return frames


def line_bytes(payload):
    """Bytes on the line of a frame with ``payload`` bytes, at most, with the delimiters around it."""
    raw = HEADER_BYTES + payload + CRC_BYTES
    return raw + raw // COBS_BLOCK + 3


def _fields(layout, payload):
    if 8 * len(payload) != layout.size:
        raise BadFrame(f"an answer of {len(payload)} bytes, where {layout.size // 8} belong")
    bits = int.from_bytes(payload, "little")
    return {name: bits >> field.offset & (1 << field.width) - 1 for name, field in layout}


@dataclass(frozen=True)
class Identity:
    """What a device is (`olivine.bridge.frames.IDENTITY`)."""

    identifier: int
    max_payload: int
    bus_bytes: int
    addr_width: int

    @classmethod
    def unpack(cls, payload):
        return cls(**_fields(IDENTITY, payload))


@dataclass(frozen=True)
class Status:
    """How a device is (`olivine.bridge.frames.STATUS`)."""

    irq: int
    busy: int
    free: int
    board: int
    damaged: int
    late: int
    line: int

    @classmethod
    def unpack(cls, payload):
        return cls(**_fields(STATUS, payload))

    @property
    def memory_ready(self):
        return bool(self.board & 1)

    @property
    def levels(self):
        """Whether memory is the host's to level (`olivine_host.board.levelling`)."""
        return bool(self.board & 2)
