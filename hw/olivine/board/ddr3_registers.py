"""Registers by which the host sets up DDR3 memory, declared once: gateware, generator and host read them here.

They are the end of the bridge's register space, in its units of four bytes, above those of the core.
"""

import enum

from ..bridge.frames import REGISTER_BYTES, REGISTER_SPACE

__all__ = ["BASE", "PAGE", "Phy", "STATE", "LEVELLED", "INITIALISED", "LANES", "offset_of"]

PAGE = 0x80
"""Bytes of the registers of one unit of the controller."""

BASE = REGISTER_SPACE - 2 * PAGE
"""Of the window: from here `Phy`, a page further `STATE`."""


class Phy(enum.IntEnum):
    """Registers of LiteDRAM's PHY for the ECP5 (`litedram.phy.ecp5ddrphy`), in its order. What a write does to a byte
    lane it does to those of `DLY_SEL`, whatever the value."""

    DLY_SEL = 0
    """A bit a byte lane; while it is set the lane's clock rests, so none is at the end."""
    RDLY_DQ_RST = 1
    """Read delay becomes 0."""
    RDLY_DQ_INC = 2
    """Read delay becomes one more, modulo 8."""
    RDLY_DQ_BITSLIP_RST = 3
    RDLY_DQ_BITSLIP = 4
    """Bit slip becomes one more, modulo 4."""
    BURSTDET_CLR = 5
    """Forgets what `BURSTDET_SEEN` says, of all lanes."""
    BURSTDET_SEEN = 6
    """A bit a byte lane: a read's strobes came in their time."""


STATE = BASE + PAGE
"""Offset of a register of the window: `INITIALISED`, and `LEVELLED`, which the host writes and a reset clears."""

LEVELLED, INITIALISED = 1, 2
"""Bits of `STATE`: memory can be used; the chip has been through its initialisation (read only)."""

LANES = 8
"""Lowest of eight bits of `STATE`: the number of byte lanes (read only)."""


def offset_of(register):
    """Offset of a register of `Phy` in the bridge's register space."""
    return BASE + REGISTER_BYTES * register
