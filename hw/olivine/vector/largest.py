"""The largest logits of each row, of a stream of words."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .formats import LINEAR_BITS

__all__ = ["INDEX_BITS", "entry", "logits", "Largest", "LaneLargest"]

INDEX_BITS = 20

entry = data.StructLayout({"valid": 1, "value": signed(LINEAR_BITS), "index": unsigned(INDEX_BITS)})


def logits(config):
    """A part of a word of logits, and its channel; ``last`` with a group's last part."""
    return data.StructLayout({"last": 1, "index": unsigned(INDEX_BITS),
                              "data": data.ArrayLayout(signed(LINEAR_BITS), config.vector_lanes)})


def _check(count):
    if not isinstance(count, int) or not 1 <= count <= 8:
        raise ValueError(f"count is {count!r}: allowed is 1 to 8")


class Largest(wiring.Component):
    """The ``count`` largest values of each row and their indices, in falling order; ties by rising index.

    A new value is compared with all entries at once and takes the place of the first smaller one, which moves down with
    those after it. For words of one part.

    Parameters
    ----------
    config : AcceleratorConfig
    count : int
        1 (argmax) to 8.

    Members
    -------
    i_valid : In(1), i : In(logits)
        Their index rises from word to word of a group. The next group may follow at once.
    o_valid : Out(1), o : Out(ArrayLayout(ArrayLayout(entry, count), P))
        Of a finished group, for one cycle. With fewer words than ``count`` the last entries are not valid.

    Latency: `latency` cycles from the last word. Throughput: one word a cycle. Never waits. Cost, for each row:
    ``count`` comparators of 16 bits and registers of 37.
    """

    latency = 2

    def __init__(self, config, count=8):
        _check(count)
        if config.vector_cycles != 1:
            raise ValueError(f"vector_cycles is {config.vector_cycles}: allowed is 1")
        self.config, self.count = config, count
        super().__init__({
            "i_valid": In(1), "i": In(logits(config)), "o_valid": Out(1),
            "o": Out(data.ArrayLayout(data.ArrayLayout(entry, count), config.rows)),
        })

    def elaborate(self, platform):
        m = Module()
        valid, word, first = Signal(), Signal(logits(self.config)), Signal(init=1)
        m.d.sync += [valid.eq(self.i_valid), word.eq(self.i), self.o_valid.eq(valid & word.last)]
        with m.If(valid):
            m.d.sync += first.eq(word.last)
        for row in range(self.config.rows):
            entries = self.o[row]
            value = word.data[row]
            # Entries are in falling order: once one is smaller, all after it are.
            smaller = [first | ~entries[k].valid | (value > entries[k].value) for k in range(self.count)]
            with m.If(valid):
                for k in range(self.count):
                    moves = smaller[k - 1] if k else 0
                    with m.If(smaller[k]):
                        m.d.sync += [
                            entries[k].valid.eq(Mux(moves, ~first & entries[k - 1].valid, 1)),
                            entries[k].value.eq(Mux(moves, entries[k - 1].value, value)),
                            entries[k].index.eq(Mux(moves, entries[k - 1].index, word.index)),
                        ]
        return m


class LaneLargest(wiring.Component):
    """The same of the `vector_cycles` rows of a lane, on one comparator and one memory.

    A new value is compared with the entries of its row from the last one up, which move down until one is not smaller.

    Parameters
    ----------
    parts : int
        Rows. Power of two.
    count : int
        1 to 8.

    Members
    -------
    i : In(stream(value: signed(16), index: unsigned(20)))
        A value of each row, then the next one of each. Not while entries are read.
    idle : Out(1)
        All values are in their places.
    row : In(range(parts)), place : In(range(count))
        An entry that is looked at; only while ``idle``.
    o : Out(entry)
        It, in the same cycle.
    restart : In(1)
        Forgets all entries.

    Throughput: a value a cycle if it is none of the largest, else a cycle more for each entry that moves. Cost: a
    comparator of 16 bits, a memory of 8 entries a row (LUT RAM) and a select of two for each bit of one.
    """

    def __init__(self, parts, count=8):
        _check(count)
        if not isinstance(parts, int) or parts < 1 or parts & (parts - 1):
            raise ValueError(f"parts is {parts!r}: allowed are powers of two")
        self.parts, self.count = parts, count
        value = data.StructLayout({"value": signed(LINEAR_BITS), "index": unsigned(INDEX_BITS)})
        super().__init__({"i": In(stream.Signature(value)), "idle": Out(1), "row": In(range(parts)),
                          "place": In(range(count)), "o": Out(entry), "restart": In(1)})

    def elaborate(self, platform):
        m = Module()
        shape = self.i.payload.shape()
        m.submodules.entries = entries = Memory(shape=shape, depth=self.parts * 8, init=[])
        write, read = entries.write_port(), entries.read_port(domain="comb")
        valid, new, row = Signal(), Signal(shape), Signal(range(self.parts))
        # Entries that each row has, and how many of them are not smaller than the new value, at most.
        held, at = Signal(range(self.count + 1)), Signal(range(self.count + 1))
        above, moves, done, last_row = Signal(3), Signal(), Signal(), Signal()
        m.d.comb += [
            above.eq(at - 1), self.idle.eq(~valid), self.i.ready.eq(~valid | done), last_row.eq(row == self.parts - 1),
            read.addr.eq(_address(Mux(valid, above, self.place), Mux(valid, row, self.row))),
            moves.eq((at != 0) & (new.value > read.data.value)), done.eq(valid & ~moves),
            write.addr.eq(_address(at[:3], row)), write.en.eq(valid & (at != self.count)),
            write.data.eq(Mux(moves, read.data, new)),
            self.o.valid.eq(self.place < held), self.o.value.eq(read.data.value), self.o.index.eq(read.data.index),
        ]
        grows = done & last_row & (held != self.count)
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), new.eq(self.i.payload), at.eq(held + grows)]
        with m.Else():
            m.d.sync += at.eq(above)
        with m.If(done):
            m.d.sync += held.eq(held + grows)
            if self.parts > 1:
                m.d.sync += row.eq(row + 1)
        with m.If(self.restart):
            m.d.sync += [held.eq(0), at.eq(0)]
        return m


def _address(place, row):
    """Of an entry. A lane of one row has no bits for it."""
    return Cat(place, row) if len(row) else place
