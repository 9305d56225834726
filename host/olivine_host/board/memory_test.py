"""A board's memory, tested through its bridge: what was written must come back."""

import random
import time
from dataclasses import dataclass

__all__ = ["MemoryReport", "test_memory", "data_lines", "address_lines", "random_blocks", "PATTERNS"]

BLOCK = 4096
"""Bytes of a random block."""


@dataclass(frozen=True)
class MemoryReport:
    """How one pattern went.

    Parameters
    ----------
    name : str
    wrote, read : int
        Bytes.
    seconds_write, seconds_read : float
    wrong : int
        Bytes that came back as others.
    address : int or None
        Of the first wrong byte.
    bits : int
        Bits of a beat in which anything differed.
    """

    name: str
    wrote: int
    read: int
    seconds_write: float
    seconds_read: float
    wrong: int
    address: int | None
    bits: int

    def explain(self, beat):
        """In words; empty if nothing is wrong."""
        if not self.wrong:
            return ""
        lines = [number for number in range(8 * beat) if self.bits >> number & 1]
        which = ", ".join(map(str, lines)) if len(lines) <= 16 else f"{len(lines)} of {8 * beat}"
        return f"{self.wrong:,} wrong bytes, the first at {self.address:#x}; bits of the beat: {which}"


def data_lines(beat, first, size, rng):
    """A one, then a zero, walking through the bits of beats that follow each other; all zeros and all ones between, so
    that every line must change."""
    bits, ones = 8 * beat, (1 << 8 * beat) - 1
    words = [word for bit in range(bits) for word in (1 << bit, 0, ones ^ 1 << bit, ones)]
    content = b"".join(word.to_bytes(beat, "little") for word in words)
    return [(first, content[:size])]


def address_lines(beat, first, size, rng):
    """A mark of its own at the first and the last beat, and at those whose number has one bit set: a line that is
    stuck, open or tied to another makes two of them the same."""
    beats = size // beat
    numbers = {0, beats - 1, *(1 << bit for bit in range((beats - 1).bit_length()))}
    return [(first + number * beat, rng.randbytes(beat)) for number in sorted(numbers)]


def random_blocks(beat, first, size, rng, total=1 << 18):
    """Random bytes in random places, up to ``total``; all of it if that is less."""
    block = min(BLOCK, size)
    places = size // block
    chosen = rng.sample(range(places), min(places, max(1, total // block)))
    return [(first + place * block, rng.randbytes(block)) for place in chosen]


PATTERNS = {"data lines": data_lines, "address lines": address_lines, "random blocks": random_blocks}
"""Functions that give regions, by name: of beats of so many bytes, a first address, a size and a `random.Random`."""


def test_memory(core, first=0, size=None, *, total=1 << 18, seed=1, begin=lambda name: None):
    """Write and read patterns.

    What lies in that memory is lost; no program may run.

    Parameters
    ----------
    core : SerialCore
    first, size : int
        Where, in whole beats; to the end of memory by default.
    total : int
        Random bytes, at most.
    seed : int
    begin : callable
        Called with the name of each pattern before it is run.

    Returns
    -------
    iterator of MemoryReport

    Raises
    ------
    LinkError
    ValueError
        If that is not memory.
    """
    beat = core.config.bus_bytes
    size = core.memory_bytes - first if size is None else size
    if first % beat or size % beat or not 0 <= first < first + size <= core.memory_bytes:
        raise ValueError(f"{size:#x} bytes at {first:#x} cannot be tested: allowed are whole beats of {beat} bytes "
                         f"within {core.memory_bytes:#x}")
    for name, pattern in PATTERNS.items():
        begin(name)
        options = {"total": total} if pattern is random_blocks else {}
        regions = pattern(beat, first, size, random.Random(f"{name} {seed}"), **options)
        began = time.monotonic()
        core.write(*regions)
        written = time.monotonic()
        found = [core.read(address, len(content)) for address, content in regions]
        yield _report(name, regions, found, beat, written - began, time.monotonic() - written)


# pytest would take the function for a test where a test imports it.
test_memory.__test__ = False


def _report(name, regions, found, beat, seconds_write, seconds_read):
    wrong, first, bits = 0, None, 0
    for (address, content), came in zip(regions, found, strict=True):
        if came == content:
            continue
        for at in range(0, len(content), beat):
            differ = int.from_bytes(content[at:at + beat], "little") ^ int.from_bytes(came[at:at + beat], "little")
            if differ:
                bad = [lane for lane in range(beat) if differ >> 8 * lane & 0xff]
                wrong += len(bad)
                first = address + at + bad[0] if first is None else first
                bits |= differ
    total = sum(len(content) for _, content in regions)
    return MemoryReport(name, total, total, seconds_write, seconds_read, wrong, first, bits)
