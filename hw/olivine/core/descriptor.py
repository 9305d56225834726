"""Jobs of the joined core that no engine has: setting up the cache. All other opcodes are the engines' own."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from ..kvcache.descriptor import CacheGeometry

__all__ = ["OPCODE_SETUP", "JOB_BITS", "SetupDescriptor", "SETUP_FIELDS"]

OPCODE_SETUP = 7
JOB_BITS = 256

SetupDescriptor = data.StructLayout({
    "opcode": unsigned(8), "geometry": CacheGeometry, "reserved": unsigned(JOB_BITS - 8 - CacheGeometry.size)})
"""Says where the cache lies. While sequences are open, one with another geometry is refused."""

SETUP_FIELDS = tuple(name for name, _ in SetupDescriptor)
