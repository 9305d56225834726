"""A board on a serial line: the link, the core behind it, and pseudo-terminals for what is no board."""

from .link import Link, LinkError
from .serial_core import SerialCore

__all__ = ["Link", "LinkError", "SerialCore"]
