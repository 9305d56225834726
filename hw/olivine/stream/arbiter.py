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

    Whose turn it is is a register, chosen a cycle ahead: the next input that offers, counting from the one that is
    served; an input that is alone keeps its turn. So a payload from another input than the last one waits a cycle where
    nothing went before it, and an input waits for at most one payload of each other.

    One payload a cycle. Each ``ready`` depends on registers alone: arbiters follow each other from the engines to the
    memory, and their paths would add up. Costs a `Skid` and an AND and an OR per input and bit.

    Parameters
    ----------
    shape : shape-like
        Of the payload.
    inputs : int
        At least 1.

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

    def __init__(self, shape, inputs):
        if not isinstance(inputs, int) or isinstance(inputs, bool):
            raise TypeError(f"arbiter inputs must be a positive integer, not {inputs!r}")
        if inputs < 1:
            raise ValueError(f"arbiter inputs must be at least 1, not {inputs!r}")
        self.shape, self.inputs = shape, inputs
        super().__init__({"i": In(stream.Signature(shape)).array(inputs),
                          "o": Out(stream.Signature(granted(shape, inputs)))})

    def elaborate(self, platform):
        m = Module()
        offers, turn = Signal(self.inputs), Signal(self.inputs, init=1)
        others, behind, found = Signal(self.inputs), Signal(self.inputs), Signal(self.inputs)
        m.submodules.output = output = Skid(granted(self.shape, self.inputs))
        offered = (offers & turn).any()
        m.d.comb += [
            offers.eq(Cat(port.valid for port in self.i)), others.eq(offers & ~turn),
            behind.eq(others & ~(turn | (turn - 1))), found.eq(Mux(behind.any(), behind, others)),
            Cat(port.ready for port in self.i).eq(turn & output.i.ready.replicate(self.inputs)),
        ]
        with m.If(others.any() & (output.i.ready | ~offered)):
            m.d.sync += turn.eq(found & (~found + 1))
        # One turn at a time: an AND and an OR per input and bit, no priority between them.
        choices = [Cat(port.payload, Const(index, range(self.inputs))) for index, port in enumerate(self.i)]
        chosen = reduce(or_, (choice & bit.replicate(len(choice)) for choice, bit in zip(choices, turn)))
        m.d.comb += [output.i.valid.eq(offered), output.i.payload.eq(chosen)]
        connect(m, output.o, flipped(self.o))
        return m
