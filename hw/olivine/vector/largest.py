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
    drain : In(1)
        Entries are read once all values are in their places. Stays high to ``restart``, and meanwhile no value comes.
    o_valid : Out(1), o : Out(entry)
        An entry to read: the first row's from the largest on, then the next row's.
    step : In(1)
        The next one is there in the next cycle. Only with ``o_valid``.
    restart : In(1)
        Forgets all entries. With the step of the last one.

    Latency: 2 cycles from the last value's last move to the first entry. Throughput: a value a cycle if it is none of
    the largest, else a cycle more for each entry that moves; an entry a cycle. Cost: a comparator of 16 bits, a memory
    of 8 entries a row (LUT RAM) and a select of two for each bit of one.
    """

    def __init__(self, parts, count=8):
        _check(count)
        if not isinstance(parts, int) or parts < 1 or parts & (parts - 1):
            raise ValueError(f"parts is {parts!r}: allowed are powers of two")
        self.parts, self.count = parts, count
        value = data.StructLayout({"value": signed(LINEAR_BITS), "index": unsigned(INDEX_BITS)})
        super().__init__({"i": In(stream.Signature(value)), "drain": In(1), "o_valid": Out(1), "o": Out(entry),
                          "step": In(1), "restart": In(1)})

    def elaborate(self, platform):
        m = Module()
        shape = self.i.payload.shape()
        m.submodules.entries = entries = Memory(shape=shape, depth=self.parts * 8, init=[])
        write, read = entries.write_port(), entries.read_port(domain="comb")
        valid, new, row = Signal(), Signal(shape), Signal(range(self.parts))
        # Entries that each row has, and how many of them are not smaller than the new value, at most. The place above,
        # and the row, are what is read: as a register, because the comparison of what is there takes the cycle. So is
        # whether there is a value and an entry to compare, ``opened``.
        held, at, now_held = (Signal(range(self.count + 1), name=name) for name in ("held", "at", "now_held"))
        above, opened, moves, reading = Signal(3), Signal(), Signal(), Signal()
        m.d.comb += [
            now_held.eq(held + (valid & (row == self.parts - 1) & (held != self.count))),
            self.i.ready.eq(~moves), read.addr.eq(_address(above, row)),
            # The sign of a difference is a carry chain and nothing behind it.
            moves.eq(opened & (read.data.value - new.value)[-1]),
            write.addr.eq(_address(at[:3], row)), write.en.eq(valid & (at != self.count)),
            write.data.eq(Mux(moves, read.data, new)), self.o_valid.eq(reading),
            self.o.valid.eq(above < held), self.o.value.eq(read.data.value), self.o.index.eq(read.data.index),
        ]
        next_above, next_row = Signal.like(above), Signal.like(row)
        with m.If(~self.drain | valid):
            m.d.comb += [next_above.eq(now_held - 1), next_row.eq(row + valid)]
        with m.Elif(~reading | (self.step & (above == self.count - 1))):
            # The last value was one of the last row: the first is next.
            m.d.comb += [next_above.eq(0), next_row.eq(row + reading)]
        with m.Else():
            m.d.comb += [next_above.eq(above + self.step), next_row.eq(row)]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), new.eq(self.i.payload), at.eq(now_held), held.eq(now_held),
                         opened.eq(self.i.valid & (now_held != 0)), above.eq(next_above), row.eq(next_row),
                         reading.eq(self.drain & ~valid)]
        with m.Else():
            m.d.sync += [at.eq(above), opened.eq(above != 0), above.eq(above - 1)]
        with m.If(self.restart):
            m.d.sync += [held.eq(0), at.eq(0), reading.eq(0)]
        return m


def _address(place, row):
    """Of an entry. A lane of one row has no bits for it."""
    return Cat(place, row) if len(row) else place
