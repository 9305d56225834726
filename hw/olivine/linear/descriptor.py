"""The linear job: ``y = requantize(x @ w + bias)``, as a 256-bit descriptor.

Memory layouts (B = bus bytes, P = rows, L = lanes):

rows (x and y)
    ``[row group][index][P]``, int8 or int16 containers; where fewer than P rows exist only those
    are stored. ``x`` and ``y`` are aligned to their container.
weights
    For every L output channels a *panel*, aligned to the bus: first L 8-byte epilogue records
    ``bias: int32, mult: uint16, shift: uint8, 0``, then the *runs* of the reduction in order: run
    steps (the group, or 128 when scales are per channel; the last may be shorter) as ``[k][L]``
    bytes in 8 bit or ``[k/2][L]`` bytes in 4 bit (an odd last step is padded), and, in groups, the
    run's L one-byte multipliers. Lanes past the last channel are padding.
"""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from ..config import CHANNEL_RUN
from ..olive.formats import LaneFormat

__all__ = ["RowFormat", "Group", "LinearDescriptor", "FIELDS", "RECORD_BYTES", "OPCODE_LINEAR", "run_steps",
           "panel_bytes"]

OPCODE_LINEAR = 1

RECORD_BYTES = 8
"""Bytes of one channel's epilogue record."""


class RowFormat(enum.Enum, shape=2):
    """Formats of activations in memory: int12 is sign-extended to an int16 container."""

    INT8 = 0
    INT12 = 1
    INT16 = 2

    @property
    def bits(self):
        return (8, 12, 16)[self.value]

    @property
    def bytes(self):
        """Bytes of the container."""
        return 1 if self is RowFormat.INT8 else 2


class Group(enum.Enum, shape=2):
    """Steps that share a scale; CHANNEL means one scale for the whole reduction."""

    CHANNEL = 0
    G64 = 1
    G128 = 2


LinearDescriptor = data.StructLayout({
    "opcode": unsigned(8),
    "weight_format": LaneFormat,
    "x_format": unsigned(2),    # RowFormat, INT16 not allowed
    "y_format": unsigned(2),    # RowFormat
    "group": unsigned(2),       # Group
    "group_shift": unsigned(6),
    "m": unsigned(20),
    "k": unsigned(20),
    "n": unsigned(20),
    "x": unsigned(48),
    "w": unsigned(48),
    "y": unsigned(48),
    "reserved": unsigned(30),
})

FIELDS = tuple(name for name, _ in LinearDescriptor)
"""Field names in order; a status's ``detail`` for BAD_FIELD is the index into them."""


def run_steps(group):
    """Steps between two drains."""
    return 64 if Group(group) is Group.G64 else CHANNEL_RUN


def panel_bytes(lanes, k, weight_format, group):
    """Bytes of one panel: records, weights and group multipliers of ``lanes`` output channels."""
    run = run_steps(group)
    words = k if weight_format is LaneFormat.INT8 else (k + 1) // 2
    multipliers = 0 if Group(group) is Group.CHANNEL else -(-k // run)
    return lanes * (RECORD_BYTES + words + multipliers)
