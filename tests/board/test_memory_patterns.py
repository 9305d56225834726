"""What the patterns of the memory test find: memory in Python with the faults that boards have."""

import random
from types import SimpleNamespace

import pytest
from olivine_host.board.memory_test import PATTERNS, address_lines, data_lines, test_memory

BEAT, SIZE = 8, 1 << 16


class Memory:
    """The part of `SerialCore` that is tested; ``place`` maps addresses of beats, ``come`` changes what is read."""

    config, memory_bytes = SimpleNamespace(bus_bytes=BEAT), SIZE

    def __init__(self, place=lambda address: address, come=lambda address, word: word):
        self.words, self.place, self.come = {}, place, come

    def write(self, *regions):
        for address, content in regions:
            assert address % BEAT == len(content) % BEAT == 0 and address + len(content) <= SIZE
            for at in range(0, len(content), BEAT):
                self.words[self.place(address + at)] = content[at:at + BEAT]

    def read(self, address, size):
        assert address + size <= SIZE
        words = [int.from_bytes(self.words.get(self.place(at), bytes(BEAT)), "little")
                 for at in range(address, address + size, BEAT)]
        return b"".join(self.come(address + at * BEAT, word).to_bytes(BEAT, "little") for at, word in enumerate(words))


def reports(memory, **options):
    return {report.name: report for report in test_memory(memory, **options)}


def test_right():
    seen = []
    found = reports(Memory(), total=1 << 14, begin=seen.append)
    assert seen == list(found) == list(PATTERNS)
    assert all(report.wrong == 0 and report.address is None and report.explain(BEAT) == "" for report in found.values())
    assert found["random blocks"].wrote == 1 << 14


@pytest.mark.parametrize("bit", range(8 * BEAT))
@pytest.mark.parametrize("level", [0, 1])
def test_a_stuck_data_line(bit, level):
    found = reports(Memory(come=lambda _, word: word | 1 << bit if level else word & ~(1 << bit)), total=4096)
    assert found["data lines"].bits == 1 << bit
    assert f"bits of the beat: {bit}" in found["data lines"].explain(BEAT)


@pytest.mark.parametrize("bits", [(0, 1), (5, 63), (30, 33)])
def test_two_data_lines_tied(bits):
    one, other = bits
    both = 1 << one | 1 << other
    found = reports(Memory(come=lambda _, word: word | both if word & both else word), total=4096)
    assert found["data lines"].bits == both


@pytest.mark.parametrize("bit", range(3, 16))
@pytest.mark.parametrize("level", [0, 1])
def test_a_stuck_address_line(bit, level):
    place = (lambda address: address | 1 << bit) if level else (lambda address: address & ~(1 << bit))
    assert reports(Memory(place), total=4096)["address lines"].wrong > 0


@pytest.mark.parametrize("bits", [(3, 4), (5, 15), (9, 10)])
def test_two_address_lines_tied(bits):
    def place(address):
        high = address >> bits[0] & 1 | address >> bits[1] & 1
        return address & ~(1 << bits[0] | 1 << bits[1]) | high << bits[0] | high << bits[1]

    assert reports(Memory(place), total=4096)["address lines"].wrong > 0


def test_one_bad_cell():
    """If a block meets it: of all of memory each does."""
    found = reports(Memory(come=lambda address, word: word ^ 1 << 9 if address == 0x1238 else word), total=SIZE)
    report = found["random blocks"]
    assert (report.wrong, report.address, report.bits) == (1, 0x1239, 1 << 9)
    assert report.explain(BEAT) == "1 wrong bytes, the first at 0x1239; bits of the beat: 9"


def test_many_bits_are_counted():
    found = reports(Memory(come=lambda _, word: word ^ 0xffffff), total=4096)
    assert "bits of the beat: 24 of 64" in found["random blocks"].explain(BEAT)


def test_ranges():
    memory = Memory()
    assert not any(report.wrong for report in test_memory(memory, 0x400, 0x800, total=SIZE))
    assert min(memory.words) >= 0x400 and max(memory.words) < 0xc00
    for first, size in ((4, 8), (0, 12), (0, SIZE + 8), (SIZE, None), (0, 0), (-8, 16)):
        with pytest.raises(ValueError, match="cannot be tested: allowed are whole beats of 8 bytes within 0x10000"):
            list(test_memory(memory, first, size))


def test_small_ranges():
    """Of one beat, and of fewer beats than a walking bit takes."""
    for size in (8, 24, 64):
        assert not any(report.wrong for report in test_memory(Memory(), 0, size))
    assert len(data_lines(8, 0, 64, None)[0][1]) == 64
    assert len(address_lines(8, 0, 8, random.Random(1))) == 1
