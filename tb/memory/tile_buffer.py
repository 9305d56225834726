"""Tile buffer and beat memory, against a list of words, cycle by cycle.

Parameters: OLIVINE_DEPTH (words), OLIVINE_WORD, OLIVINE_BEAT (bytes), OLIVINE_UNIT ("ring" or "memory").
"""

import os
import random

import cocotb
from cocotb.triggers import RisingEdge

from tb.streams import PATTERNS, start

DEPTH, WORD, BEAT = (int(os.environ[f"OLIVINE_{name}"]) for name in ("DEPTH", "WORD", "BEAT"))
BEATS = WORD // BEAT


def join(beats):
    """A word of its beats, beat 0 in the low bytes."""
    return sum(beat << 8 * BEAT * index for index, beat in enumerate(beats))


def drive(dut, name, value):
    """Drive a port, which is not there where it would have no bits."""
    if hasattr(dut, name):
        getattr(dut, name).value = value


class Ring:
    """The tile buffer and its model, in step."""

    def __init__(self, dut, seed):
        self.dut, self.rng = dut, random.Random(seed)
        self.words, self.beats = [], []     # complete words held, beats of the word that grows
        self.offered = None                 # the beat that is waiting
        self.asked = None                   # what `o` must be in this cycle
        self.completed = 0
        dut.i__valid.value = dut.i__payload.value = dut.offset.value = dut.release.value = 0

    async def cycle(self, offer, offset=None, release=False):
        """Drive one cycle and check it; returns the number of beats taken.

        Parameters
        ----------
        offer : bool
            Offer a beat; one that was not taken stays anyway.
        offset : int
            Word to ask for; anything may be asked for without being looked at.
        release : bool
            Give the word at the base back, if there is one.
        """
        dut, rng = self.dut, self.rng
        if offer and self.offered is None:
            self.offered = rng.getrandbits(8 * BEAT)
        asks = offset is not None and offset < len(self.words)
        release = release and bool(self.words)
        dut.i__valid.value = int(self.offered is not None)
        dut.i__payload.value = rng.getrandbits(8 * BEAT) if self.offered is None else self.offered
        dut.offset.value = offset if asks else rng.randrange(DEPTH)
        dut.release.value = int(release)
        await RisingEdge(dut.clk)
        ready = int(dut.i__ready.value)
        assert int(dut.level.value) == len(self.words)
        assert ready == (len(self.words) < DEPTH), f"ready is {ready} with {len(self.words)} words"
        if self.asked is not None:
            assert int(dut.o.value) == self.asked, "the wrong word"
        self.asked = self.words[offset] if asks else None
        taken = self.offered is not None and ready
        if taken:
            self.beats.append(self.offered)
            self.offered = None
        if release:
            self.words.pop(0)
        if len(self.beats) == BEATS:
            self.words.append(join(self.beats))
            self.beats, self.completed = [], self.completed + 1
        return int(taken)


async def fills_replays_releases(dut, pattern):
    """Everything at once: beats as the pattern has them, words asked for in any order, and released."""
    ring, willing = Ring(dut, f"walk {pattern}"), PATTERNS[pattern](1)
    await start(dut)
    full = replayed = 0
    # Phases in which the ring runs full, runs empty, and neither.
    phase = max(60, 4 * DEPTH * BEATS)
    for cycle in range(1500):
        release = ring.rng.random() < (0.02, 1, 0.8 / BEATS)[cycle // phase % 3]
        offset = ring.rng.randrange(len(ring.words)) if ring.words and ring.rng.random() < 0.9 else None
        replayed += offset is not None
        full += len(ring.words) == DEPTH
        await ring.cycle(next(willing), offset, release)
    assert ring.completed > 3 * DEPTH and replayed > 100, "hardly anything happened"
    assert full or pattern == "rare"


async def newest_word_at_once(dut):
    """A word is asked for in the very cycle after its last beat, all around the ring."""
    ring = Ring(dut, 2)
    await start(dut)
    known = 0
    for _ in range(6 * DEPTH * BEATS):
        newest = len(ring.words) - 1 if ring.completed > known else None
        known = ring.completed
        await ring.cycle(True, newest, release=newest == DEPTH - 1)
    assert known > DEPTH


async def one_word_a_cycle(dut):
    """Beats enter in every cycle while words leave as they become complete."""
    ring = Ring(dut, 3)
    await start(dut)
    cycles = 10 * DEPTH * BEATS
    taken = 0
    for _ in range(cycles):
        taken += await ring.cycle(True, 0, release=True)
    assert taken == cycles


async def full_is_not_ready(dut):
    """A full ring takes nothing, loses nothing, and takes the next beat in the cycle after a release."""
    ring = Ring(dut, 4)
    await start(dut)
    taken = 0
    for _ in range(DEPTH * BEATS + 10):
        taken += await ring.cycle(True)
    assert taken == DEPTH * BEATS
    for round_ in range(3 * DEPTH):
        for offset in range(DEPTH):
            assert not await ring.cycle(True, offset)
        assert not await ring.cycle(True, 0, release=True)
        for _ in range(BEATS):
            assert await ring.cycle(True, ring.rng.randrange(DEPTH - 1)), round_
        assert not await ring.cycle(True, DEPTH - 1)


async def places_beats(dut):
    """The memory alone: beats in any order and place. A read of the row that is written may see anything."""
    rng = random.Random(5)
    words = [[0] * BEATS for _ in range(DEPTH)]
    dut.write_enable.value = dut.write_data.value = dut.write_addr.value = dut.addr.value = 0
    drive(dut, "write_beat", 0)
    await start(dut)
    asked = None
    for _ in range(3000):
        enable, address, beat = rng.random() < 0.7, rng.randrange(DEPTH), rng.randrange(BEATS)
        data = rng.getrandbits(8 * BEAT)
        read = address if rng.random() < 0.5 else rng.randrange(DEPTH)
        dut.write_enable.value, dut.write_addr.value, dut.write_data.value = int(enable), address, data
        drive(dut, "write_beat", beat)
        dut.addr.value = read
        await RisingEdge(dut.clk)
        if asked is not None:
            assert int(dut.o.value) == asked
        asked = None if enable and read == address else join(words[read])
        if enable:
            words[address][beat] = data


if os.environ["OLIVINE_UNIT"] == "ring":
    fills_replays_releases = cocotb.test()(cocotb.parametrize(pattern=list(PATTERNS))(fills_replays_releases))
    newest_word_at_once = cocotb.test()(newest_word_at_once)
    one_word_a_cycle = cocotb.test()(one_word_a_cycle)
    full_is_not_ready = cocotb.test()(full_is_not_ready)
else:
    places_beats = cocotb.test()(places_beats)
