"""A unit alone on an FPGA: three pins, all the rest in flip-flops beside it.

::

    scan_in ──> [FF]─>[FF]─>[FF]─> ...         one a bit of the unit's inputs, always shifting
                  │     │     │
                  v     v     v
               ┌──────────────────┐
               │     component    │
               └──────────────────┘
                  │     │     │
                 [FF]  [FF]  [FF]              one a bit of its outputs
                  v     v     v
          0 ──>[ ^ ]─>[ ^ ]─>[ ^ ]─> ... ──> scan_out

Place and route of a unit whose ports were pins would measure the way to the pins, if there were enough of them;
unconnected ports would let synthesis remove the unit. Here every input comes from a flip-flop of its own and every
output goes to one, so that the slowest path is one of the unit, and all of it is kept.
"""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ScanHarness", "HarnessTop", "WAY"]

WAY = 6
"""Flip-flops between a pin and the harness."""


class ScanHarness(wiring.Component):
    """A component between two shift registers.

    Parameters
    ----------
    component : wiring.Component
        Any: its members are reached whatever their nesting and direction; it works in the domain ``sync``.

    Members
    -------
    scan_in : In(1)
        Enters the first bit of the inputs; each cycle all bits move on by one.
    scan_out : Out(1)
        Last bit of the second register, whose bit i takes bit i - 1 exclusive-or output i of the cycle before. A
        change of one output in one cycle changes ``scan_out`` once, ``latency`` of it later.

    Attributes
    ----------
    inputs, outputs : int
        Bits of each kind.

    Bits are in the order of the component's signature. Cost: a flip-flop a bit of the inputs, two flip-flops and a LUT
    a bit of the outputs. No stalls: it shifts every cycle.
    """

    def __init__(self, component):
        self.component = component
        self._inputs, self._outputs = [], []
        for _, member, value in component.signature.flatten(component):
            (self._outputs if member.flow == Out else self._inputs).append(Value.cast(value))
        self.inputs, self.outputs = (sum(map(len, values)) for values in (self._inputs, self._outputs))
        if not self.inputs or not self.outputs:
            raise ValueError(f"{type(component).__name__} has {self.inputs} bits of inputs and {self.outputs} of "
                             "outputs: a harness needs some of both")
        super().__init__({"scan_in": In(1), "scan_out": Out(1)})

    def latency(self, bit):
        """Cycles from a value of output ``bit`` to its effect on ``scan_out``."""
        return 1 + self.outputs - bit

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.component
        # Without reset: the reset's net is then as large as the unit's own, no larger.
        inputs = Signal(self.inputs, reset_less=True)
        outputs, chain = (Signal(self.outputs, reset_less=True, name=name) for name in ("outputs", "chain"))
        m.d.sync += [inputs.eq(Cat(self.scan_in, inputs)), outputs.eq(Cat(self._outputs)),
                     chain.eq(outputs ^ (chain << 1))]
        m.d.comb += [Cat(self._inputs).eq(inputs), self.scan_out.eq(chain[-1])]
        return m


class HarnessTop(wiring.Component):
    """A harness on the pins of a board.

    Parameters
    ----------
    component : wiring.Component

    The platform has a default clock and a resource ``scan`` with the subsignals ``i`` and ``o``, a pin each. `WAY`
    flip-flops lie between a pin and the harness, besides the one in the pin.
    """

    def __init__(self, component):
        self.harness = ScanHarness(component)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        pins = platform.request("scan", 0, dir={"i": "-", "o": "-"})
        m.submodules.harness = harness = self.harness
        m.submodules.pin_in = pin_in = io.FFBuffer("i", pins.i)
        m.submodules.pin_out = pin_out = io.FFBuffer("o", pins.o)
        # The pins are at the border of the chip and the unit anywhere: the way between is several cycles.
        arriving, leaving = (Signal(WAY, reset_less=True, name=name) for name in ("arriving", "leaving"))
        m.d.sync += [arriving.eq(Cat(pin_in.i, arriving)), leaving.eq(Cat(harness.scan_out, leaving))]
        m.d.comb += [harness.scan_in.eq(arriving[-1]), pin_out.o.eq(leaving[-1])]
        return m
