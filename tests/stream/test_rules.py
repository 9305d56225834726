"""The stream testbench kit finds what it is there to find, and packs payloads."""

import itertools

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from olivine.stream import Queue
from olivine.verilog import design

from tb.streams import PATTERNS, pack, unpack
from tests.simulate import run


class Faulty(wiring.Component):
    """A queue that breaks one rule at its output, or none."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, fault):
        self.fault = fault
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(8, 4)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        phase, open_ = Signal(), Signal()
        m.d.sync += phase.eq(~phase)
        m.d.comb += [
            open_.eq({"withdraws": phase, "waits": self.o.ready}.get(self.fault, 1)),
            self.o.valid.eq(queue.o.valid & open_),
            queue.o.ready.eq(self.o.ready & open_),
            self.o.payload.eq(queue.o.payload ^ (phase if self.fault == "changes" else 0)),
        ]
        return m


@pytest.mark.parametrize("fault, violation", [
    ("", ""),
    ("withdraws", "valid was withdrawn before the transfer"),
    ("changes", "the payload changed before the transfer"),
    ("waits", "waits"),
])
def test_checker(fault, violation):
    run(Faulty(fault), "tb.stream.rules", parameters={"VIOLATION": violation}, expected=5)


@pytest.mark.parametrize("port, value, violation", [
    ("o__payload", "8'b0000000x", "valid payload is 0000000X"),
    ("o__valid", "1'bx", "valid is X, ready is"),
    ("o__valid", "1'bz", "valid is Z, ready is"),
])
def test_checker_finds_unknown_values(port, value, violation):
    """Amaranth cannot write X: the unit's Verilog is changed."""
    made = design(Faulty(""), "faulty")
    text = made.text.replace("endmodule\n", f"  initial force {port} = {value};\nendmodule\n", 1) \
        if made.text.index("module faulty(") < made.text.index("endmodule") else None
    assert text, "the top is not the first module"
    run(type(made)(made.name, text, made.ports), "tb.stream.unknown", parameters={"VIOLATION": violation}, expected=1)


def test_patterns_repeat_with_their_seed():
    for name, factory in PATTERNS.items():
        first, again = (list(itertools.islice(factory(5), 400)) for _ in range(2))
        assert first == again
        assert any(first) and (all(first) == (name == "always"))


class Colour(enum.Enum, shape=2):
    RED = 1
    BLUE = 2


LAYOUT = data.StructLayout({"x": signed(3), "many": data.ArrayLayout(signed(4), 3), "colour": Colour, "flag": 1})


def test_pack():
    value = {"x": -3, "many": [7, -8, 0], "colour": Colour.BLUE, "flag": 1}
    bits = pack(LAYOUT, value)
    assert bits == LAYOUT.const(value).as_value().value == 0b1_10_0000_1000_0111_101
    assert unpack(LAYOUT, bits) == value
    assert pack(LAYOUT, {"flag": 1}) == 1 << LAYOUT.size - 1
    assert pack(8, 200) == unpack(8, 200) == 200
    assert pack(signed(8), -1) == 255 and unpack(signed(8), 255) == -1


@pytest.mark.parametrize("shape, value, text", [
    (4, 16, "16 does not fit"), (4, -1, "-1 does not fit"), (signed(4), 8, "8 does not fit"),
    (data.ArrayLayout(4, 2), [1, 2, 3], "has 2 elements, not 3"),
])
def test_pack_refuses(shape, value, text):
    with pytest.raises(ValueError, match=text):
        pack(shape, value)
