"""Between beats as they lie in memory and words packed from element 0.

A transfer that starts at place ``head`` of its first beat needs every byte moved by the same
distance. Each beat is rotated once; then a word takes some bytes from one rotated beat and the rest
from the next, chosen by a mask that is constant for the whole transfer.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from .checks import check_power_of_two

__all__ = ["words", "rotated_beats", "rotate_down", "rotate_up", "Packer"]


def words(bus_bytes):
    """Packed data: ``count`` valid bytes from element 0 on; ``last`` ends a command. All words of a
    command are full but its last."""
    return data.StructLayout({"data": data.ArrayLayout(8, bus_bytes), "count": range(bus_bytes + 1),
                              "last": unsigned(1)})


def rotated_beats(bus_bytes):
    """Beats of commands, rotated down by ``head``: where the command's first byte lay in its first beat,
    its last byte in its last beat (``tail``), and the mark of the last beat. ``head`` and ``tail`` are
    constant during a command."""
    lane_bits = exact_log2(bus_bytes)
    return data.StructLayout({"data": unsigned(8 * bus_bytes), "head": unsigned(lane_bits),
                              "tail": unsigned(lane_bits), "last": unsigned(1)})


def _rotate(value, distance, left):
    """Rotate by bytes, one multiplexer stage per bit of ``distance``."""
    value = value.as_value() if hasattr(value, "as_value") else value
    for stage in range(len(distance)):
        moved = value.rotate_left(8 << stage) if left else value.rotate_right(8 << stage)
        value = Mux(distance[stage], moved, value)
    return value


def rotate_down(value, distance):
    """Byte ``distance`` comes to place 0."""
    return _rotate(value, distance, left=False)


def rotate_up(value, distance):
    """Byte 0 comes to place ``distance``."""
    return _rotate(value, distance, left=True)


class Packer(wiring.Component):
    """Packs rotated beats into words.

    Cycle budget: one beat in and one word out a cycle; a word leaves one cycle after the beat that
    completes it. The first beat of an unaligned command completes no word unless it is also the last;
    the last beat may complete two, and the second leaves a cycle later, in which the first beat of
    another unaligned command may enter.

    Parameters
    ----------
    bus_bytes : int
        Power of two, 2 to 128.

    Members
    -------
    i : In(stream(rotated_beats))
    o : Out(stream(words))
        Registered. Bytes past ``count`` are undefined.
    flush : In(1)
        Forgets what is held; ``o.valid`` is low from the next cycle on. Beats taken meanwhile are lost.
    idle : Out(1)
        Nothing is held.

    Cost: two registers of a beat; a multiplexer of two for each bit.
    """

    def __init__(self, bus_bytes):
        self.bus_bytes = check_power_of_two("bus_bytes", bus_bytes, 2, 128)
        super().__init__({
            "i": In(stream.Signature(rotated_beats(bus_bytes))),
            "o": Out(stream.Signature(words(bus_bytes))),
            "flush": In(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        size = self.bus_bytes
        beat = self.i.payload

        inside = Signal()               # the command's first beat was taken, its last not
        carry = Signal(8 * size)        # the previous beat, rotated
        rest = Signal()                 # the carry holds a command's last word
        rest_count = Signal(range(size))
        word = Signal(words(size))
        valid = Signal()
        m.d.comb += [self.o.payload.eq(word), self.o.valid.eq(valid), self.idle.eq(~inside & ~rest & ~valid)]

        shifted = Signal()
        absorbs, advance = Signal(), Signal()
        m.d.comb += [
            shifted.eq(beat.head != 0),
            absorbs.eq(~inside & shifted & ~beat.last),
            advance.eq(~valid | self.o.ready),
            self.i.ready.eq(advance & (~rest | absorbs)),
        ]

        # Bytes of the merged word that come from the carry: the lower size - head of a later beat.
        merged = [Mux(inside & shifted & (place + beat.head < size), carry.word_select(place, 8),
                      beat.data.word_select(place, 8)) for place in range(size)]
        # The last beat's bytes: from head on if it is the only one, else from its start.
        spills = Signal()
        count = Signal(range(size + 1))
        m.d.comb += [
            spills.eq(inside & shifted & (beat.tail >= beat.head)),
            count.eq(Mux(beat.last & ~spills, (beat.tail - beat.head)[:exact_log2(size)] + 1, size)),
        ]
        with m.If(advance):
            m.d.sync += [valid.eq(rest | self.i.valid & ~absorbs), rest.eq(0)]
            with m.If(rest):
                m.d.sync += [word.data.eq(carry), word.count.eq(rest_count), word.last.eq(1)]
            with m.Else():
                m.d.sync += [word.data.eq(Cat(merged)), word.count.eq(count),
                             word.last.eq(beat.last & ~spills)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [carry.eq(beat.data), inside.eq(~beat.last)]
            with m.If(beat.last & spills):
                m.d.sync += [rest.eq(1), rest_count.eq(beat.tail - beat.head + 1)]
        with m.If(self.flush):
            m.d.sync += [valid.eq(0), rest.eq(0), inside.eq(0)]
        return m
