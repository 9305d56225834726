"""From the sums of rows to what normalises them, on one 18 x 18 multiplier: for words of several parts."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .formats import MEAN_FRACTION, RECIPROCAL_SHIFT, RSQRT_BITS, SQUARES_BITS, SUM_BITS, NormRow
from .moments import NormJob, row_sums
from .rsqrt import LINE, RSQRT_LINES
from .rsqrt import STEP_BITS as LINE_STEP_BITS

__all__ = ["SerialMoments"]

DIGIT = 18
SUM = 40
"""Bits of a column of products, and what is carried into it."""

# Products of a row: cycle, operands, and whether they are subtracted (2: if the sum is negative).
_VARIANCE = (("channels", "squares0", 0), ("size0", "size0", 1),
             ("channels", "squares1", 0), ("size0", "size1", 1), ("size1", "size0", 1),
             ("channels", "squares2", 0), ("size1", "size1", 1), ("channels", "squares3", 0))
_MEAN = (("reciprocal0", "size0", 2), ("reciprocal1", "size0", 2), ("reciprocal0", "size1", 2),
         ("reciprocal2", "size0", 2), ("reciprocal1", "size1", 2), ("reciprocal2", "size1", 2))
_LINE, _FACTOR = 20, 23
STEPS = {**dict(enumerate((*_VARIANCE, *_MEAN))), _LINE: ("step", "slope", 1), _FACTOR: ("root", "scaled", 0)}

# Cycles in which a product is there: those that begin a sum, and those that begin a sum's next digit.
_BEGINS = {2: "variance", 2 + len(_VARIANCE): "mean", _LINE + 2: "line", _FACTOR + 2: "factor"}
_COLUMNS = (4, 7, 9, 11, 13, 15)
_DIGITS = (4, 7, 9, 10)
"""Cycles in which a digit of the variance is there."""

_MEAN_DONE, _NORMALISES, _DONE = 16, range(11, 19), 26

RATE = _DONE + 1
"""Cycles of a row."""


class SerialMoments(wiring.Component):
    """Mean and reciprocal deviation of P rows from their sums, as `Moments`, with a fifth of its cost.

    ::

        cycle  0 to 7   channels * squares + epsilon - total * total: V, channels**2 times the variance
               8 to 13  |total| * reciprocal: the mean
              11 to 18  V's leading two digits move up by pairs of bits until the topmost is not 0
              20        the line of 1 / sqrt
              23        times the channels' mantissa
              26        the row is ready

    A cycle is one product of digits of 18 bits. Columns of products are added up from the lowest digit on, so that what
    is carried from one to the next is all that has to be kept. Of V the leading digit that is not 0 and the one below
    it hold the 20 bits that `Rsqrt` looks at.

    Members
    -------
    job : In(NormJob)
        Constant from `start` until the rows are out.
    i_valid : In(1), i : In(row_sums)
        The parts of a group of rows, one after the other.
    start : In(1)
        With the last one. The next group's first part not before `done`.
    o_valid : Out(1), row : Out(range(P)), o : Out(NormRow)
        For a cycle: a row; ``done`` with the last one.

    Latency: `latency` cycles from `start` to `done`, 27 P. Cost: a multiplier, an adder of 40 bits, selects of
    eight for each bit of both operands; the table of `Rsqrt`.
    """

    def __init__(self, config):
        self.config = config
        self.latency = RATE * config.rows
        super().__init__({"job": In(NormJob), "i_valid": In(1), "i": In(row_sums(config)), "start": In(1),
                          "o_valid": Out(1), "row": Out(range(config.rows)), "o": Out(NormRow), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        sync, rows, lanes, job = m.d.sync, self.config.rows, self.config.vector_lanes, self.job

        # The sums of the row at work are those of index 0.
        sums = Signal(data.ArrayLayout(self.i.shape().elem_shape, rows))
        row, cycle, busy = Signal(range(rows)), Signal(range(RATE)), Signal()
        following = Signal.like(cycle)

        def now(*cycles):
            """Whether it is one of these cycles, as a register."""
            flag = Signal(init=0 in cycles)
            m.d.sync += flag.eq(Cat(following == value for value in cycles).any())
            return flag

        ends = now(_DONE)
        with m.If(self.i_valid | ends):
            # A part in, or a row out: of parts of one row the same, and no select.
            for index in range(rows):
                part = sums[index + lanes] if index < rows - lanes else self.i[index - rows + lanes]
                sync += sums[index].eq(part if lanes == 1 or index == rows - 1 else Mux(ends, sums[index + 1], part))
        with m.If(self.i_valid):
            sync += busy.eq(self.start)
        with m.If(ends):
            sync += [row.eq(row + 1), busy.eq(row != rows - 1)]
        m.d.comb += following.eq(Mux(busy, Mux(ends, 0, cycle + 1), cycle))
        sync += cycle.eq(following)
        m.d.comb += [self.o_valid.eq(busy & ends), self.row.eq(row), self.done.eq(self.o_valid & (row == rows - 1))]

        # Two cycles from operands to a product.
        total, squares = sums[0].total, sums[0].squares
        negative, size = Signal(), Signal(SUM_BITS)
        m.d.comb += negative.eq(job.centred & (total < 0))
        # First wanted in cycle 1.
        sync += size.eq(Mux(job.centred, Mux(total < 0, -total, total), 0))
        scaled, octave = Signal(13), Signal(range(13))
        window, exponent, column = Signal(2 * DIGIT), Signal(6), Signal(signed(SUM))
        m.submodules.lines = lines = Memory(shape=LINE, depth=len(RSQRT_LINES), init=_ROUNDED_LINES)
        port, line = lines.read_port(), Signal(LINE)
        # Where the window's last move leads to is looked up with that move: so there is a cycle for a register behind
        # the block RAM, which is slow.
        m.d.comb += port.addr.eq(Mux(window[-2:].any(), window[-8:], window[-10:-2]))
        sync += line.eq(port.data)
        operands = {
            "channels": job.channels, "step": window[-8 - LINE_STEP_BITS:-8], "slope": line.slope,
            "scaled": scaled, "root": column[16:16 + RSQRT_BITS],
            **_digits("squares", squares), **_digits("size", size), **_digits("reciprocal", job.reciprocal)}
        left, right, product = Signal(DIGIT), Signal(DIGIT), Signal(2 * DIGIT)
        for side, target in enumerate((left, right)):
            names = sorted({step[side] for step in STEPS.values()})
            numbers = {cycle: names.index(step[side]) for cycle, step in STEPS.items()}
            # A number for each cycle, a register, and that operand.
            table = Const(sum(value << 3 * cycle for cycle, value in numbers.items()), 32 * 3)
            number = Signal(3, init=numbers[0])
            sync += number.eq(table.word_select(following, 3))
            sync += target.eq(Cat((operands[name] | Const(0, DIGIT))[:DIGIT] for name in names).word_select(
                number, DIGIT))
        sync += product.eq(left * right)

        # Then it is added to a column.
        before, minus = Signal(signed(SUM)), Signal()
        variance, mean_begins, line_begins, _ = (now(begin) for begin in _BEGINS)
        begins, columns, adds = now(*_BEGINS), now(*_COLUMNS), now(*(step + 2 for step in STEPS))
        # The row's sign is long known when it counts.
        subtracts, follows = (Cat(following == step + 2 for step, (*_, sign) in STEPS.items() if sign == value).any()
                              for value in (1, 2))
        with m.If(begins):
            with m.If(variance):
                m.d.comb += before.eq(job.epsilon)
            with m.Elif(mean_begins):
                # The mean of a negative sum is rounded as that of its size.
                m.d.comb += before.eq(Cat(negative.replicate(RECIPROCAL_SHIFT - MEAN_FRACTION - 1), ~negative))
            with m.Elif(line_begins):
                m.d.comb += before.eq(line.base << LINE_STEP_BITS)
            with m.Else():
                m.d.comb += before.eq(1 << 12)
        with m.Elif(columns):
            m.d.comb += before.eq(column >> DIGIT)
        with m.Else():
            m.d.comb += before.eq(column)
        sync += minus.eq(subtracts | (negative & follows))
        with m.If(adds):
            sync += column.eq((Cat(1, before) + Cat(minus, product ^ minus.replicate(2 * DIGIT),
                                                    minus.replicate(SUM - 2 * DIGIT)))[1:])

        # Digits of V and of the mean.
        digit, above, mean = Signal(DIGIT), Signal(DIGIT), Signal(NormRow["mean"].shape)
        with m.If(now(*_COLUMNS, *_DIGITS)):
            sync += [digit.eq(column), above.eq(digit)]
        with m.If(cycle == _MEAN_DONE):
            sync += mean.eq(Cat(above[-1], digit, column))
        with m.If((cycle == _DIGITS[0]) | (now(*_DIGITS[1:]) & column[:DIGIT].any())):
            sync += window.eq(Cat(digit & (cycle != _DIGITS[0]).replicate(DIGIT), column[:DIGIT]))
            for place, value in enumerate(_DIGITS):
                with m.If(cycle == value):
                    sync += exponent.eq(DIGIT // 2 * (place + 1) - 1)
        with m.Elif((cycle >= _NORMALISES.start) & (cycle < _NORMALISES.stop) & ~window[-2:].any()):
            sync += [window.eq(window << 2), exponent.eq(exponent - 1)]

        # The channels' octave, and where the point is.
        with m.If(self.start):
            sync += [scaled.eq(job.channels), octave.eq(12)]
        with m.Elif(~scaled[-1]):
            sync += [scaled.eq(scaled << 1), octave.eq(octave - 1)]
        point = Signal(signed(7))
        m.d.comb += [
            point.eq(exponent - octave), self.o.mean.eq(mean), self.o.factor.eq(column[13:13 + RSQRT_BITS]),
            self.o.pre.eq(Mux(point < -1, 0, point + 1)), self.o.post.eq(Mux(point < -1, point + 16, 15)),
        ]
        return m


def _digits(name, value):
    """Digits of an unsigned value, from the lowest."""
    return {f"{name}{index}": value[DIGIT * index:DIGIT * (index + 1)] for index in range(-(-len(value) // DIGIT))}


_ROUNDED_LINES = tuple({**line, "base": line["base"] + 8} for line in RSQRT_LINES)
"""Half a step of the root is in their bases."""

assert SQUARES_BITS <= 4 * DIGIT and max(line["base"] for line in _ROUNDED_LINES) < 1 << LINE["base"].width
