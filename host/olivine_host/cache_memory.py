"""Where a key-value cache and the jobs over it lie in memory."""

from olivine.config import ConfigError
from olivine.kvcache.descriptor import BLOCK_UNIT, RECORD_BYTES, CacheGeometry
from olivine.kvcache.page import page_bytes
from olivine.olive.formats import LaneFormat

from .attention_jobs import POISON

__all__ = ["CacheMemory"]


def _align(value, unit):
    return -(-value // unit) * unit


class CacheMemory:
    """The address map of a cache: an area for jobs, the pool, the records of heavy hitters, room to swap out to.

    Parameters
    ----------
    config : AcceleratorConfig
    heads : int
        Layers times KV heads.
    head_dim : int
    key_format, value_format : LaneFormat
    blocks : int or None
        Of the pool; by default as many as configured.
    log_cells : int or None
        Binary logarithm of the cells of a record; by default as many as configured.
    host_blocks : int
        Blocks that can be swapped out.
    job_bytes : int
        Size of the area for jobs.
    page_gap : int
        Bytes between the pages of a block, a multiple of the bus's.

    Attributes
    ----------
    geometry : dict
        Every field of `CacheGeometry`.
    jobs, pool, records, host : (int, int)
        First byte and size of each part.
    memory_bytes : int
        End of the last.
    block_bytes : int
    """

    def __init__(self, config, *, heads, head_dim, key_format=LaneFormat.INT8, value_format=LaneFormat.INT8,
                 blocks=None, log_cells=None, host_blocks=0, job_bytes=1 << 16, page_gap=0):
        self.config = config
        self.key_format, self.value_format = LaneFormat(key_format), LaneFormat(value_format)
        most = config.cells.bit_length() - 1
        blocks = config.blocks if blocks is None else blocks
        log_cells = most if log_cells is None else log_cells
        for name, value, low, high in (("heads", heads, 1, (1 << 16) - 1), ("blocks", blocks, 1, config.blocks),
                                       ("log_cells", log_cells, 0, most),
                                       ("head_dim", head_dim, 8, config.max_head_dim)):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: allowed is {low} to {high}")
        if head_dim % 8 or page_gap % config.bus_bytes:
            raise ValueError(f"head_dim is {head_dim}, page_gap {page_gap}: must be multiples of 8 and of "
                             f"{config.bus_bytes}")
        page = page_gap + page_bytes(config.lanes, config.bus_bytes, head_dim, self.key_format, self.value_format)
        self.block_bytes = _align(heads * page, BLOCK_UNIT)
        end = 0
        for name, size in (("jobs", job_bytes), ("pool", blocks * self.block_bytes),
                           ("records", (config.sequences * heads << log_cells) * RECORD_BYTES),
                           ("host", host_blocks * self.block_bytes)):
            setattr(self, name, (end, _align(size, BLOCK_UNIT)))
            end += _align(size, BLOCK_UNIT)
        self.memory_bytes = end
        if end > 1 << config.addr_width:
            raise ConfigError(f"the cache ends at byte {end}: addresses have {config.addr_width} bits")
        self.geometry = {
            "base": self.pool[0], "block_units": self.block_bytes // BLOCK_UNIT, "blocks": blocks, "page_bytes": page,
            "heads": heads, "head_dim": head_dim, "key_format": self.key_format,
            "value_format": self.value_format, "records": self.records[0], "log_cells": log_cells}
        self.reset()

    @property
    def geometry_bits(self):
        """The geometry as the gateware takes it."""
        return CacheGeometry.const(self.geometry).as_value().value

    def reset(self):
        """All of the area for jobs is free again."""
        self._next = self.jobs[0]

    def place(self, size, alignment=BLOCK_UNIT):
        """Room for ``size`` bytes of a job; its address."""
        # Nothing of one job shares a beat with anything else.
        address = _align(self._next, max(alignment, self.config.bus_bytes))
        if address + size > sum(self.jobs):
            raise ValueError(f"a job needs {size} bytes at {address:#x}: the area for jobs ends at {sum(self.jobs):#x}")
        self._next = address + size
        return address

    def page(self, block, head):
        """Address of a head's page of a block."""
        return self.pool[0] + block * self.block_bytes + head * self.geometry["page_bytes"]

    def record(self, slot, head):
        """Address of the heavy-hitter record of a head of a sequence."""
        cells = RECORD_BYTES << self.geometry["log_cells"]
        return self.records[0] + (slot * self.geometry["heads"] + head) * cells

    def image(self):
        """Memory before the first job: what nobody wrote is an illegal pair everywhere."""
        return bytearray([POISON]) * self.memory_bytes
