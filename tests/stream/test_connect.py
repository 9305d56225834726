"""The checked connect: same bits under the same names, or an error that shows both."""

import pytest
from amaranth.hdl import Module, signed, unsigned
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from olivine.memory.axi import ReadPort
from olivine.stream import Gearbox, Queue, connect, same_shape, word


class Colour(enum.Enum, shape=2):
    RED = 1


class Shade(enum.Enum, shape=2):
    RED = 1


AB = data.StructLayout({"a": 4, "b": 4})
BA = data.StructLayout({"b": 4, "a": 4})


def interface(shape):
    return stream.Signature(shape).create()


@pytest.mark.parametrize("a, b, same", [
    (8, unsigned(8), True), (8, 9, False), (8, signed(8), False), (range(256), 8, True),
    (AB, data.StructLayout({"a": 4, "b": unsigned(4)}), True), (AB, BA, False), (AB, 8, False), (8, AB, False),
    (data.ArrayLayout(AB, 2), data.ArrayLayout(BA, 2), False),
    (data.ArrayLayout(AB, 2), data.ArrayLayout(8, 2), False),
    (data.ArrayLayout(8, 2), data.ArrayLayout(unsigned(8), 2), True),
    (data.ArrayLayout(8, 2), data.ArrayLayout(8, 3), False),
    (data.ArrayLayout(signed(8), 2), data.ArrayLayout(8, 2), False),
    (Colour, Colour, True), (Colour, Shade, False), (Colour, 2, False),
    (data.StructLayout({"a": Colour}), data.StructLayout({"a": Shade}), False),
])
def test_same_shape(a, b, same):
    assert same_shape(a, b) is same
    assert same_shape(b, a) is same


def test_connects():
    m = Module()
    source, sink = Gearbox(8, 4, 8), Queue(word(unsigned(8), 8), 2)
    connect(m, source.o, sink.i)
    m.submodules += source, sink


def test_refuses_another_field_order():
    with pytest.raises(TypeError, match=r"cannot connect payload: shape StructLayout\(\{'a': 4, 'b': 4\}\) of the "
                                        r"source is not shape StructLayout\(\{'b': 4, 'a': 4\}\) of the destination"):
        connect(Module(), interface(AB), wiring.flipped(interface(BA)))


def test_refuses_what_wiring_connect_accepts():
    ends = interface(AB), wiring.flipped(interface(BA))
    wiring.connect(Module(), *ends)
    with pytest.raises(TypeError, match="cannot connect payload"):
        connect(Module(), *ends)


def test_inside_a_component():
    class Through(wiring.Component):
        i: In(stream.Signature(AB))
        o: Out(stream.Signature(BA))

    unit, m = Through(), Module()
    queue = Queue(AB, 2)
    connect(m, wiring.flipped(unit.i), queue.i)
    with pytest.raises(TypeError, match="cannot connect payload"):
        connect(m, queue.o, wiring.flipped(unit.o))


def test_ports_of_several_streams():
    connect(Module(), ReadPort(32, 64).create(), ReadPort(32, 64).flip().create())
    with pytest.raises(TypeError, match="cannot connect ar.payload"):
        connect(Module(), ReadPort(32, 64).create(), ReadPort(31, 64).flip().create())
