"""The order in which blocks of rows cross the bus: chunks, pieces of a row group, contexts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .plan import ADDRESS_BITS

__all__ = ["BlockWalk"]


class BlockWalk(wiring.Component):
    """Walks ``[row group][index][P]`` memory piece by piece: for each chunk, for each piece, for each context.

    A piece is a run of the reduction or a panel of channels, the same range of indices in every row
    group. A block is a piece of one row group: contiguous bytes.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    base : In, stride : In
        Address of the first row group; bytes from one row group to the next.
    row_groups, last_rows : In
        Number of row groups; rows of the last.
    pieces : In, piece_bytes, last_piece_bytes : In
        Pieces of a row group; bytes that each but the last takes in a full row group, and in the last.
    advance : In(1)
        Go on to the next block; while ``valid``.
    valid : Out(1), block : Out(struct)
        ``addr`` of the block, its ``rows``, ``context`` and ``pieces`` left, this one included;
        ``first_piece``, and ``last_context`` of the chunk.
    done : Out(1)
        The last block was passed.

    Throughput: one block a cycle. Starts by itself in the second cycle after reset.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "base": In(ADDRESS_BITS), "stride": In(40),
            "row_groups": In(20), "last_rows": In(range(config.rows + 1)),
            "pieces": In(20), "piece_bytes": In(40), "last_piece_bytes": In(40),
            "advance": In(1), "valid": Out(1), "done": Out(1),
            "block": Out(data.StructLayout({
                "addr": ADDRESS_BITS, "rows": range(config.rows + 1), "context": range(config.contexts),
                "pieces": 20, "first_piece": 1, "last_context": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        config, block = self.config, self.block
        groups = Signal(20)                     # row groups left, this chunk's included
        contexts = Signal(range(config.contexts + 1))
        chunk_addr, addr = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        # How far the piece lies into a full row group, and into the last, which may be shorter.
        into, into_last = Signal(40), Signal(40)

        last_group = groups == block.context + 1
        m.d.comb += [
            contexts.eq(Mux(groups > config.contexts, config.contexts, groups)),
            block.addr.eq(addr + Mux(last_group, into_last, into)),
            block.rows.eq(Mux(last_group, self.last_rows, config.rows)),
            block.first_piece.eq(block.pieces == self.pieces),
            block.last_context.eq(block.context + 1 == contexts),
        ]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(self.row_groups), block.pieces.eq(self.pieces), chunk_addr.eq(self.base),
                             addr.eq(self.base)]
                m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.advance):
                    m.d.sync += [block.context.eq(block.context + 1), addr.eq(addr + self.stride)]
                    with m.If(block.last_context):
                        m.d.sync += [block.context.eq(0), block.pieces.eq(block.pieces - 1), addr.eq(chunk_addr),
                                     into.eq(into + self.piece_bytes), into_last.eq(into_last + self.last_piece_bytes)]
                        with m.If(block.pieces == 1):
                            m.d.sync += [groups.eq(groups - contexts), block.pieces.eq(self.pieces),
                                         into.eq(0), into_last.eq(0),
                                         chunk_addr.eq(addr + self.stride), addr.eq(addr + self.stride)]
                            with m.If(groups == contexts):
                                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m
