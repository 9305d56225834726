"""Formal harnesses: what every unit on streams must keep, as properties.

Order is proven with one tracked place. The solver picks a number once; the harness notes what enters under that
number (counted modulo more than the unit can hold) and compares it with what leaves under the same number.
As the number is any, nothing is lost, duplicated, changed or reordered.
"""

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

__all__ = ["ArbiterHarness", "Checks", "OrderHarness", "any_constant", "holds", "rises", "taken"]


def taken(port):
    return port.valid & port.ready


def any_constant(m, shape):
    """A number that the solver chooses once."""
    value = Signal(shape)
    m.d.comb += value.eq(AnyConst(len(value)))
    return value


def holds(m, port, check):
    """Payload and valid hold until the transfer; ``check`` is `Assert` for an output, `Assume` for an input."""
    payload, waiting = Signal(len(Value.cast(port.payload))), Signal()
    m.d.sync += [payload.eq(port.payload), waiting.eq(port.valid & ~port.ready)]
    with m.If(waiting):
        m.d.comb += check(port.valid & (Value.cast(port.payload) == payload))


class Checks:
    """Many conditions as one `Assert`: each may then rely on all the others having held until now.

    ``m.d.comb += check(condition)`` stands for ``Assert``; it may be conditional as well.
    """

    def __init__(self):
        self._signals = []

    def __call__(self, condition, message=None):
        signal = Signal(init=1, name=f"check{len(self._signals)}")
        self._signals.append(signal)
        return signal.eq(condition)

    def all_hold(self):
        return Assert(Cat(self._signals).all())


def rises(m, port, due, within, check=Assert):
    """``valid`` is high once ``due`` has been high for ``within`` cycles; ``ready`` has no say, it is free."""
    waited = Signal(range(within + 1))
    with m.If(due & ~port.valid):
        m.d.comb += check(waited < within)
        m.d.sync += waited.eq(waited + 1)
    with m.Else():
        m.d.sync += waited.eq(0)


class OrderHarness(wiring.Component):
    """Properties of a unit that hands payloads on unchanged.

    Parameters
    ----------
    unit : component with streams ``i`` and ``o``, and perhaps ``level``
    capacity : int
        Payloads that it holds: never more, and none is refused before.
    latency : int
        Cycles from a transfer into the empty unit to ``o.valid``.
    """

    def __init__(self, unit, capacity, latency):
        self.unit, self.capacity, self.latency = unit, capacity, latency
        super().__init__({"payload": In(len(Value.cast(unit.i.payload))), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        m.d.comb += [unit.i.payload.eq(self.payload), unit.i.valid.eq(self.valid), unit.o.ready.eq(self.ready)]
        holds(m, unit.o, Assert)

        held = Signal(range(self.capacity + 2))
        number = any_constant(m, range(2 << ceil_log2(self.capacity + 1)))
        entered, left = Signal.like(number), Signal.like(number)
        noted = Signal(len(Value.cast(unit.i.payload)))
        m.d.sync += held.eq(held + taken(unit.i) - taken(unit.o))
        with m.If(taken(unit.i)):
            m.d.sync += entered.eq(entered + 1)
            with m.If(entered == number):
                m.d.sync += noted.eq(unit.i.payload)
        with m.If(taken(unit.o)):
            m.d.sync += left.eq(left + 1)
        # Without latency a payload may come out in the cycle in which it goes in.
        through = (held == 0) & self.valid if self.latency == 0 else Const(0)
        with m.If(unit.o.valid):
            m.d.comb += Assert((held != 0) | through, "something comes out that never went in")
            with m.If(left == number):
                m.d.comb += Assert(unit.o.payload == Mux(through, self.payload, noted))
        m.d.comb += [Assert(held <= self.capacity), Assert(unit.i.ready | (held == self.capacity))]
        if hasattr(unit, "level"):
            m.d.comb += Assert(unit.level == held)
        rises(m, unit.o, held != 0, max(0, self.latency - 1))
        return m


class ArbiterHarness(wiring.Component):
    """Properties of an arbiter: each input's payloads in order, nothing invented, no input starved."""

    def __init__(self, unit):
        self.unit = unit
        width = len(Value.cast(unit.i[0].payload))
        super().__init__({"payload": In(width).array(unit.inputs), "valid": In(unit.inputs), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        for index, port in enumerate(unit.i):
            m.d.comb += [port.payload.eq(self.payload[index]), port.valid.eq(self.valid[index])]
            holds(m, port, Assume)
        m.d.comb += unit.o.ready.eq(self.ready)
        holds(m, unit.o, Assert)

        # The unit holds two payloads at most, and offers the older one.
        held, leaves = Signal(range(3)), taken(unit.o)
        entry = data.StructLayout({"payload": self.payload[0].shape(), "source": range(unit.inputs)})
        older, newer, came = Signal(entry), Signal(entry), Signal(entry)
        entering = Cat(taken(port) for port in unit.i)
        m.d.comb += [Assert((entering & (entering - 1)) == 0, "two at once"), Assert(unit.o.valid == (held != 0))]
        for index, port in enumerate(unit.i):
            with m.If(taken(port)):
                m.d.comb += [came.payload.eq(port.payload), came.source.eq(index)]
        m.d.sync += held.eq(held + entering.any() - leaves)
        with m.If(entering.any()):
            m.d.comb += Assert(held < 2, "no room")
            m.d.sync += newer.eq(came)
        with m.If(leaves):
            m.d.sync += older.eq(Mux(held == 2, newer, came))
        with m.Elif(held == 0):
            m.d.sync += older.eq(came)
        with m.If(unit.o.valid):
            m.d.comb += [Assert(unit.o.payload.payload == older.payload), Assert(unit.o.payload.source == older.source)]
        # While an input waits, no other is served twice.
        for waiting, port in enumerate(unit.i):
            for other, rival in enumerate(unit.i):
                if other != waiting:
                    served = Signal()
                    with m.If(~port.valid | port.ready):
                        m.d.sync += served.eq(0)
                    with m.Elif(taken(rival)):
                        m.d.comb += Assert(~served, "served twice")
                        m.d.sync += served.eq(1)
        # Something is taken whenever there is something to take and room for it, or a cycle later.
        idle, could = Signal(), self.valid.any() & (held != 2) & ~entering.any()
        m.d.sync += idle.eq(could)
        m.d.comb += Assert(~(could & idle))
        return m
