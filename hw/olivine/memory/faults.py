"""Errors of the bus as an engine reports them."""

from ..control.job import StatusCode
from .axi import Response

__all__ = ["bus_faults"]

READ_CODES = {Response.SLVERR: StatusCode.READ_SLVERR, Response.DECERR: StatusCode.READ_DECERR}
WRITE_CODES = {Response.SLVERR: StatusCode.WRITE_SLVERR, Response.DECERR: StatusCode.WRITE_DECERR}


def bus_faults(readers, *writers):
    """``(condition, code, address)`` of each error that the readers and the writers may hold, readers first."""
    sources = [*((reader, READ_CODES) for reader in readers), *((writer, WRITE_CODES) for writer in writers)]
    return [(part.error.valid & (part.error.resp == response), code, part.error.addr)
            for part, codes in sources for response, code in codes.items()]
