"""The vector job: what happens to activations between linear layers and attention, as a 416-bit descriptor.

Memory (a *word* is one channel of P rows in int16 containers, and one beat of the bus; a row group has P rows):

rows
    ``[row group][channel][P]`` int16. Every row is stored, those without a token too.
residuals
    ``[row group][channel][P]`` int32, of which the low 24 bits count: two beats a channel.
norm parameters
    ``[channel]{gamma: int16, beta: int16}``
angles
    ``[row group][2 * pair + (0 cosine, 1 sine)][P]`` int16, 14 fractional bits; all heads turn alike.
table of `GATHER`
    ``[index][channel]`` int16, each row from a whole beat on; list of indices ``[row]`` uint32.
largest
    ``[row][8]{value: int32, index: uint32}``

All addresses are whole beats. Operations:

RESIDUAL
    With ``add``, ``r = sat24((fresh ? 0 : r) + rsh(x * mult, shift))``, written back. Then by ``norm``: LAYER and RMS
    write ``y``, normalised with the parameters at ``t``, ``out_shift``, ``reciprocal`` and ``epsilon``
    (`olivine.vector.formats`); REQUANTIZE writes ``y = sat(rsh(r * out_mult, out_shift), format)``.
ACTIVATE
    ``y = sat(rsh(function(x) * mult, shift), format)``, x with ``fraction`` fractional bits.
GATE
    ``y = sat(rsh(x * r, shift), format)``, r int16.
ROTATE
    ``heads`` heads of ``channels`` dims each: the first ``2 * pairs`` dims of each turn by the angles at ``r``, dim i
    with i + pairs, or ``interleaved`` 2 i with 2 i + 1; the others stay.
GATHER
    Row ``l`` of ``y`` is row ``t[l]`` of the table at ``x``, or 0 where the index is `NO_INDEX`.
LARGEST
    The eight largest values of each row of ``x`` in falling order, ties by rising index, to ``y``. Places past
    ``channels`` hold -32768 and `NO_INDEX`.
LANES
    Row ``(l + rotation) mod P`` of ``y`` becomes row l of ``x``, in each row group, for the rows of ``y`` from
    ``first_lane`` to ``last_lane``; its other rows keep what they had.

``y`` may be ``x`` or ``r`` (not in RESIDUAL, GATHER and LARGEST). Other overlaps of what is read and written are
not looked for, and what they give is undefined.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from .formats import EPSILON_BITS, FACTOR_BITS, RECIPROCAL_SHIFT, SHIFT_BITS

__all__ = ["OPCODE_VECTOR", "DESCRIPTOR_BITS", "VectorOp", "Norm", "VectorDescriptor", "FIELDS", "FIELDS_OF",
           "ADD_FIELDS", "NORM_FIELDS", "NO_INDEX", "LARGEST_COUNT", "ENTRY_BYTES"]

OPCODE_VECTOR = 8
DESCRIPTOR_BITS = 416

NO_INDEX = 0xFFFF_FFFF
"""Gathers zeros; and the index of a place that no channel has."""

LARGEST_COUNT, ENTRY_BYTES = 8, 8


class VectorOp(enum.Enum, shape=4):
    RESIDUAL = 0
    ACTIVATE = 1
    GATE = 2
    ROTATE = 3
    GATHER = 4
    LARGEST = 5
    LANES = 6


class Norm(enum.Enum, shape=2):
    """What becomes of a residual."""

    NONE = 0
    LAYER = 1
    RMS = 2
    REQUANTIZE = 3


VectorDescriptor = data.StructLayout({
    "opcode": unsigned(8),
    "op": unsigned(4),              # VectorOp
    "add": unsigned(1),
    "fresh": unsigned(1),
    "norm": Norm,
    "format": unsigned(2),          # RowFormat to which values saturate; containers are int16
    "function": unsigned(3),        # Function
    "fraction": unsigned(4),        # 8 to 12
    "interleaved": unsigned(1),
    "groups": unsigned(7),          # row groups, 1 to C
    "idle_rows": unsigned(5),       # rows at the end of the last group that no tally counts, 0 to P - 1
    "channels": unsigned(20),       # with a norm at most 4,096; in ROTATE dims of a head, at most max_head_dim
    "heads": unsigned(10),
    "pairs": unsigned(8),
    "x": unsigned(48),
    "r": unsigned(48),
    "t": unsigned(48),
    "y": unsigned(48),
    "mult": unsigned(FACTOR_BITS),
    "shift": unsigned(SHIFT_BITS),
    "out_mult": unsigned(FACTOR_BITS),
    "out_shift": unsigned(SHIFT_BITS),
    "reciprocal": unsigned(RECIPROCAL_SHIFT + 1),   # round(2**53 / channels); with another the results are undefined
    "epsilon": unsigned(EPSILON_BITS),
    "rotation": unsigned(5),
    "first_lane": unsigned(5),
    "last_lane": unsigned(5),
    "reserved": unsigned(3),
})

assert VectorDescriptor.size == DESCRIPTOR_BITS

FIELDS = tuple(name for name, _ in VectorDescriptor)
"""Field names in order; a status's ``detail`` for BAD_FIELD is the index into them."""

FIELDS_OF = {
    VectorOp.RESIDUAL: ("add", "norm", "groups", "idle_rows", "channels", "r"),
    VectorOp.ACTIVATE: ("format", "function", "fraction", "groups", "idle_rows", "channels", "x", "y", "mult", "shift"),
    VectorOp.GATE: ("format", "groups", "idle_rows", "channels", "x", "r", "y", "shift"),
    VectorOp.ROTATE: ("interleaved", "groups", "idle_rows", "channels", "heads", "pairs", "x", "r", "y"),
    VectorOp.GATHER: ("groups", "channels", "x", "t", "y"),
    VectorOp.LARGEST: ("groups", "channels", "x", "y"),
    VectorOp.LANES: ("groups", "channels", "x", "y", "rotation", "first_lane", "last_lane"),
}
"""Fields that an operation uses beside opcode and op; the others must be 0."""

ADD_FIELDS = ("fresh", "x", "mult", "shift")
_NORMALISED = ("format", "t", "y", "out_shift", "reciprocal", "epsilon")
NORM_FIELDS = {Norm.NONE: (), Norm.LAYER: _NORMALISED, Norm.RMS: _NORMALISED,
               Norm.REQUANTIZE: ("format", "y", "out_mult", "out_shift")}
"""Fields that RESIDUAL uses as well, with ``add`` and by ``norm``."""
