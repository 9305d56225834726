"""Block numbers to a command for the mover."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .addresses import LOG_BLOCK_UNIT, address_clip, address_double, address_sum, unit_bits
from .descriptor import CacheGeometry
from .moves import MoveCommand, MoveKind
from .slots import block_bits

__all__ = ["move_layout", "MoveAddresses"]


def move_layout(config):
    """A move, with numbers of blocks in place of addresses; ``from_host``, ``to_host``: that one is at ``host``, an
    address in units (`unit_bits`)."""
    block = unsigned(block_bits(config))
    return data.StructLayout({
        "kind": MoveKind, "zero": 1, "source": block, "target": block, "from_host": 1, "to_host": 1,
        "host": unsigned(unit_bits(config)),
        "places": unsigned(16), "source_place": unsigned(16), "target_place": unsigned(16),
    })


class MoveAddresses(wiring.Component):
    """Adds ``base + block * block_units * BLOCK_UNIT`` for both blocks of a move, as far as addresses go (`addresses`).

    Members
    -------
    geometry : In(CacheGeometry)
    i : In(stream(move_layout)), o : Out(stream MoveCommand)

    Latency: 2 cycles and one for each bit up to the highest 1 of either block number. No multiplier: two adders of
    an address in units.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"geometry": In(CacheGeometry), "i": In(stream.Signature(move_layout(config))),
                          "o": Out(stream.Signature(MoveCommand))})

    def elaborate(self, platform):
        m = Module()
        move, out = self.i.payload, self.o.payload
        bits = unit_bits(self.config)
        source, target, stride = Signal.like(move.source), Signal.like(move.target), Signal(bits)
        # In units of blocks.
        source_at, target_at = Signal(bits), Signal(bits)
        base = address_clip(self.geometry.base >> LOG_BLOCK_UNIT, bits)
        m.d.comb += [out.source.eq(source_at << LOG_BLOCK_UNIT), out.target.eq(target_at << LOG_BLOCK_UNIT)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    source.eq(move.source), target.eq(move.target), stride.eq(self.geometry.block_units),
                    out.kind.eq(move.kind), out.zero.eq(move.zero), out.places.eq(move.places),
                    out.source_place.eq(move.source_place), out.target_place.eq(move.target_place),
                    source_at.eq(base), target_at.eq(base),
                ]
                with m.If(move.from_host):
                    m.d.sync += [source_at.eq(move.host), source.eq(0)]
                with m.If(move.to_host):
                    m.d.sync += [target_at.eq(move.host), target.eq(0)]
                with m.If(self.i.valid):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [source.eq(source >> 1), target.eq(target >> 1), stride.eq(address_double(stride))]
                with m.If(source[0]):
                    m.d.sync += source_at.eq(address_sum(source_at, stride))
                with m.If(target[0]):
                    m.d.sync += target_at.eq(address_sum(target_at, stride))
                with m.If((source == 0) & (target == 0)):
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
