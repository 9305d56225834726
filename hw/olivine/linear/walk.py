"""The order in which blocks of rows cross the bus: chunks, pieces of a row group, contexts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .plan import SIZE_BITS, parts_bits

__all__ = ["BlockWalk"]


class BlockWalk(wiring.Component):
    """Walks ``[row group][index][P]`` memory piece by piece: for each chunk, for each piece, for each context.

    A piece is a run of the reduction or a panel of channels, the same range of indices in every row
    group. A block is a piece of one row group: contiguous bytes.

    Parameters
    ----------
    config : AcceleratorConfig
    stride_bits, piece_bits : int
        Width of the bytes of a row group, and of a piece of it.
    count_bits : int
        Width of the number of pieces.

    Members
    -------
    base : In(config.addr_width), stride : In(stride_bits)
        Address of the first row group; bytes from one row group to the next.
    row_groups, last_rows : In
        Number of row groups; rows of the last.
    pieces : In(count_bits), piece_bytes, last_piece_bytes : In(piece_bits)
        Pieces of a row group; bytes that each but the last takes in a full row group, and in the last.
    advance : In(1)
        Go on to the next block; while ``valid``.
    valid : Out(1), block : Out(struct)
        ``addr`` of the block, its ``rows``, ``context`` and ``pieces`` left, this one included;
        ``first_piece``, and ``last_context`` of the chunk.
    done : Out(1)
        The last block was passed.

    Addresses have a bit more than base and stride: up to the first that is past the last one, they are right.

    Throughput: one block a cycle. Starts by itself in the second cycle after reset.
    Cost: two additions of an address, and a choice of one of four.
    """

    def __init__(self, config, stride_bits=40, piece_bits=40, count_bits=SIZE_BITS):
        self.config = config
        self.address_bits = max(config.addr_width, stride_bits) + 1
        super().__init__({
            "base": In(config.addr_width), "stride": In(stride_bits),
            "row_groups": In(parts_bits(config.rows)), "last_rows": In(range(config.rows + 1)),
            "pieces": In(count_bits), "piece_bytes": In(piece_bits), "last_piece_bytes": In(piece_bits),
            "advance": In(1), "valid": Out(1), "done": Out(1),
            "block": Out(data.StructLayout({
                "addr": self.address_bits, "rows": range(config.rows + 1), "context": range(config.contexts),
                "pieces": count_bits, "first_piece": 1, "last_context": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        config, block = self.config, self.block
        groups = Signal.like(self.row_groups)   # row groups left, this chunk's included
        contexts = Signal(range(config.contexts + 1))
        # Of the piece's first block; and of what cannot be found by adding to the last block: in a chunk that is not
        # the last one, the next chunk's first block, in the last one, the last row group's block of the next piece.
        piece_addr, kept_addr = Signal(self.address_bits), Signal(self.address_bits)

        final, last_piece = Signal(), Signal()  # the last chunk
        m.d.comb += [
            final.eq(groups <= config.contexts), contexts.eq(Mux(final, groups, config.contexts)),
            last_piece.eq(block.pieces == 1), block.last_context.eq(block.context + 1 == contexts),
            block.rows.eq(Mux(final & block.last_context, self.last_rows, config.rows)),
        ]

        # Where the next block lies. The last row group's may be shorter, so that it has its own way through the pieces.
        along, further, following = (Signal(self.address_bits) for _ in range(3))
        m.d.comb += [
            along.eq(block.addr + Mux(final & block.last_context, self.last_piece_bytes, self.stride)),
            further.eq(piece_addr + self.piece_bytes), following.eq(along),
        ]
        with m.If(~block.last_context):
            with m.If(final & ~block.first_piece & (block.context + 2 == contexts)):
                m.d.comb += following.eq(kept_addr)
        with m.Elif(last_piece):
            with m.If(~block.first_piece):
                m.d.comb += following.eq(kept_addr)
        with m.Elif(~final | (contexts != 1)):
            m.d.comb += following.eq(further)

        with m.FSM():
            with m.State("START"):
                m.d.sync += [groups.eq(self.row_groups), block.pieces.eq(self.pieces), block.first_piece.eq(1),
                             piece_addr.eq(self.base), block.addr.eq(self.base)]
                m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.advance):
                    m.d.sync += [block.context.eq(block.context + 1), block.addr.eq(following)]
                    with m.If(block.last_context):
                        m.d.sync += [block.context.eq(0), block.pieces.eq(block.pieces - 1), block.first_piece.eq(0),
                                     piece_addr.eq(following)]
                        with m.If(final | block.first_piece):
                            m.d.sync += kept_addr.eq(along)
                        with m.If(last_piece):
                            m.d.sync += [groups.eq(groups - config.contexts), block.pieces.eq(self.pieces),
                                         block.first_piece.eq(1)]
                            with m.If(final):
                                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
        return m
