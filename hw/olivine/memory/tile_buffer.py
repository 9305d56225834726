"""Ring of lane words between the bus and the array: filled beat by beat, replayed, released."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..stream.later import read_later

__all__ = ["BeatMemory", "TileBuffer"]


class BeatMemory(wiring.Component):
    """Memory that is written a bus beat at a time and read a whole word at a time.

    Parameters
    ----------
    depth : int
        Words.
    word_bytes, beat_bytes : int
        A word holds a whole number of beats, beat 0 in the low bytes (byte-enable banks).

    Members
    -------
    write_enable, write_addr, write_beat, write_data
        Put ``write_data`` into beat ``write_beat`` of word ``write_addr``.
    addr : In, o : Out
        ``o`` is word ``addr`` of the cycle before; it is undefined if that word was written in the same cycle.

    Cost: 8 * depth * word_bytes memory bits, one write and one read port.
    """

    def __init__(self, depth, word_bytes, beat_bytes):
        if word_bytes % beat_bytes:
            raise ValueError(f"word_bytes is {word_bytes!r}: must be a multiple of beat_bytes {beat_bytes!r}")
        self.depth, self.word_bytes, self.beat_bytes = depth, word_bytes, beat_bytes
        self.beats = word_bytes // beat_bytes
        super().__init__({
            "write_enable": In(1), "write_addr": In(range(depth)), "write_beat": In(range(self.beats)),
            "write_data": In(8 * beat_bytes), "addr": In(range(depth)), "o": Out(8 * word_bytes),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8 * self.word_bytes, depth=self.depth, init=[])
        write = memory.write_port(granularity=8 * self.beat_bytes)
        m.d.comb += [
            write.addr.eq(self.write_addr),
            write.data.eq(self.write_data.replicate(self.beats)),
            write.en.eq(self.write_enable << self.write_beat),
            self.o.eq(read_later(m, memory, self.addr, write)),
        ]
        return m


class TileBuffer(wiring.Component):
    """Ring of words: a stream of beats fills it, a reader replays from its base and moves the base on.

    Parameters
    ----------
    depth : int
        Words, a power of two.
    word_bytes, beat_bytes : int

    Members
    -------
    i : In(stream(beat))
        The next beat; a word's beats come in order. Stalls while every word is held.
    level : Out(range(depth + 1))
        Complete words held, from the base on.
    offset : In(range(depth)), o : Out(word)
        ``o`` is the word ``offset`` words past the base, of the cycle before. Ask only below ``level``.
    release : In(1)
        Give the word at the base back: the base moves on by one for the next cycle.

    Throughput: one beat in and one word out a cycle. A word may be asked for in the cycle after its
    last beat was taken.
    """

    def __init__(self, depth, word_bytes, beat_bytes):
        if depth & (depth - 1) or depth < 2:
            raise ValueError(f"depth is {depth!r}: must be a power of two of at least 2")
        self.depth, self.word_bytes, self.beat_bytes = depth, word_bytes, beat_bytes
        super().__init__({
            "i": In(stream.Signature(8 * beat_bytes)),
            "level": Out(range(depth + 1)),
            "offset": In(range(depth)), "o": Out(8 * word_bytes), "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = BeatMemory(self.depth, self.word_bytes, self.beat_bytes)
        base, head = Signal(range(self.depth)), Signal(range(self.depth))
        beat = Signal(range(memory.beats))
        taken, complete, full = Signal(), Signal(), Signal()    # ``full``: ``level`` is ``depth``
        m.d.comb += [
            self.i.ready.eq(~full), taken.eq(self.i.valid & self.i.ready),
            # That a beat comes is known late. What is written before is of a word that nobody asks for yet.
            memory.write_enable.eq(self.i.ready),
            memory.write_addr.eq(head), memory.write_beat.eq(beat), memory.write_data.eq(self.i.payload),
            complete.eq(taken & (beat == memory.beats - 1)),
            memory.addr.eq(base + self.offset), self.o.eq(memory.o),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(beat == memory.beats - 1, 0, beat + 1))
        # ``release`` comes late: it chooses between sums that are there.
        m.d.sync += [head.eq(head + complete), self.level.eq(Mux(self.release, self.level + complete - 1,
                                                                 self.level + complete))]
        m.d.sync += full.eq(~self.release & (full | complete & (self.level == self.depth - 1)))
        with m.If(self.release):
            m.d.sync += base.eq(base + 1)
        return m
