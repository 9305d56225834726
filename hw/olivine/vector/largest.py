"""The largest logits of each row, of a stream of words."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .formats import LINEAR_BITS, word
from .results import delayed

__all__ = ["INDEX_BITS", "entry", "Largest"]

INDEX_BITS = 20

entry = data.StructLayout({"valid": 1, "value": signed(LINEAR_BITS), "index": unsigned(INDEX_BITS)})


class Largest(wiring.Component):
    """The ``count`` largest values of each row and their indices, in falling order; ties by rising index.

    A new value is compared with all entries at once and takes the place of the first smaller one, which moves down with
    those after it.

    Parameters
    ----------
    config : AcceleratorConfig
    count : int
        1 (argmax) to 8.

    Members
    -------
    i : In(word), of int16
        Beside the data its ``index``, which rises from word to word of a group; ``place.last`` ends the group. The
        next may follow at once.
    o_valid : Out(1), o : Out(ArrayLayout(ArrayLayout(entry, count), P))
        Of a finished group, for one cycle. With fewer words than ``count`` the last entries are not valid.

    Latency: `latency` cycles from the last word. Throughput: one word a cycle. Never waits. Cost, for each row:
    ``count`` comparators of 16 bits and registers of 37.
    """

    latency = 2

    def __init__(self, config, count=8):
        if not isinstance(count, int) or not 1 <= count <= 8:
            raise ValueError(f"count is {count!r}: allowed is 1 to 8")
        self.config, self.count = config, count
        super().__init__({
            "i": In(word(config, signed(LINEAR_BITS), index=unsigned(INDEX_BITS))), "o_valid": Out(1),
            "o": Out(data.ArrayLayout(data.ArrayLayout(entry, count), config.rows)),
        })

    def elaborate(self, platform):
        m = Module()
        word_1, first = delayed(m, self.i, 1), Signal(init=1)
        m.d.sync += self.o_valid.eq(word_1.place.valid & word_1.place.last)
        with m.If(word_1.place.valid):
            m.d.sync += first.eq(word_1.place.last)
        for row in range(self.config.rows):
            entries = self.o[row]
            value = word_1.data[row]
            # Entries are in falling order: once one is smaller, all after it are.
            smaller = [first | ~entries[k].valid | (value > entries[k].value) for k in range(self.count)]
            with m.If(word_1.place.valid):
                for k in range(self.count):
                    moves = smaller[k - 1] if k else 0
                    with m.If(smaller[k]):
                        m.d.sync += [
                            entries[k].valid.eq(Mux(moves, ~first & entries[k - 1].valid, 1)),
                            entries[k].value.eq(Mux(moves, entries[k - 1].value, value)),
                            entries[k].index.eq(Mux(moves, entries[k - 1].index, word_1.index)),
                        ]
        return m
