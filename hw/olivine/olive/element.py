"""The processing element: one multiply-accumulate of the array, in two bit-exact variants.

``folded``
    12-bit row operand times a signed 9-bit lane operand: the exponent was folded in at the border.
``exponent``
    12-bit row operand times a signed 5-bit integer, shifted by the lane's exponent (at most 6), as
    the OliVe paper's element does (ISCA'23, section 4). An 8-bit operand takes two neighbouring
    lanes, <4, high nibble> and <0, low nibble>, whose sums are added at the drain.
"""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..config import LANE_MAX, ROW_BITS
from . import ecp5

__all__ = ["ELEMENTS", "FOLDED_BITS", "INTEGER_BITS", "MAX_EXPONENT", "lane_shape", "product_shape", "product",
           "in_cells"]

ELEMENTS = ("folded", "exponent")

FOLDED_BITS = 9
"""Every 4-bit outlier-victim value and every int8 fits: the largest magnitude is 192."""

INTEGER_BITS = 5
MAX_EXPONENT = 6

assert LANE_MAX < 1 << (FOLDED_BITS - 1)


def lane_shape(element):
    """Shape of one lane operand: signed(9), or a struct of ``exponent`` and ``integer``."""
    if element == "folded":
        return signed(FOLDED_BITS)
    if element == "exponent":
        return data.StructLayout({"exponent": unsigned(3), "integer": signed(INTEGER_BITS)})
    raise ValueError(f"element is {element!r}: allowed are {', '.join(map(repr, ELEMENTS))}")


def product_shape(element):
    """Shape of a product, wide enough for every operand pair."""
    lane = FOLDED_BITS if element == "folded" else INTEGER_BITS + MAX_EXPONENT
    return signed(ROW_BITS + lane)


def product(element, row, lane):
    """Product of a signed 12-bit ``row`` operand and a ``lane`` operand, combinational."""
    if element == "folded":
        return row * lane
    # The exponent is never 7: the decoders' largest is 6.
    return (row * lane.integer) << lane.exponent


def in_cells(element, platform):
    """Whether the element is made of cells of the target, see `olivine.olive.ecp5`, and not of plain Amaranth."""
    return element == "folded" and ecp5.is_target(platform)
