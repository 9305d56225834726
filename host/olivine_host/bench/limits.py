"""The fewest cycles that any machine of a configuration's bus and multipliers could take for a job.

A limit knows the job's shape and nothing of how the engine works: the largest of the bytes that must
be read, the bytes that must be written (each over the bytes of a beat: the channels are independent)
and the useful multiplies over the multipliers. Padding, descriptors and reading twice do not count.
"""

from dataclasses import dataclass

from olivine.linear.descriptor import Group, RowFormat, run_steps

__all__ = ["Limit", "linear_limit", "EPILOGUE_BYTES"]

EPILOGUE_BYTES = 7
"""Bytes that requantize one output channel: bias 4, mult 2, shift 1."""


@dataclass(frozen=True)
class Limit:
    """What a job must move and multiply, on a bus of ``bus_bytes`` and ``multipliers``.

    Parameters
    ----------
    bytes_read, bytes_written : int
    multiplies : int
        Useful multiplies.
    bus_bytes : int
    multipliers : int
    """

    bytes_read: int
    bytes_written: int
    multiplies: int
    bus_bytes: int
    multipliers: int

    def _cycles(self):
        return {"read": -(-self.bytes_read // self.bus_bytes),
                "write": -(-self.bytes_written // self.bus_bytes),
                "multipliers": -(-self.multiplies // self.multipliers)}

    @property
    def cycles(self):
        """The limit, whole cycles."""
        return max(self._cycles().values())

    @property
    def limited_by(self):
        """``"read"``, ``"write"`` or ``"multipliers"``; the first of them where they are equal."""
        cycles = self._cycles()
        return max(cycles, key=cycles.get)


def linear_limit(config, m, k, n, weight_format, group, x_format, y_format):
    """The `Limit` of a linear job, ``[m, k] @ [k, n]``.

    Weights, with their group multipliers and what requantizes them, are read once per chunk of P * C
    rows; inputs are read once, results written once.
    """
    chunks = -(-m // config.chunk_rows)
    multipliers = 0 if Group(group) is Group.CHANNEL else -(-k // run_steps(group)) * n
    weights = -(-k * n * weight_format.bits // 8) + multipliers + EPILOGUE_BYTES * n
    return Limit(bytes_read=chunks * weights + m * k * RowFormat(x_format).bytes,
                 bytes_written=m * n * RowFormat(y_format).bytes,
                 multiplies=m * k * n, bus_bytes=config.bus_bytes, multipliers=config.multipliers)
