"""The fewest cycles that any machine of a configuration's bus and multipliers could take for a job.

A limit knows the job's shape and nothing of how the engine works: the largest of the bytes that must
be read, the bytes that must be written (each over the bytes of a beat: the channels are independent)
and the useful multiplies over the multipliers. Padding, descriptors and reading twice do not count.
"""

from dataclasses import dataclass, replace

from olivine.attention.descriptor import OutputFormat, partial_words
from olivine.linear.descriptor import Group, RowFormat, run_steps

__all__ = ["Limit", "linear_limit", "attention_limit", "EPILOGUE_BYTES"]

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

    def __add__(self, other):
        """Of two jobs together."""
        return replace(self, bytes_read=self.bytes_read + other.bytes_read,
                       bytes_written=self.bytes_written + other.bytes_written,
                       multiplies=self.multiplies + other.multiplies)

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


def _seen(token, keys, position, causal, window):
    """First key that a query token sees, and the first that it sees no more."""
    at = position + token
    low = max(0, at - window + 1) if window else 0
    high = min(keys, at + 1) if causal else keys
    return low, max(low, high)


def attention_limit(config, groups, head_dim, key_format, value_format, q_format, o_format, *, heads=1,
                    causal=False, window=0, lse=False):
    """The `Limit` of an attention job whose ``groups`` are (rows, keys, position).

    Each key and value that some row of a chunk (of P rows for every context that fits) sees is read once for
    that chunk; queries are read once, results written once. Every row multiplies with the keys and the values
    that it sees.
    """
    chunk_rows = config.rows * config.attention_contexts(head_dim)
    bits = head_dim * (key_format.bits + value_format.bits)
    output = OutputFormat(o_format)
    row_bytes = 2 * partial_words(head_dim) if output is OutputFormat.PARTIAL else head_dim * output.bytes
    read = written = pairs = 0
    for rows, keys, position in groups:
        for start in range(0, rows, chunk_rows):
            stop = min(start + chunk_rows, rows)
            seen = []
            for token in range(start // heads, -(-stop // heads)):
                low, high = _seen(token, keys, position, causal, window)
                sharing = min(stop, (token + 1) * heads) - max(start, token * heads)
                pairs += sharing * (high - low)
                if high > low:
                    seen.append((low, high))
            if seen:
                # Ranges of consecutive tokens leave no key out between them.
                read += (max(high for _, high in seen) - min(low for low, _ in seen)) * bits // 8
        read += rows * head_dim * RowFormat(q_format).bytes
        written += rows * (row_bytes + (4 if lse else 0))
    return Limit(bytes_read=read, bytes_written=written, multiplies=2 * head_dim * pairs,
                 bus_bytes=config.bus_bytes, multipliers=config.multipliers)
