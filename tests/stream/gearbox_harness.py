"""Formal harness of the gearbox.

The tracked place is an element. With it goes whether it ends a packet, so that words are cut exactly at the ends
of packets. What is asserted at the ports is the contract; what is asserted about the inside ties the state
together, so that the contract follows by induction.

To see inside, the gearbox is built with one more read port on its banks and with a queue of packet ends
made of registers. `SameQueue` is the proof that this queue does in every cycle what the real one does.
"""

from unittest import mock

from amaranth.hdl import Assert, Assume, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from olivine.stream import Gearbox, Queue
from olivine.stream.gearbox import PACKETS

from tests.stream.harness import Checks, any_constant, holds, rises, taken

__all__ = ["GearboxHarness", "SameQueue"]


class OpenQueue(wiring.Component):
    """`Queue` as a row of registers, ``entries[0]`` the oldest."""

    def __init__(self, shape, depth):
        self.depth = depth
        self.entries = [Signal(shape, name=f"entry{index}") for index in range(depth)]
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
                          "level": Out(range(depth + 1))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.i.ready.eq(self.level != self.depth), self.o.valid.eq(self.level != 0),
                     self.o.payload.eq(self.entries[0])]
        place = Signal.like(self.level)
        m.d.comb += place.eq(self.level - taken(self.o))
        m.d.sync += self.level.eq(place + taken(self.i))
        for index, entry in enumerate(self.entries):
            with m.If(taken(self.i) & (place == index)):
                m.d.sync += entry.eq(self.i.payload)
            with m.Elif(taken(self.o) & (index + 1 < self.depth)):
                m.d.sync += entry.eq(self.entries[min(index + 1, self.depth - 1)])
        return m


class SameQueue(wiring.Component):
    """A queue and the row of registers, side by side, say the same in every cycle."""

    def __init__(self, shape, depth):
        self.shape, self.depth = shape, depth
        super().__init__({"payload": In(shape), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.real = real = Queue(self.shape, self.depth)
        m.submodules.open = opened = OpenQueue(self.shape, self.depth)
        for unit in (real, opened):
            m.d.comb += [unit.i.payload.eq(self.payload), unit.i.valid.eq(self.valid), unit.o.ready.eq(self.ready)]
        m.d.comb += [
            Assert(real.i.ready == opened.i.ready), Assert(real.o.valid == opened.o.valid),
            Assert(real.level == opened.level),
            Assert(~real.o.valid | (real.o.payload == opened.o.payload)),
        ]
        return m


class OpenGearbox(Gearbox):
    """The gearbox with a probe: ``seen`` is the element at ``place`` in its store."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.head, self.tail, self.level = self._head, self._tail, self._level
        self.place, self.seen = Signal.like(self.head), Signal(self.width)
        self.ends = OpenQueue(self.head.shape(), PACKETS)

    def elaborate(self, platform):
        with mock.patch("olivine.stream.gearbox.Queue", lambda shape, depth: self.ends):
            return super().elaborate(platform)

    def _store(self, m, enter):
        elements = super()._store(m, enter)
        shift = ceil_log2(self.lanes)
        for lane in range(self.lanes):
            port = m.submodules[f"bank{lane}"].read_port(domain="comb")
            m.d.comb += port.addr.eq(self.place[shift:])
            with m.If(self.place[:shift] == lane):
                m.d.comb += self.seen.eq(port.data)
        return elements


class GearboxHarness(wiring.Component):
    """A gearbox with free inputs and a ``take`` that the solver picks once."""

    def __init__(self, element, inputs, outputs):
        self.unit = OpenGearbox(element, inputs, outputs)
        super().__init__({"payload": In(self.unit.i.payload.shape()), "valid": In(1), "ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        i, o = unit.i.payload, unit.o.payload
        m.d.comb += [
            i.eq(self.payload), unit.i.valid.eq(self.valid), unit.o.ready.eq(self.ready),
            unit.take.eq(any_constant(m, unit.take.shape())),
            Assume((unit.take >= 1) & (unit.take <= unit.outputs)),
            Assume((i.count >= 1) & (i.count <= unit.inputs)),
        ]
        check = Checks()
        holds(m, unit.o, check)

        # Elements inside, and how many ever entered and left, modulo more than fit inside.
        held = Signal(range(unit.capacity + unit.outputs + 1))
        number = any_constant(m, range(2 << ceil_log2(unit.capacity + unit.outputs)))
        entered, left = Signal.like(number), Signal.like(number)
        noted, noted_end = Signal(unit.width), Signal()
        m.d.sync += held.eq(held + Mux(taken(unit.i), i.count, 0) - Mux(taken(unit.o), o.count, 0))
        with m.If(taken(unit.i)):
            m.d.sync += entered.eq(entered + i.count)
            for index in range(unit.inputs):
                with m.If((index < i.count) & ((entered + index)[:len(number)] == number)):
                    m.d.sync += [noted.eq(i.data[index]), noted_end.eq(i.last & (i.count == index + 1))]
        with m.If(taken(unit.o)):
            m.d.sync += left.eq(left + o.count)

        self._contract(m, check, unit, held, number, left, noted, noted_end)
        self._inside(m, check, unit, held, number, entered, left, noted, noted_end)
        m.d.comb += check.all_hold()
        return m

    def _contract(self, m, check, unit, held, number, left, noted, noted_end):
        o = unit.o.payload
        with m.If(unit.o.valid):
            m.d.comb += [
                check((o.count >= 1) & (o.count <= unit.take)),
                check(o.last | (o.count == unit.take), "a short word in the middle of a packet"),
                check(o.count <= held, "something comes out that never went in"),
            ]
            for index in range(unit.outputs):
                with m.If(index >= o.count):
                    m.d.comb += check(o.data[index] == 0)
                with m.Elif((left + index)[:len(number)] == number):
                    m.d.comb += [check(o.data[index] == noted),
                                 check(noted_end == (o.last & (o.count == index + 1)))]
        # A word that is complete is offered in the next cycle, whatever ready does.
        rises(m, unit.o, (held >= unit.take) | unit.ends.o.valid, unit.latency - 1, check)
        # Room is never denied: for a word's elements, nor for the end of a packet.
        m.d.comb += check(unit.i.ready | (held > unit.capacity - unit.inputs)
                           | (unit.ends.level == unit.ends.depth))

    def _inside(self, m, check, unit, held, number, entered, left, noted, noted_end):
        modulus = len(unit.head)
        level, offered = unit.level, Mux(unit.o.valid, unit.o.payload.count, 0)
        m.d.comb += [
            check((level <= unit.capacity) & (unit.ends.level <= unit.ends.depth)),
            check(level == (unit.tail - unit.head)[:modulus]),
            check(held == level + offered),
            check((entered - left)[:len(number)] == held),
        ]
        # Packet ends lie in the store, one behind the other.
        before = 0
        for index, entry in enumerate(unit.ends.entries):
            distance = Signal(modulus, name=f"distance{index}")
            m.d.comb += distance.eq(entry - unit.head)
            with m.If(index < unit.ends.level):
                m.d.comb += check((distance > before) & (distance <= level))
            before = distance
        # The tracked element, while it is in the store, is what was noted, and ends a packet if it was said to.
        offset = Signal.like(number)
        m.d.comb += [offset.eq(number - left), unit.place.eq(unit.head + offset - offered)]
        with m.If((offset >= offered) & (offset < held)):
            after = (unit.place + 1)[:modulus]
            is_end = Signal()
            for index, entry in enumerate(unit.ends.entries):
                with m.If((index < unit.ends.level) & (entry == after)):
                    m.d.comb += is_end.eq(1)
            m.d.comb += [check(unit.seen == noted), check(is_end == noted_end)]
