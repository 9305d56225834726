"""InstructionStore: each unit gets the words of what it asks for, in time, and slots are kept as long as wanted.

Parameters: OLIVINE_BUS_BITS; OLIVINE_BITS, of each unit's descriptors; OLIVINE_TRIALS.
"""

import os
import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge
from olivine.control.instruction import SLOTS, Unit, word_layout, words_of
from olivine.program.store import brought_layout

from tb.streams import pack, start, unpack

BUS_BITS = int(os.environ["OLIVINE_BUS_BITS"])
WORDS = [words_of(int(bits), BUS_BITS) for bits in os.environ["OLIVINE_BITS"].split()]
TRIALS = int(os.environ["OLIVINE_TRIALS"])

test = cocotb.test(timeout_time=20, timeout_unit="ms")


class Bench:
    """Who writes instructions, and units that ask for theirs. ``pace`` is the chance of what may happen in a cycle."""

    def __init__(self, dut, pace):
        self.dut, self.pace, self.rng = dut, pace, random.Random(f"store {pace}")

    def maybe(self):
        return self.rng.random() < self.pace

    async def run(self, count, favoured=None):
        """``count`` instructions, of all units or of one. Returns the cycle in which each was taken."""
        dut, rng, layout = self.dut, self.rng, word_layout(BUS_BITS)
        wanted = [deque() for _ in Unit]        # index and words of what is kept for each unit
        held, index, words = set(), 0, None     # slots that are not free; what is written, and what is left of it
        reading, due, taken_at = None, {}, {}       # ``due``: unit, word and whether it is the last, by cycle
        ends = -1       # the cycle in which the last word of what was taken is read
        for now in range(200 * count):
            word = {"valid": 0, "slot": index % SLOTS, "place": 0, "data": rng.getrandbits(BUS_BITS)}
            kept = {"valid": 0, "slot": rng.randrange(SLOTS)}
            unit = None
            if index < count:
                if words is None:
                    owner = rng.randrange(len(Unit)) if favoured is None else favoured
                    content = [rng.getrandbits(BUS_BITS) for _ in range(WORDS[owner])]
                    words = deque(enumerate(content))
                if words and index % SLOTS not in held and self.maybe():
                    word["valid"], (word["place"], word["data"]) = 1, words.popleft()
                elif not words and self.maybe():
                    kept, unit = {"valid": 1, "slot": index % SLOTS}, owner
            asking = [bool(queue) and self.maybe() for queue in wanted]
            slots = [queue[0][0] % SLOTS if queue else rng.randrange(SLOTS) for queue in wanted]
            dut.i.value, dut.kept.value = pack(layout, word), kept["valid"] | kept["slot"] << 1
            dut.asks.value = sum(asks << number for number, asks in enumerate(asking))
            dut.slots.value = sum(slot << (SLOTS - 1).bit_length() * number for number, slot in enumerate(slots))
            await RisingEdge(dut.clk)

            assert int(dut.room.value) == (index % SLOTS not in held), "room"
            for number in range(len(Unit)):
                got = unpack(brought_layout(BUS_BITS), int(getattr(dut, f"o__{number}").value))
                unit_due, *expected = due.get(now, (None,))
                assert got["valid"] == (unit_due == number), f"unit {number}, cycle {now}"
                if unit_due == number:
                    assert [got["data"], bool(got["last"])] == expected, f"unit {number}, cycle {now}"
            taken = int(dut.taken.value)
            # One is served at a time: the next may be taken in the cycle before the last word, which is two behind
            # its reading. Of those that ask the first.
            first = next((number for number, asks in enumerate(asking) if asks), None) if now > ends else None
            assert taken == (0 if first is None else 1 << first), f"cycle {now}"
            if now == ends:
                held.discard(reading)
            if first is not None:
                number, brought = wanted[first].popleft()
                reading, ends = number % SLOTS, now + len(brought)
                due |= {now + 3 + place: (first, value, place == len(brought) - 1)
                        for place, value in enumerate(brought)}
                taken_at[number] = now
            if unit is not None:
                held.add(index % SLOTS)
                wanted[unit].append((index, content))
                index, words = index + 1, None
            if len(taken_at) == count and now > ends + 3:
                return taken_at
        raise AssertionError(f"hangs: {index} written, {len(taken_at)} taken")


@test
@cocotb.parametrize(pace=[0.2, 0.6, 1.0])
async def words_for_units(dut, pace):
    """Of all units, and so many of one that slots run out."""
    await start(dut)
    bench = Bench(dut, pace)
    for _ in range(TRIALS):
        await bench.run(40)
        await bench.run(20, favoured=bench.rng.randrange(len(Unit)))


@test
async def rate(dut):
    """A unit that always has room is taken once in as many cycles as there are words, and one."""
    await start(dut)
    for unit in Unit:
        taken = await Bench(dut, 1.0).run(6, favoured=unit.value)
        times = sorted(taken.values())
        assert all(later - earlier == WORDS[unit.value] + 1 for earlier, later in zip(times, times[1:]))
