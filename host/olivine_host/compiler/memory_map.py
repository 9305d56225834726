"""Where everything of a model lies: weights, tables, the cache, activations."""

from dataclasses import dataclass

from olivine.config import ConfigError
from olivine.kvcache.descriptor import BLOCK_UNIT, RECORD_BYTES
from olivine.kvcache.page import page_bytes

from .program import Region

__all__ = ["Place", "MemoryMap", "Activations", "cache_geometry"]

ALIGNMENT = 4096


def align(value, unit):
    return -(-value // unit) * unit


@dataclass(frozen=True)
class Place:
    """A named range of memory."""

    name: str
    address: int
    size: int

    @property
    def end(self):
        return self.address + self.size


class MemoryMap:
    """Hands out memory from address 0 on, and the scratchpad from its first word on.

    Parameters
    ----------
    config : AcceleratorConfig

    Attributes
    ----------
    places : list of Place
    """

    def __init__(self, config):
        self.config = config
        self.places = []
        self._end, self._scratch_end = 0, config.scratchpad_base

    @property
    def end(self):
        """Bytes of memory that are taken."""
        return self._end

    @property
    def scratchpad_free(self):
        return self.config.scratchpad_base + self.config.scratchpad_bytes - self._scratch_end

    def take(self, name, size, alignment=ALIGNMENT):
        """A `Place` in memory.

        Raises
        ------
        ConfigError
            If the address space below the scratchpad is full: by how much.
        """
        place = Place(name, align(self._end, alignment), size)
        if place.end > self.config.scratchpad_base:
            over = place.end - self.config.scratchpad_base
            raise ConfigError(f"{name} needs {size} bytes and ends at {place.end:#x}: memory ends at "
                              f"{self.config.scratchpad_base:#x}, {over} bytes before")
        self._end = place.end
        self.places.append(place)
        return place

    def empty_scratchpad(self):
        """What is taken there from now on may lie where other things do."""
        self._scratch_end = self.config.scratchpad_base

    def take_near(self, name, size):
        """A `Place` in the scratchpad if it fits there, otherwise in memory."""
        if size > self.scratchpad_free:
            return self.take(name, size)
        place = Place(name, self._scratch_end, size)
        self._scratch_end = align(place.end, self.config.bus_bytes)
        self.places.append(place)
        return place

    def table(self):
        """Lines for people: address, size, name."""
        return [(f"{place.address:#010x}", place.size, place.name) for place in
                sorted(self.places, key=lambda place: place.address)]


class Activations:
    """Rows of a step, `channels` words of `word_bytes` each for every row group.

    Parameters
    ----------
    place : Place
    group_bytes : int
        From one row group to the next.
    """

    def __init__(self, place, group_bytes):
        self.place, self.group_bytes = place, group_bytes

    def at(self, group):
        """Address of a row group."""
        return self.place.address + group * self.group_bytes

    def region(self, first, count):
        """Of ``count`` row groups from ``first`` on."""
        return Region(self.at(first), count * self.group_bytes)


def cache_geometry(config, memory, heads, head_dim, key_format, value_format, blocks, log_cells, hitters):
    """Room for the key-value cache: every field of `olivine.kvcache.descriptor.CacheGeometry`.

    Parameters
    ----------
    heads : int
        Layers times KV heads.
    blocks : int
        Of the pool, L tokens each.
    log_cells : int
        Binary logarithm of the cells of a heavy-hitter record.
    hitters : bool
        Whether there are records at all.
    """
    page = page_bytes(config.lanes, config.bus_bytes, head_dim, key_format, value_format)
    block_bytes = align(heads * page, BLOCK_UNIT)
    pool = memory.take("key-value blocks", blocks * block_bytes)
    records = memory.take("heavy-hitter records", (config.sequences * heads << log_cells) * RECORD_BYTES if hitters
                          else 0)
    return {"base": pool.address, "block_units": block_bytes // BLOCK_UNIT, "blocks": blocks, "page_bytes": page,
            "heads": heads, "head_dim": head_dim, "key_format": key_format, "value_format": value_format,
            "records": records.address, "log_cells": log_cells}
