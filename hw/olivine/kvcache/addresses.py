"""Addresses as wide as they may be, and a bit: what lies beyond the address space is known, and meets the guard."""

from amaranth.hdl import Cat

from .descriptor import BLOCK_UNIT

__all__ = ["LOG_BLOCK_UNIT", "address_bits", "unit_bits", "address_clip", "address_sum", "address_double"]

LOG_BLOCK_UNIT = BLOCK_UNIT.bit_length() - 1


def address_bits(config):
    """Bits of an address whose top bit stands for all that lies beyond the address space: once set, it stays set.

    Sums and products of host's numbers (a block times its size) have up to 49 bits. Of one that is beyond the address
    space only the lower bits and that it is beyond are kept: the guard refuses it, with what is kept as its address.
    """
    return max(config.addr_width, 32) + 1


def unit_bits(config):
    """Of an address in units of `BLOCK_UNIT`."""
    return address_bits(config) - LOG_BLOCK_UNIT


def address_clip(value, bits):
    """A number of any width as an address of so many ``bits``."""
    return Cat(value[:bits - 1], value[bits - 1:].any())


def address_sum(first, second):
    """The sum of an address and a number of any width, as wide as the address."""
    top = len(first) - 1
    total = first[:top] + second[:top]
    return Cat(total[:top], total[top] | first[top] | second[top:].any())


def address_double(address):
    return address_clip(address << 1, len(address))
