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
        Go on to the next block; only while ``valid``.
    valid : Out(1), block : Out(struct)
        ``addr`` of the block, its ``rows`` and ``context``; ``first_piece``, ``last_piece``, and ``last_context`` of
        the chunk.
    done : Out(1)
        The last block was passed.

    Addresses have a bit more than base and stride: up to the first that is past the last one, they are right.

    Throughput: one block a cycle. Starts by itself in the second cycle after reset.
    Cost: two additions of an address, and a choice of one of four. What the counts say of a block is found with them,
    and kept in registers.
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
                "first_piece": 1, "last_piece": 1, "last_context": 1})),
        })

    def elaborate(self, platform):
        m = Module()
        config, block = self.config, self.block
        most = config.contexts
        # Left, this chunk's, this one included.
        groups, pieces = Signal.like(self.row_groups), Signal.like(self.pieces)
        contexts = Signal(range(most + 1))
        # Of the piece's first block; and of what cannot be found by adding to the last block: in a chunk that is not
        # the last one, the next chunk's first block, in the last one, the last row group's block of the next piece.
        piece_addr, kept_addr = Signal(self.address_bits), Signal(self.address_bits)

        final, before_last = Signal(), Signal()     # the last chunk; the chunk's last context but one
        short = Signal()                        # the last context of the last chunk
        m.d.comb += block.rows.eq(Mux(short, self.last_rows, config.rows))

        # Where the next block lies. The last row group's may be shorter, so that it has its own way through the pieces.
        along, further, following = (Signal(self.address_bits) for _ in range(3))
        m.d.comb += [
            along.eq(block.addr + Mux(short, self.last_piece_bytes, self.stride)),
            further.eq(piece_addr + self.piece_bytes), following.eq(along),
        ]
        with m.If(~block.last_context):
            with m.If(final & ~block.first_piece & before_last):
                m.d.comb += following.eq(kept_addr)
        with m.Elif(block.last_piece):
            with m.If(~block.first_piece):
                m.d.comb += following.eq(kept_addr)
        with m.Elif(~final | (contexts != 1)):
            m.d.comb += following.eq(further)

        # Of the next block: its context, how many its chunk has, and whether that is the last.
        context_next, contexts_next, final_next = Signal.like(block.context), Signal.like(contexts), Signal()
        m.d.comb += [context_next.eq(Mux(block.last_context, 0, block.context + 1)),
                     contexts_next.eq(contexts), final_next.eq(final)]

        def go_on():
            last_next = context_next + 1 == contexts_next
            m.d.sync += [block.context.eq(context_next), contexts.eq(contexts_next), final.eq(final_next),
                         block.last_context.eq(last_next), short.eq(final_next & last_next),
                         before_last.eq(context_next + 2 == contexts_next)]

        started, valid = Signal(), Signal()
        m.d.comb += [self.valid.eq(valid), self.done.eq(started & ~valid)]
        with m.If(~started):
            m.d.comb += [final_next.eq(self.row_groups <= most), context_next.eq(0),
                         contexts_next.eq(Mux(final_next, self.row_groups, most))]
            m.d.sync += [started.eq(1), valid.eq(1), groups.eq(self.row_groups), pieces.eq(self.pieces),
                         block.first_piece.eq(1), block.last_piece.eq(self.pieces == 1),
                         piece_addr.eq(self.base), block.addr.eq(self.base)]
            go_on()
        with m.Else():
            with m.If(block.last_context & block.last_piece):
                m.d.comb += [final_next.eq(groups <= 2 * most),
                             contexts_next.eq(Mux(final_next, (groups - most)[:len(contexts)], most))]
            with m.If(self.advance):
                m.d.sync += block.addr.eq(following)
                go_on()
                with m.If(block.last_context):
                    m.d.sync += [pieces.eq(pieces - 1), block.first_piece.eq(0), block.last_piece.eq(pieces == 2),
                                 piece_addr.eq(following)]
                    with m.If(final | block.first_piece):
                        m.d.sync += kept_addr.eq(along)
                    with m.If(block.last_piece):
                        m.d.sync += [groups.eq(groups - most), pieces.eq(self.pieces), block.first_piece.eq(1),
                                     block.last_piece.eq(self.pieces == 1), valid.eq(~final)]
        return m
