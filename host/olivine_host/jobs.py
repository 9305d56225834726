"""Jobs as memory images: operands packed in the layouts that `olivine.linear.descriptor` declares."""

import numpy as np
from olivine.linear.descriptor import (
    OPCODE_LINEAR,
    RECORD_BYTES,
    Group,
    LinearDescriptor,
    RowFormat,
    panel_bytes,
    run_steps,
)
from olivine.olive.formats import LaneFormat

from .bench.limits import linear_limit

__all__ = ["pack_rows", "unpack_rows", "pack_weights", "LinearJob"]

ALIGNMENT = 4096
"""Regions of a job start at multiples of this many bytes."""


def _container(row_format):
    return np.dtype("<i1" if RowFormat(row_format) is RowFormat.INT8 else "<i2")


def pack_rows(x, rows, row_format):
    """Pack ``x`` [M, K] as ``[row group][index][rows]``; where fewer rows exist only those are stored.

    Raises ValueError if a value does not fit the container.
    """
    dtype = _container(row_format)
    x = np.asarray(x)
    info = np.iinfo(dtype)
    if x.size and (x.min() < info.min or x.max() > info.max):
        raise ValueError(f"rows hold {int(x.min())} to {int(x.max())}: an {dtype.name} container holds "
                         f"{info.min} to {info.max}")
    return b"".join(np.ascontiguousarray(x[i:i + rows].T, dtype).tobytes() for i in range(0, len(x), rows))


def unpack_rows(image, m, n, rows, row_format):
    """Inverse of `pack_rows`: int64 [m, n]."""
    flat = np.frombuffer(image, _container(row_format), m * n)
    return np.concatenate([flat[i * n:min(i + rows, m) * n].reshape(n, -1).T for i in range(0, m, rows)]
                          ).astype(np.int64)


def pack_weights(weights, lanes):
    """Pack `LinearWeights` panel by panel, every panel of ``lanes`` output channels padded with zeros."""
    k, n = weights.codes.shape
    panels = -(-n // lanes)
    run = run_steps(weights.group)

    def by_panel(array):
        """[..., N] -> [panel, ..., lanes], zero-padded."""
        padded = np.zeros((*array.shape[:-1], panels * lanes), array.dtype)
        padded[..., :n] = array
        return np.moveaxis(padded.reshape(*array.shape[:-1], panels, lanes), -2, 0)

    records = np.zeros((panels, lanes), np.dtype([("bias", "<i4"), ("mult", "<u2"), ("shift", "u1"), ("zero", "u1")]))
    for name in ("bias", "mult", "shift"):
        records[name] = by_panel(getattr(weights, name))
    assert records.itemsize == RECORD_BYTES
    codes = weights.codes
    if weights.format is not LaneFormat.INT8:
        if k % 2:
            codes = np.concatenate([codes, np.zeros((1, n), np.uint8)])
        codes = codes[0::2] << 4 | codes[1::2]
        run //= 2
    codes = by_panel(codes)
    multipliers = None if weights.group is Group.CHANNEL else by_panel(weights.multipliers)
    image = bytearray()
    for panel in range(panels):
        image += records[panel].tobytes()
        for g, start in enumerate(range(0, codes.shape[1], run)):
            image += codes[panel, start:start + run].tobytes()
            if multipliers is not None:
                image += multipliers[panel, g].tobytes()
    assert len(image) == panels * panel_bytes(lanes, k, weights.format, weights.group)
    return bytes(image)


class LinearJob:
    """One linear job laid out in memory: rows, weights, then room for the results.

    Parameters
    ----------
    config : AcceleratorConfig
    weights : LinearWeights
    x : int [M, K]
    x_format, y_format : RowFormat
    addresses : (int, int, int)
        Where weights, rows and results lie; one after the other from 0 if None.

    Attributes
    ----------
    unit : str
        The engine that runs it, by its name in `olivine.units`.
    regions : list of (int, bytes)
        What memory must hold: address and contents.
    output : (int, int)
        Address and size of the results, bytes.
    descriptor : int
        The 256-bit `LinearDescriptor`.
    memory_bytes : int
        End of the last region.
    """

    unit = "linear"

    def __init__(self, config, weights, x, x_format, y_format, addresses=None):
        x = np.asarray(x)
        self.config = config
        self.m, self.k = x.shape
        self.n = weights.codes.shape[1]
        self.weights, self.x = weights, x
        self.x_format, self.y_format = RowFormat(x_format), RowFormat(y_format)
        if self.k != weights.codes.shape[0]:
            raise ValueError(f"x has {self.k} input channels and the weights {weights.codes.shape[0]}")
        if self.k > config.max_reduction:
            fits = f"at most {config.max_reduction}"
            raise ValueError(f"the reduction is {self.k}: preset {config.name!r} holds {fits}")
        image = pack_weights(weights, config.lanes)
        rows = pack_rows(x, config.rows, self.x_format)
        if addresses is None:
            x_addr = self._align(len(image))
            addresses = 0, x_addr, self._align(x_addr + len(rows))
        w_addr, x_addr, y_addr = addresses
        self.regions = [(w_addr, image), (x_addr, rows)]
        self.output = (y_addr, self.m * self.n * self.y_format.bytes)
        self.memory_bytes = self._align(max(address + size for address, size in (
            (w_addr, len(image)), (x_addr, len(rows)), self.output)))
        if self.memory_bytes > 1 << config.addr_width:
            raise ValueError(f"the job ends at byte {self.memory_bytes}: addresses have {config.addr_width} bits")
        self.descriptor = LinearDescriptor.const({
            "opcode": OPCODE_LINEAR, "weight_format": weights.format, "x_format": self.x_format.value,
            "y_format": self.y_format.value, "group": Group(weights.group).value,
            "group_shift": weights.group_shift, "m": self.m, "k": self.k, "n": self.n,
            "x": x_addr, "w": w_addr, "y": y_addr,
        }).as_value().value

    @staticmethod
    def _align(address):
        return -(-address // ALIGNMENT) * ALIGNMENT

    @property
    def passes(self):
        """Times that the weights cross the bus."""
        return -(-self.m // self.config.chunk_rows)

    def unpack(self, image):
        """Results int64 [M, N] from the bytes of the output region."""
        return unpack_rows(image, self.m, self.n, self.config.rows, self.y_format)

    def limit(self):
        """The fewest cycles of any machine, see `olivine_host.bench.limits`."""
        return linear_limit(self.config, self.m, self.k, self.n, self.weights.format, self.weights.group,
                            self.x_format, self.y_format)

    def golden(self):
        """What the golden model gives: results int64 [M, N], and the tallies of the job."""
        from olivine_golden.linear import linear
        return linear(self.x, self.weights, self.y_format, self.passes)

    def matches(self, image, status):
        """Whether results and tallies are the golden model's."""
        expected, tallies = self.golden()
        return bool(np.array_equal(self.unpack(image), expected)
                    and all(status[name] == count for name, count in tallies.items()))
