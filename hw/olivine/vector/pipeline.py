"""The arithmetic of all operations on words: two multipliers for each lane, one behind the other."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..linear.descriptor import RowFormat
from ..numerics.narrow import plus, shift_right
from ..numerics.popcount import popcount
from .activation import ACTIVATION_LINES, GUARD_BITS, LINE, STEP_BITS
from .formats import (
    BETA_FRACTION,
    FACTOR_BITS,
    FUNCTION_BITS,
    FUNCTION_FRACTION,
    LINEAR_BITS,
    MEAN_FRACTION,
    NORMAL_BITS,
    RESIDUAL_BITS,
    SHIFT_BITS,
    Function,
    NormRow,
    word,
    word_place,
)
from .results import delayed

__all__ = ["PARAMETER_BITS", "SQUARE_BITS", "pipeline_mode", "pipeline_word", "square_word", "Pipeline"]

PARAMETER_BITS = 16
"""gamma and beta of a channel."""

SQUARE_BITS = 2 * RESIDUAL_BITS - 1

pipeline_mode = data.StructLayout({
    "normal": 1,        # residuals are normalised
    "function": 1,      # x goes through an activation function
    "add": 1,           # the result is added to the residual, and saturates to 24 bits
    "residual": 1,      # the residual is multiplied, in place of x
    "other": 1,         # by ``other``, in place of ``factor``
    "turn": 1,          # with the word before: a pair's dims by sine and cosine
    "long": 1,          # ``normal`` or ``function``
    "kind": Function, "fraction": 4, "factor": unsigned(FACTOR_BITS), "shift": unsigned(SHIFT_BITS),
    "format": RowFormat,
})
"""What becomes of words; none of the first six: ``sat(rsh(x * factor, shift), format)``."""

_LOW_BITS = 17
"""Of a 25-bit operand, those that the first multiplier takes; the second takes the others."""

_SUM_BITS = 26
"""A rounded product outside these bits saturates, whatever is added."""


def pipeline_word(config):
    """Operands of a part of a word. With ``turn`` the word of the other dims (``own`` 0) comes before that of the own
    ones, ``other`` being the sine and the cosine; ``minus`` comes with the own ones."""
    lanes, parameter = config.vector_lanes, signed(PARAMETER_BITS)
    return data.StructLayout({
        "place": word_place(config), "x": data.ArrayLayout(signed(LINEAR_BITS), lanes),
        "other": data.ArrayLayout(signed(LINEAR_BITS), lanes),
        "residual": data.ArrayLayout(signed(RESIDUAL_BITS), lanes),
        "rows": data.ArrayLayout(NormRow, lanes), "gamma": parameter, "beta": parameter, "own": 1, "minus": 1})


def square_word(config):
    """New residuals and their squares."""
    return word(config, signed(RESIDUAL_BITS), squares=data.ArrayLayout(unsigned(SQUARE_BITS), config.vector_lanes))


class Pipeline(wiring.Component):
    """What a job does with each word, and the squares of new residuals.

    ::

        cycle  0  operands
               1  x or residual                 --+        x << 18 (residual)     x
               2                                  |        - mean                 |x|: its 16ths choose the line
               3                                  |        >> pre                 (the table's output)
               4                                  |        rounded                (a register behind the block RAM)
               5                                  |        the same               slope, step        new residual
               6                                  |        * factor               *                  * itself
               7                                  |        sum of the two multipliers, of a line's base, of the squares
               8                                  |        >> post                tail
               9                                  |        rounded                max(x, 0) - tail
              10                                  +------- sat25: normalised      the same
              11  which operands
              12  * factor, other or gamma
              13  sum of the two multipliers, or of a pair
              14  >> shift
              15  rounded, + residual or beta
              16  o: saturated

    Rows are normalised and functions taken in `long` cycles; else cycle 1 is cycle 11, and it is `latency`.
    A new residual enters the first multiplier as it leaves; with its square it is at `squares` three cycles later.

    gamma and beta fold the output's scale: a gamma of 1 is one output step for each standard deviation at a shift of
    14; beta is in 16ths of an output step. A function's value has 12 fractional bits and is within 2**-10.9 of it
    (SiLU 2**-11.4) for every argument; identity and ReLU are exact. Turned dims are within half a step, and 2**-15 of
    both dims for rounded sines.

    Members
    -------
    mode : In(pipeline_mode)
        Constant while words are in flight, and their squares.
    i : In(pipeline_word)
    o : Out(word), of 24 bits
        A result's 16 bits are sign-extended.
    saturated : Out(range(lanes + 1))
        How many of the part's counted rows saturated; beside ``o``.
    squares : Out(square_word)
        With ``add`` only.

    Throughput: a part of `vector_lanes` rows a cycle. Never waits. Rows must be those of `NormStatistics`: with others
    the operands of the multipliers could saturate, and here they do not.

    Cost, for each lane: two multipliers of 25 x 17 bits (two of an ECP5 each) and one of 8 x 8; three shifters; a table
    of 512 x 27 bits, one block RAM for two lanes.
    """

    latency, long = 7, 16
    squares_later = 3

    def __init__(self, config):
        self.config = config
        super().__init__({
            "mode": In(pipeline_mode), "i": In(pipeline_word(config)), "o": Out(word(config, signed(RESIDUAL_BITS))),
            "saturated": Out(range(config.vector_lanes + 1)), "squares": Out(square_word(config)),
        })

    def elaborate(self, platform):
        m = Module()
        mode, i, lanes = self.mode, self.i, self.config.vector_lanes
        place_2, place_11, here = delayed(m, i.place, 2), delayed(m, i.place, 11), Signal(word_place(self.config))
        with m.If(mode.turn):
            m.d.comb += [here.eq(place_2), here.valid.eq(place_2.valid & delayed(m, i.own, 2))]
        with m.Elif(mode.long):
            m.d.comb += here.eq(place_11)
        with m.Else():
            m.d.comb += here.eq(place_2)
        place_15 = delayed(m, here, 4)
        m.d.sync += self.o.place.eq(place_15)
        m.d.comb += self.squares.place.eq(delayed(m, self.o.place, self.squares_later))
        m.d.comb += self.squares.place.valid.eq(delayed(m, self.o.place.valid & mode.add, self.squares_later))
        # With half an output step, for the rounding.
        gamma_9, beta_13 = delayed(m, i.gamma, 9), Signal(signed(PARAMETER_BITS + 1))
        m.d.sync += beta_13.eq(delayed(m, i.beta, 12) + (1 << BETA_FRACTION - 1))
        minus = delayed(m, i.minus, 3)
        over = Signal(lanes)
        for lane in range(lanes):
            m.submodules[f"front_{lane}"] = front = _Front()
            m.submodules[f"back_{lane}"] = back = _Back()
            m.d.comb += [
                front.mode.eq(mode), front.x.eq(i.x[lane]), front.residual.eq(i.residual[lane]),
                front.row.eq(i.rows[lane]), front.sum.eq(back.o),
                back.mode.eq(mode), back.x.eq(i.x[lane]), back.other.eq(i.other[lane]),
                back.residual.eq(i.residual[lane]), back.value.eq(front.o), back.gamma.eq(gamma_9),
                back.beta.eq(beta_13), back.minus.eq(minus),
                self.o.data[lane].eq(back.o), self.squares.squares[lane].eq(front.square),
                self.squares.data[lane].eq(delayed(m, back.o, self.squares_later)),
            ]
            m.d.sync += over[lane].eq(back.saturates & place_15.valid & place_15.counted[lane])
        m.d.comb += self.saturated.eq(popcount(over))
        return m


class _Front(wiring.Component):
    """A lane's cycles 0 to 9: normalised residuals, activation functions, squares."""

    def __init__(self):
        super().__init__({
            "mode": In(pipeline_mode), "x": In(signed(LINEAR_BITS)), "residual": In(signed(RESIDUAL_BITS)),
            "row": In(NormRow), "sum": In(signed(RESIDUAL_BITS)), "o": Out(signed(NORMAL_BITS)),
            "square": Out(SQUARE_BITS)})

    def elaborate(self, platform):
        m = Module()
        sync, mode = m.d.sync, self.mode
        d_4, factor_4 = self._moved(m)
        line_4, step_4, x_7 = self._line(m)

        # Cycles 4 to 7.
        a, b = Signal(signed(NORMAL_BITS)), Signal(signed(_LOW_BITS + 1))
        with m.If(mode.normal):
            m.d.comb += [a.eq(d_4), b.eq(factor_4)]
        with m.Elif(mode.function):
            m.d.comb += [a.eq(line_4.slope), b.eq(step_4)]
        with m.Else():
            m.d.comb += [a.eq(self.sum), b.eq(self.sum[:_LOW_BITS])]
        base_6 = delayed(m, line_4.base, 2)
        low, high, top = _products(m, a, mode.function, b, square=True)
        total = Signal(signed(SQUARE_BITS + 1))
        left, right = Signal.like(total), Signal.like(total)
        with m.If(mode.add):
            m.d.comb += [left.eq(Cat(low[:2 * _LOW_BITS], top)), right.eq(high << _LOW_BITS + 1)]
        with m.Else():
            m.d.comb += [left.eq(low), right.eq(Mux(mode.function, base_6 << STEP_BITS, high << _LOW_BITS))]
        sync += total.eq(left + right)
        m.d.comb += self.square.eq(total)

        # Cycles 7 to 9. No normalised residual is larger than 64 but by its error: a bit more holds it, and any value
        # of a function.
        floor_8, half_8 = Signal(signed(NORMAL_BITS + 1)), Signal()
        floor, half, _ = shift_right(total[:NORMAL_BITS + _LOW_BITS].as_signed(), delayed(m, self.row.post, 7),
                                     NORMAL_BITS + 1)
        n = Signal(signed(NORMAL_BITS + 1))
        sync += [floor_8.eq(floor), half_8.eq(half),
                 n.eq(Mux(mode.function, self._value(m, x_7, total), (Cat(half_8, floor_8).as_signed() + 1) >> 1))]
        fits = n[-1] == n[-2]
        m.d.comb += self.o.eq(Mux(fits, n[:NORMAL_BITS], Cat((~n[-1]).replicate(NORMAL_BITS - 1), n[-1])))
        return m

    def _moved(self, m):
        """The residual less its mean in cycle 4, down by ``pre``; the row's factor."""
        exact = Cat(Const(0, MEAN_FRACTION), delayed(m, self.residual, 1)).as_signed()
        moved = Signal(signed(RESIDUAL_BITS + MEAN_FRACTION + 1))
        floor, half, _ = shift_right(moved, delayed(m, self.row.pre, 2), NORMAL_BITS)
        floor_3, half_3, d_4 = Signal(signed(NORMAL_BITS)), Signal(), Signal(signed(NORMAL_BITS))
        m.d.sync += [moved.eq(exact - delayed(m, self.row.mean, 1)), floor_3.eq(floor), half_3.eq(half),
                     d_4.eq((Cat(half_3, floor_3).as_signed() + 1) >> 1)]
        return d_4, delayed(m, self.row.factor, 4)

    def _line(self, m):
        """The line of x and the step along it in cycle 4; in cycle 7 what there is to know of x."""
        mode, x, kind = self.mode, delayed(m, self.x, 1), self.mode.kind
        known = Signal(data.StructLayout({"size": FUNCTION_BITS, "negative": 1}))
        left = (Const(FUNCTION_FRACTION) - mode.fraction)[:3]
        m.d.sync += [known.size.eq(Mux(x < 0, -x, x)[:LINEAR_BITS] << left), known.negative.eq(x < 0)]
        m.submodules.table = table = Memory(shape=LINE, depth=len(ACTIVATION_LINES), init=ROUNDED_LINES)
        port, place, silu = table.read_port(), known.size[STEP_BITS:], kind == Function.SILU
        m.d.comb += port.addr.eq(Mux(silu, place[:8], Cat(place[:7], kind == Function.GELU_ERF, 1)))
        # The block RAM's output is slow.
        return delayed(m, port.data, 1), delayed(m, known.size[:STEP_BITS], 2), delayed(m, known, 5)

    def _value(self, m, x, total):
        """The function in cycle 8: max(x, 0) less its tail, or if it is the identity less the size of a negative x."""
        kind = self.mode.kind
        place, silu = x.size[STEP_BITS:], kind == Function.SILU
        lined = silu | (kind == Function.GELU_ERF) | (kind == Function.GELU_TANH)
        near = lined & ~place[8:].any() & (silu | ~place[7])
        above, below = Signal(FUNCTION_BITS), Signal(FUNCTION_BITS)
        tail = total[STEP_BITS + GUARD_BITS:][:FUNCTION_FRACTION]
        m.d.sync += above.eq(x.size)
        with m.If(x.negative):
            m.d.sync += above.eq(0)
        m.d.sync += below.eq(Mux(x.negative & (kind == Function.IDENTITY), x.size, tail & near.replicate(len(tail))))
        return above - below


class _Back(wiring.Component):
    """A lane's cycles 0 and 10 to 16: products, rounded and saturated."""

    def __init__(self):
        linear = signed(LINEAR_BITS)
        super().__init__({
            "mode": In(pipeline_mode), "x": In(linear), "other": In(linear), "residual": In(signed(RESIDUAL_BITS)),
            "value": In(signed(NORMAL_BITS)), "gamma": In(signed(PARAMETER_BITS)),
            "beta": In(signed(PARAMETER_BITS + 1)), "minus": In(1), "o": Out(signed(RESIDUAL_BITS)),
            "saturates": Out(1)})

    def elaborate(self, platform):
        m = Module()
        sync, mode = m.d.sync, self.mode

        # To cycle 11. `minus` and what is added to short words come from cycle 0 on their own ways. Which operands are
        # multiplied has a register of its own: what they come out of is slow, and the multipliers take the next one.
        a, b = Signal(signed(NORMAL_BITS)), Signal(signed(_LOW_BITS))
        before = Mux(mode.long, self.value, self.residual)
        sync += [a.eq(Mux(mode.long | mode.residual, before, self.x)),
                 b.eq(Mux(mode.normal, self.gamma, Mux(mode.other, self.other, Cat(mode.factor, 0).as_signed())))]

        # Cycles 11 to 13. Dims fit the first multiplier, so that the second one's place in the sum is a pair's first
        # product's.
        low, high, _ = _products(m, a, mode.turn, b)
        before, total = delayed(m, low, 1), Signal(signed(NORMAL_BITS + _LOW_BITS))
        pair = (before.as_unsigned() ^ self.minus.replicate(len(before))).as_signed()
        sync += total.eq(plus(low, Mux(mode.turn, pair, high << _LOW_BITS), mode.turn & self.minus))

        # Cycles 13 to 16.
        floor_14, half_14, beyond_14 = Signal(signed(_SUM_BITS)), Signal(), Signal()
        addend, result, beyond_15 = Signal(signed(RESIDUAL_BITS)), Signal(signed(_SUM_BITS + 1)), Signal()
        floor, half, beyond = shift_right(total, mode.shift, _SUM_BITS)
        sync += [floor_14.eq(floor), half_14.eq(half), beyond_14.eq(beyond),
                 result.eq(plus(floor_14, addend, half_14)), beyond_15.eq(beyond_14), addend.eq(0)]
        negative_15 = delayed(m, total[-1], 2)
        with m.If(mode.normal):
            sync += addend.eq(self.beta)
        with m.Elif(mode.add):
            sync += addend.eq(delayed(m, self.residual, 4))
        value = Mux(mode.normal, result >> BETA_FRACTION, result).as_signed()
        self._saturate(m, value, beyond_15, Mux(beyond_15, negative_15, value[-1]))
        return m

    def _saturate(self, m, value, beyond, sign):
        mode = self.mode
        outside = {bits: ~(value[bits - 1:].all() | ~value[bits - 1:].any()) for bits in (8, 12, 16, 24)}
        small = {bits: Signal(name=f"within_{bits}") for bits in (8, 12, 16)}
        m.d.comb += [small[8].eq(~mode.add & (mode.format == RowFormat.INT8)),
                     small[12].eq(small[8] | (~mode.add & (mode.format == RowFormat.INT12))), small[16].eq(~mode.add)]
        over = Signal()
        m.d.comb += [over.eq(beyond | outside[24] | Cat(small[bits] & outside[bits] for bits in small).any()),
                     self.saturates.eq(over)]
        for bit in range(RESIDUAL_BITS):
            # Of a limit, the bits from the format's sign on are the sign, those below are not.
            signs = [small[bits] for bits in small if bit >= bits - 1] + [Const(bit == RESIDUAL_BITS - 1, 1)]
            m.d.sync += self.o[bit].eq(Mux(over, sign ^ ~Cat(signs).any(), value[bit]))


def _products(m, a, short, b, square=False):
    """Two cycles: the low bits of a times b, its high ones times b, those squared. If ``short``, the low ones are it.

    All bits of the operands are registers, so that the multipliers' own ones take their place.
    """
    low_part, high_part, factor = (Signal(signed(bits)) for bits in (_LOW_BITS + 1, len(a) - _LOW_BITS, len(b)))
    low, high = Signal(signed(2 * _LOW_BITS + 1)), Signal(signed(len(high_part) + len(b)))
    top = Signal(2 * (RESIDUAL_BITS - _LOW_BITS) - 1)
    m.d.sync += [low_part.eq(Cat(a[:_LOW_BITS], short & a[_LOW_BITS - 1]).as_signed()), high_part.eq(a[_LOW_BITS:]),
                 factor.eq(b), low.eq(low_part * factor), high.eq(high_part * factor)]
    if square:
        m.d.sync += top.eq(high_part * high_part)
    return low, high, top


ROUNDED_LINES = tuple({**line, "base": line["base"] + 8} for line in ACTIVATION_LINES)
"""Half a step of the function is in their bases."""
