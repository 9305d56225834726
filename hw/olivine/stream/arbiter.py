"""Several streams into one, taking turns."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from .connect import connect
from .skid import Skid

__all__ = ["Arbiter", "granted"]


def granted(shape, inputs):
    """Layout of an arbiter's output: the payload, and the number of the input that it came from."""
    return data.StructLayout({"payload": shape, "source": range(inputs)})


class Arbiter(wiring.Component):
    """Round-robin arbiter.

    Whenever its output slice has room, it takes a payload from the first input that offers one,
    counting from the one after the last that was served. So a grant holds until it is taken, whoever else comes,
    and an input waits for at most one payload of each other.

    One payload a cycle. No path from ``o.ready`` to any other member: arbiters follow each other from the engines to
    the memory, and their paths would add up. Costs a `Skid` and an AND and an OR per input and bit.

    Parameters
    ----------
    shape : shape-like
        Of the payload.
    inputs : int
        At least 1.
    late : bool
        The last input's ``valid`` comes late in the cycle: no ``ready`` and no choice of a payload depends on it. While
        others offer too, it has every second turn. At least 2 inputs.

    Attributes
    ----------
    latency : int
        Cycles from a transfer to ``o.valid``: 1.

    Members
    -------
    i : In(stream), array of ``inputs``
    o : Out(stream) of `granted`
    """

    latency = 1

    def __init__(self, shape, inputs, late=False):
        if not isinstance(inputs, int) or isinstance(inputs, bool):
            raise TypeError(f"arbiter inputs must be a positive integer, not {inputs!r}")
        if inputs < 1:
            raise ValueError(f"arbiter inputs must be at least 1, not {inputs!r}")
        if late and inputs < 2:
            raise ValueError(f"arbiter inputs must be at least 2 if one is late, not {inputs!r}")
        self.shape, self.inputs, self.late = shape, inputs, late
        super().__init__({"i": In(stream.Signature(shape)).array(inputs),
                          "o": Out(stream.Signature(granted(shape, inputs)))})

    def elaborate(self, platform):
        m = Module()
        early = self.inputs - self.late
        offers = Signal(early)
        behind = Signal(early)  # Bit n: input n is behind the last one served in this round.
        turn = Signal(early)  # Offers that are taken first.
        first = Signal(early)  # One-hot.
        grant, some = first, offers.any()
        m.submodules.output = output = Skid(granted(self.shape, self.inputs))
        m.d.comb += [
            offers.eq(Cat(port.valid for port in self.i[:early])),
            turn.eq(Mux((offers & behind).any(), offers & behind, offers)),
            first.eq(turn & (~turn + 1)),
        ]
        if self.late:
            # Who comes late gets what the others leave; if they leave nothing, the next turn is its own.
            last, waits = self.i[-1], Signal()
            grant = Cat(first & ~waits.replicate(early), waits | ~offers.any())
            some = offers.any() & ~waits | last.valid
            with m.If(output.i.ready & (offers.any() | last.valid)):
                m.d.sync += waits.eq(last.valid & ~grant[-1])
        m.d.comb += Cat(port.ready for port in self.i).eq(grant & output.i.ready.replicate(self.inputs))
        # One grant at most: an AND and an OR per input and bit, no priority between them.
        choices = [Cat(port.payload, Const(index, range(self.inputs))) for index, port in enumerate(self.i)]
        chosen = reduce(or_, (choice & bit.replicate(len(choice)) for choice, bit in zip(choices, grant)))
        m.d.comb += [output.i.valid.eq(some), output.i.payload.eq(chosen)]
        connect(m, output.o, flipped(self.o))
        with m.If(grant[:early].any() & output.i.ready):
            m.d.sync += behind.eq(~(first | (first - 1)))
        return m
