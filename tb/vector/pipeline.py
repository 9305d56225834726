"""Each operation of the pipeline against golden: every part in its cycle, every tally, garbage in between.

OLIVINE_ALL: every argument of the activation functions, of fraction 12, as well.
"""

import os

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from olivine.linear.descriptor import RowFormat
from olivine.vector.formats import Function
from olivine.vector.pipeline import Pipeline
from olivine_golden.vector import NormJob, activate, add, gate, requantize
from olivine_golden.vector.norm import NormRows, normalise, statistics, sums
from olivine_golden.vector.rotary import Pairing, rotate

from tb.streams import pack, start, unpack
from tb.vector.words import CONFIG, COUNT, LANES, counted, factors, places, shape_of, signed_values

PIPELINE = Pipeline(CONFIG)
MODE, INPUT, OUTPUT, SQUARES = (shape_of(PIPELINE, name) for name in ("mode", "i", "o", "squares"))
VALID = pack(INPUT, {"place": {"valid": 1}})
FORMATS = list(RowFormat)


async def begin(dut):
    dut.mode.value = dut.i.value = 0
    await start(dut)


async def stream(dut, rng, mode, words, expected, gaps):
    """Send words, of which each is one part or, if turned, two that follow each other.

    Parameters
    ----------
    words : list of list of dict
    expected : list of (list of int, list of bool)
        Results of the lanes, and which of them saturated.

    Returns the tally.
    """
    long = bool(mode.get("normal") or mode.get("function"))
    dut.mode.value = pack(MODE, {**mode, "long": long})
    # Operands do not depend on the latency.
    noise = np.random.default_rng(0)
    latency = PIPELINE.long if long else PIPELINE.latency
    enter, leave, squares, at = {}, {}, {}, 0
    for parts, (values, saturated) in zip(words, expected):
        for part in parts:
            enter[at] = part
            at += 1
        place = parts[-1]["place"]
        leave[at - 1 + latency] = place, values, counted(saturated, place)
        if mode.get("add"):
            squares[at - 1 + latency + PIPELINE.squares_later] = place, values
        at += int(rng.integers(0, 4)) if gaps and rng.random() < .3 else 0
    for cycle in range(at + latency + 5):
        garbage = int.from_bytes(noise.bytes(INPUT.size // 8 + 1), "little") % (1 << INPUT.size)
        dut.i.value = pack(INPUT, enter[cycle]) if cycle in enter else garbage & ~VALID
        await RisingEdge(dut.clk)
        got = unpack(OUTPUT, int(dut.o.value))
        assert got["place"]["valid"] == (cycle in leave), cycle
        if cycle in leave:
            place, values, tally = leave[cycle]
            assert got == {"place": place, "data": values}, (cycle, mode, got, place, values)
            assert int(dut.saturated.value) == tally, (cycle, mode)
        else:
            assert int(dut.saturated.value) == 0, cycle
        got = unpack(SQUARES, int(dut.squares.value))
        assert got["place"]["valid"] == (cycle in squares), cycle
        if cycle in squares:
            place, values = squares[cycle]
            assert got == {"place": place, "data": values, "squares": [value * value for value in values]}, cycle
    return sum(tally for *_, tally in leave.values())


def words_of(rng, count, **fields):
    """Words of arrays [lanes, words], by field; a field of [words] is that of all lanes."""
    where = places(rng, count)
    return [[{"place": where[n], **{name: value[..., n].tolist() for name, value in fields.items()}}]
            for n in range(count)]


def results(done):
    return list(zip(done[0].T.tolist(), done[1].T.tolist()))


@cocotb.test()
async def functions(dut):
    """Every function, fraction and format."""
    rng = np.random.default_rng(1)
    await begin(dut)
    over = 0
    for job in range(25):
        kind, fraction, row_format = list(Function)[job % 5], 8 + job // 5, FORMATS[job % 3]
        mult, shift = factors(rng)
        x = signed_values(rng, 16, (LANES, COUNT))
        over += await stream(
            dut, rng, {"function": 1, "kind": kind.value, "fraction": fraction, "factor": mult, "shift": shift,
                       "format": row_format.value}, words_of(rng, COUNT, x=x),
            results(activate(kind, x, fraction, mult, shift, row_format.bits)), job % 2)
    assert over


@cocotb.test()
async def every_line(dut):
    """Unshifted, so that every bit of the function is seen."""
    rng = np.random.default_rng(2)
    await begin(dut)
    if int(os.environ["OLIVINE_ALL"]):
        fraction, x = 12, np.arange(-32768, 32768)
    else:
        fraction, x = 8, (np.arange(-256, 257)[:, None] * 16 + [-1, 0, 1]).reshape(-1)
    x = np.resize(x, (-(-x.size // LANES), LANES)).T
    for kind in Function:
        # The function's 20 bits do not fit 16: what lies near 0 is seen at a shift of 0, the rest at one of 4.
        for shift in (0, 4):
            await stream(dut, rng, {"function": 1, "kind": kind.value, "fraction": fraction, "factor": 1,
                                    "shift": shift, "format": RowFormat.INT16.value},
                         words_of(rng, x.shape[1], x=x), results(activate(kind, x, fraction, 1, shift, 16)), False)


@cocotb.test()
async def products(dut):
    """x and residuals by a factor, x by another, to every format."""
    rng = np.random.default_rng(3)
    await begin(dut)
    over = 0
    for job in range(27):
        row_format, (mult, shift) = FORMATS[job % 3], factors(rng)
        x, other = signed_values(rng, 16, (2, LANES, COUNT))
        residual = signed_values(rng, 24, (LANES, COUNT))
        mode = {"shift": shift, "format": row_format.value, "factor": mult}
        if job % 9 < 3:
            done, mode = requantize(x, mult, shift, row_format.bits), mode
        elif job % 9 < 6:
            done, mode = requantize(residual, mult, shift, row_format.bits), {**mode, "residual": 1}
        else:
            shift = int(rng.choice([0, 1, 63, *rng.integers(5, 25, 6)]))
            done, mode = gate(x, other, shift, row_format.bits), {**mode, "other": 1, "shift": shift}
        over += await stream(dut, rng, mode, words_of(rng, COUNT, x=x, other=other, residual=residual), results(done),
                             job % 2)
    assert over


@cocotb.test()
async def sums_of_residuals(dut):
    """And their squares."""
    rng = np.random.default_rng(4)
    await begin(dut)
    over = 0
    for job in range(20):
        mult, shift = factors(rng)
        x, residual = signed_values(rng, 16, (LANES, COUNT)), signed_values(rng, 24, (LANES, COUNT))
        if job == 0:
            mult = 0
        done = add(residual, x, mult, shift)
        over += await stream(dut, rng, {"add": 1, "factor": mult, "shift": shift, "format": job % 3},
                             words_of(rng, COUNT, x=x, residual=residual),
                             results((done.residual, done.sum_saturated)), job % 2)
    assert over


def rows_of(rng, channels):
    """Residuals [lanes, channels] of all sizes; of long rows one that is all that is not 0."""
    x = rng.normal(0, float(2 ** rng.uniform(0, 21)), (LANES, channels)) + float(rng.choice([0, 1 << 22, -1 << 20]))
    x = np.clip(np.rint(x), -1 << 23, (1 << 23) - 1).astype(int)
    kind = rng.integers(0, 4)
    if kind == 0:
        x[:] = 0
    if kind <= 1:
        x[:, 0] = signed_values(rng, 24, LANES)
    return x


@cocotb.test()
async def normalised(dut):
    """Rows with the numbers that their own statistics give, other ones with every word."""
    rng = np.random.default_rng(5)
    await begin(dut)
    over = limited = 0
    for job in range(24):
        shift, row_format = int(rng.choice([0, 63, *rng.integers(12, 30, 8)])), FORMATS[job % 3]
        groups = []
        for channels in (1, 4096, int(rng.integers(2, 4000))):
            x = rows_of(rng, channels)
            groups.append((x, statistics(NormJob.of(channels, float(rng.choice([0, 1e-12])), job % 2), *sums(x))))
        gamma, beta = signed_values(rng, 16, (2, COUNT))
        where, words, expected = places(rng, COUNT), [], []
        for n in range(COUNT):
            x, numbers = groups[int(rng.integers(0, len(groups)))]
            one = x[:, [0 if rng.random() < .3 else int(rng.integers(0, x.shape[1]))]]
            d = (one[:, 0] << 18) - numbers.mean >> numbers.pre
            assert (abs(d) < 1 << 24).all(), "an operand saturates"
            limited += int((abs(d * numbers.factor >> numbers.post) >= (1 << 24) - 1).any())
            done = normalise(one, NormRows(*numbers), gamma[[n]], beta[[n]], shift, row_format.bits)
            expected += results(done)
            rows = [{name: int(value[lane]) for name, value in numbers._asdict().items()} for lane in range(LANES)]
            words.append([{"place": where[n], "residual": one[:, 0].tolist(), "rows": rows, "gamma": int(gamma[n]),
                           "beta": int(beta[n])}])
        over += await stream(dut, rng, {"normal": 1, "residual": 1, "shift": shift, "format": row_format.value}, words,
                             expected, job % 2)
    assert over and (limited or COUNT < 40), (over, limited)


@cocotb.test()
async def turned(dut):
    """The limits of dims and angles and any."""
    rng = np.random.default_rng(6)
    await begin(dut)
    count = 4 * COUNT
    a, b, cos, sin = (signed_values(rng, 16, (count, LANES)) for _ in range(4))
    # Angles as they are, for half of them: few of their results saturate.
    turns, plain = rng.random((count, LANES)) * 7, rng.random((count, 1)) < .5
    cos, sin = (np.where(plain, np.rint(side(turns) * (1 << 14)).astype(int), any_)
                for side, any_ in ((np.cos, cos), (np.sin, sin)))
    made = rotate(np.stack([a, b], -1).reshape(-1, 2), cos.reshape(-1, 1), sin.reshape(-1, 1), Pairing.HALVES)
    y, saturated = (part.reshape(count, LANES, 2) for part in made)
    words, expected = [], []
    for n in range(count):
        for side in range(2):
            own, other = (a, b) if side == 0 else (b, a)
            place = places(rng, 1)[0]
            words.append([
                {"place": place, "x": other[n].tolist(), "other": sin[n].tolist(), "minus": int(rng.integers(0, 2))},
                {"place": place, "x": own[n].tolist(), "other": cos[n].tolist(), "own": 1, "minus": int(side == 0)}])
            expected.append((y[n, :, side].tolist(), saturated[n, :, side].tolist()))
    for gaps in (False, True):
        await stream(dut, rng, {"turn": 1, "other": 1, "shift": 14, "format": RowFormat.INT16.value}, words, expected,
                     gaps)
