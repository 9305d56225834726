"""Memory images as the files that ``$readmemh`` and ``$writememh`` know: one word a line, in hex."""

import re

__all__ = ["FILL", "write_image", "read_image", "Undefined"]

FILL = 0xA5
"""What bytes hold that no region gives: a result that was never written must not look right."""


class Undefined(ValueError):
    """A simulator read back bits that were never given a value."""


def _lines(data, word_bytes):
    """Words, the first byte least significant; ``data`` is whole words."""
    backwards = bytearray(len(data))
    for byte in range(word_bytes):
        backwards[word_bytes - 1 - byte::word_bytes] = data[byte::word_bytes]
    return backwards.hex("\n", word_bytes)


def write_image(path, regions, word_bytes):
    """Write regions (address, bytes), in whole words, filled with `FILL`.

    Raises ValueError if two regions share a word.
    """
    end = 0
    with open(path, "w") as file:
        for address, data in sorted(regions, key=lambda region: region[0]):
            head = address % word_bytes
            if address - head < end:
                raise ValueError(f"the region at address {address} shares a bus word with the one before it")
            tail = -(head + len(data)) % word_bytes
            data = bytes([FILL]) * head + bytes(data) + bytes([FILL]) * tail
            end = address - head + len(data)
            file.write(f"@{(address - head) // word_bytes:x}\n{_lines(data, word_bytes)}\n")


def read_image(path, word_bytes):
    """The bytes of a file that ``$writememh`` wrote.

    Raises
    ------
    Undefined
        If a bit is X or Z.
    """
    words = []
    for line in open(path):
        line = line.split("//")[0]
        if not line.startswith("@"):
            words += line.split()
    for index, word in enumerate(words):
        if not re.fullmatch(r"[0-9a-fA-F]+", word):
            raise Undefined(f"word {index} is {word}")
    return b"".join(int(word, 16).to_bytes(word_bytes, "little") for word in words)
