"""Activation functions by straight lines, and gates."""

from math import erfc, exp, floor, pi, sqrt

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from ..numerics.rounding import rsh
from .formats import FACTOR_BITS, FUNCTION_BITS, FUNCTION_FRACTION, LINEAR_BITS, Function, word
from .results import FINISH, delayed, finish, result_members

__all__ = ["ACTIVATION_LINES", "Activation", "Gate"]

STEP_BITS = 8
GUARD_BITS = 4
"""Bits of the argument that go along a line, and extra bits of the lines' values."""

LINE = data.StructLayout({"base": unsigned(15), "slope": signed(12)})


def _silu_tail(a):
    return a / (1 + exp(a))


def _gelu_tanh_tail(a):
    return a / (1 + exp(2 * sqrt(2 / pi) * (a + 0.044715 * a ** 3)))


def _gelu_erf_tail(a):
    return a * erfc(a / sqrt(2)) / 2


def _line(tail, i):
    """Line ``i`` of what the function is below max(v, 0), at |v| from i/16 on, in units of 2**-16.

    It lies half of the chord's largest miss above or below the chord; the first starts at 0.
    """
    unit = 1 << FUNCTION_FRACTION + GUARD_BITS
    left, middle, right = tail(i / 16), tail((i + 0.5) / 16), tail((i + 1) / 16)
    bow = (middle - (left + right) / 2) / 2 if i else 0
    return {"base": floor(unit * (left + bow) + 0.5), "slope": floor(unit * (right - left) + 0.5)}


ACTIVATION_LINES = tuple(_line(tail, i) for tail, count in (
    (_silu_tail, 256), (_gelu_tanh_tail, 128), (_gelu_erf_tail, 128)) for i in range(count))


class Activation(wiring.Component):
    """An activation function of int16 fixed point and its requantization, P rows a cycle.

    ::

        cycle  0  x
               1  v = x << (12 - fraction)
               2  |v|: its 16ths choose the line
               3  (the table's output)
               4  base, slope
               5  slope * the 8 bits below
               6  line, rounded; 0 past the last one
               7  f = max(v, 0) - line
               8  f * mult
               9  (multiplier's second register)
              10  rsh shift
              11  o: saturated to the format

    f has 12 fractional bits and is within 2**-10.9 of the function (SiLU 2**-11.4), whatever the argument; identity
    and ReLU have no line and are exact.

    Members
    -------
    function : In(Function), fraction : In(4), mult : In(16), shift : In(6), format : In(RowFormat)
        Of the job, constant while words are in flight. ``fraction`` is 8 to 12: fractional bits of x.
    i : In(word), of int16
    o : Out(result_word)
    saturated : Out(range(P + 1))
        How many of the word's existing rows saturated; beside ``o``.

    Latency: `latency` cycles. Throughput: one word a cycle. Never waits. Cost, for each row: a 12 x 9 and a 20 x 17
    multiplier and a shifter; for two rows a table of 512 x 27 bits, one block RAM.
    """

    latency = 7 + FINISH

    def __init__(self, config):
        self.config = config
        super().__init__({"function": In(Function), "fraction": In(4), "mult": In(FACTOR_BITS),
                          "i": In(word(config, signed(LINEAR_BITS))), **result_members(config)})

    def elaborate(self, platform):
        m = Module()
        values = []
        for row in range(self.config.rows):
            if row % 2 == 0:
                table = Memory(shape=LINE, depth=len(ACTIVATION_LINES), init=ACTIVATION_LINES)
                m.submodules[f"table_{row}"] = table
            values.append(self._function(m, row, table.read_port()))
        finish(m, self, delayed(m, self.i.place, 7), [value * self.mult for value in values])
        return m

    def _function(self, m, row, port):
        """f of a row, in cycle 7."""
        def register(shape, name):
            return Signal(shape, name=f"{name}_{row}")

        function = self.function
        # Cycles 0 to 2: argument and size. |-2**19| needs its 20th bit.
        argument, size = register(signed(FUNCTION_BITS), "argument"), register(unsigned(FUNCTION_BITS), "size")
        left = (Const(FUNCTION_FRACTION) - self.fraction)[:3]
        m.d.sync += [argument.eq(self.i.data[row] << left), size.eq(Mux(argument < 0, -argument, argument))]

        # Cycles 2 to 4: the line, with a register of its own behind the slow output of the block RAM.
        place = size[STEP_BITS:]
        silu = function == Function.SILU
        m.d.comb += port.addr.eq(Mux(silu, place[:8], Cat(place[:7], function == Function.GELU_ERF, 1)))
        line = register(LINE, "line")
        near = Mux(silu, ~place[8:].any(), ~place[7:].any())
        m.d.sync += line.eq(port.data)

        # Cycles 4 to 6: along it. All lines are positive, from end to end.
        base, fall = register(LINE["base"].shape, "base"), register(signed(LINE["slope"].width + STEP_BITS), "fall")
        tail = register(unsigned(FUNCTION_FRACTION), "tail")
        m.d.sync += [base.eq(line.base), fall.eq(line.slope * delayed(m, size[:STEP_BITS], 2)),
                     tail.eq(Mux(delayed(m, near, 3), rsh((base << STEP_BITS) + fall, STEP_BITS + GUARD_BITS), 0))]

        # Cycles 6 to 7: the function.
        value, argument_6 = register(signed(FUNCTION_BITS), "value"), delayed(m, argument, 5)
        relu = Mux(argument_6 < 0, 0, argument_6)
        with m.Switch(function):
            with m.Case(Function.IDENTITY):
                m.d.sync += value.eq(argument_6)
            with m.Case(Function.RELU):
                m.d.sync += value.eq(relu)
            with m.Default():
                m.d.sync += value.eq(relu - tail)
        return value


class Gate(wiring.Component):
    """``sat(rsh(x * other, shift), format)`` of int16 operands, P rows a cycle: an activated gate times its branch.

    The scales are in the multiplier of the activation that gave x.

    Members
    -------
    shift : In(6), format : In(RowFormat)
        Constant while words are in flight.
    i : In(word), of int16
        ``data`` is x; beside it ``other`` ``[P]``.
    o : Out(result_word)
    saturated : Out(range(P + 1))
        How many of the word's existing rows saturated; beside ``o``.

    Latency: `latency` cycles. Throughput: one word a cycle. Never waits. Cost, for each row: one 16 x 16 multiplier
    and its shifter.
    """

    latency = FINISH

    def __init__(self, config):
        self.config = config
        operand = signed(LINEAR_BITS)
        super().__init__({"i": In(word(config, operand, other=data.ArrayLayout(operand, config.rows))),
                          **result_members(config)})

    def elaborate(self, platform):
        m = Module()
        finish(m, self, self.i.place, [self.i.data[row] * self.i.other[row] for row in range(self.config.rows)])
        return m
