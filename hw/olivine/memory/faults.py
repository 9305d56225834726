"""Errors of the bus as an engine reports them."""

from amaranth.hdl import Mux

from ..control.job import StatusCode
from .axi import Response

__all__ = ["bus_faults"]

READ_CODES = StatusCode.READ_SLVERR, StatusCode.READ_DECERR
WRITE_CODES = StatusCode.WRITE_SLVERR, StatusCode.WRITE_DECERR


def bus_faults(readers, *writers):
    """``(condition, code, address)`` of each error that the readers and the writers may hold, readers first."""
    sources = [*((reader, READ_CODES) for reader in readers), *((writer, WRITE_CODES) for writer in writers)]
    return [(part.error.valid, Mux(part.error.resp == Response.SLVERR, *codes), part.error.addr)
            for part, codes in sources]
