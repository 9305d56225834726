"""What the pipelines of the vector unit share: words that wait, and how their values become results."""

from amaranth.hdl import Signal, signed
from amaranth.lib.wiring import In, Out

from ..linear.descriptor import RowFormat
from ..numerics.popcount import popcount
from ..numerics.rounding import rsh, sat, saturates
from .formats import LINEAR_BITS, SHIFT_BITS, word

__all__ = ["FINISH", "result_word", "result_members", "delayed", "exists", "narrow", "finish"]

FINISH = 4
"""Cycles of `finish`."""


def result_word(config):
    """A word of results, sign-extended to 16 bits."""
    return word(config, signed(LINEAR_BITS))


def result_members(config):
    """Members of a pipeline that ends in `narrow`."""
    return {
        "shift": In(SHIFT_BITS), "format": In(RowFormat),
        "o": Out(result_word(config)), "saturated": Out(range(config.rows + 1)),
    }


def delayed(m, value, cycles):
    """``value`` that many cycles later."""
    for _ in range(cycles):
        held = Signal.like(value)
        m.d.sync += held.eq(value)
        value = held
    return value


def exists(place, row):
    """Whether a row of the word at ``place`` counts."""
    return place.valid & (row < place.rows)


def narrow(m, unit, place, rounded):
    """One cycle: ``unit.o`` from the rounded values of the word at ``place``; ``unit.saturated`` beside it."""
    over = Signal(len(rounded))
    m.d.sync += unit.o.place.eq(place)
    for row, value in enumerate(rounded):
        with m.Switch(unit.format):
            for format in RowFormat:
                with m.Case(format) if format is not RowFormat.INT16 else m.Default():
                    m.d.sync += [unit.o.data[row].eq(sat(value, format.bits)),
                                 over[row].eq(saturates(value, format.bits) & exists(place, row))]
    m.d.comb += unit.saturated.eq(popcount(over))


def finish(m, unit, place, products):
    """`FINISH` cycles: ``sat(rsh(product, unit.shift), unit.format)`` of the word at ``place``, as `narrow` does."""
    rounded = []
    for row, value in enumerate(products):
        product, held, shifted = (Signal(value.shape(), name=f"{name}_{row}") for name in (
            "product", "product_held", "product_rounded"))
        m.d.sync += [product.eq(value), held.eq(product), shifted.eq(rsh(held, unit.shift))]
        rounded.append(shifted)
    narrow(m, unit, delayed(m, place, FINISH - 1), rounded)
