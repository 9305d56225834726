"""The end of a group: sums completed, cells dropped, the record written back."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...control.job import command
from ...kvcache.descriptor import FREE_CELL, SLOT_BITS
from ...memory.realign import words
from ..plan import address_bits
from .elements import ElementWriter
from .layout import BANKS, cell_group_layout
from .selector import SUM_BITS, Selector
from .stores import scan_layout

__all__ = ["Closer"]


class Closer(wiring.Component):
    """Closes complete groups, one after the other. Each step is a scan over the cells below ``filled``, a cell a cycle:

    =========  ============================================================  =====================
    scan       what it does                                                  cycles
    =========  ============================================================  =====================
    sweep      decode: each cell's word of scores goes to the accumulator,   filled + latency + 4
               the complete sums to the selector
    search     the selector finds the next W victims; the first search is    filled + 6
               saved where there was a sweep
    sums       are written                                                   filled + 4
    positions  are written, and the free cells listed on chip                filled + 4
    free       the list is written, if it is not empty                       free + 4
    =========  ============================================================  =====================

    After each search its victims become free, a cycle each; so the next search does not find them again. A cell may be
    dropped if its token's position is below ``length + tokens - recent``.

    Members
    -------
    hitters, score : In(1)
        As in `HitterUnit`.
    complete : In(2)
        Of each bank: nothing more comes for its group but this.
    i_group : In(stream(cell_group_layout))
        Groups in order, each before it is complete.
    may_write : In(1)
        The controller knows that the group is being changed.
    bank : Out(1)
        The closing bank, or that which closes next.
    scan : Out(scan_layout), scan_position : In(16), scan_sum : In(32), scan_free : In(range(cells))
        Of `CellStores`; ``scan_free`` is an entry of the list of free cells.
    sweep : Out(struct ``valid``, ``cell``)
        The word of scores that is read is this cell's.
    ahead : In(range(cells)), added : In(struct ``valid``, ``bank``, ``cell``, ``sum``)
        Of `Accumulator`.
    drop : Out(struct ``valid``, ``cell``), free : Out(struct ``valid``, ``index``, ``cell``)
    o_command : Out(stream(command)), o : Out(stream(words)), write_idle : In(1)
        ``write_idle`` is low from the cycle after a command's transfer until all its responses are in.
    o_summed : Out(stream(slot))
    release : Out(1)
        The bank's group is finished.

    Stalls: ``o``, where it writes. Cost: `Selector`.
    """

    def __init__(self, config):
        self.config = config
        cell = range(config.cells)
        super().__init__({
            "hitters": In(1), "score": In(1), "complete": In(BANKS),
            "i_group": In(stream.Signature(cell_group_layout(config))), "may_write": In(1), "bank": Out(1),
            "scan": Out(scan_layout(config)), "scan_position": In(16), "scan_sum": In(unsigned(SUM_BITS)),
            "scan_free": In(cell),
            "sweep": Out(data.StructLayout({"valid": 1, "cell": cell})), "ahead": In(cell),
            "added": In(data.StructLayout({"valid": 1, "bank": 1, "cell": cell, "sum": unsigned(SUM_BITS)})),
            "drop": Out(data.StructLayout({"valid": 1, "cell": cell})),
            "free": Out(data.StructLayout({"valid": 1, "index": cell, "cell": cell})),
            "o_command": Out(stream.Signature(command(address_bits(config)))),
            "o": Out(stream.Signature(words(config.bus_bytes))), "write_idle": In(1),
            "o_summed": Out(stream.Signature(unsigned(SLOT_BITS))), "release": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        sync, config = m.d.sync, self.config
        m.submodules.selector = selector = Selector(config)
        m.submodules.elements = elements = ElementWriter(config.bus_bytes)
        wiring.connect(m, elements.o, wiring.flipped(self.o))
        group, held = Signal(cell_group_layout(config)), Signal()
        m.d.comb += self.i_group.ready.eq(~held | self.release)
        with m.If(self.i_group.ready):
            sync += [group.eq(self.i_group.payload), held.eq(self.i_group.valid)]

        # The scan: cycle 0 asks, 1 answers, 2 a register behind the slow output of the block RAM.
        place = data.StructLayout({"valid": 1, "last": 1, "cell": range(config.cells)})
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(3)]
        active, cell, count = Signal(), Signal(range(config.cells)), Signal(range(config.cells + 1))
        final = Signal.like(cell)               # ``count`` - 1
        position, total, listed = Signal(16), Signal(SUM_BITS), Signal(range(config.cells))
        # Of the states below, flags: much depends on them.
        sweeping, searching, writing, move = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            stage[0].valid.eq(active), stage[0].cell.eq(cell), stage[0].last.eq(cell == final),
            move.eq(~writing | ~stage[2].valid | elements.i.ready),
            self.scan.positions.eq(sweeping | searching | writing), self.scan.sums.eq(searching | writing),
            self.scan.enable.eq(move), self.scan.cell.eq(cell),
            self.scan.position_cell.eq(Mux(sweeping, self.ahead, cell)),
            self.sweep.valid.eq(sweeping & stage[1].valid), self.sweep.cell.eq(stage[1].cell),
        ]
        with m.If(move):
            sync += [stage[1].eq(stage[0]), stage[2].eq(stage[1]),
                     position.eq(self.scan_position), total.eq(self.scan_sum), listed.eq(self.scan_free)]
            with m.If(active):
                sync += [cell.eq(cell + 1), active.eq(~stage[0].last)]

        def begin(cells):
            return [active.eq(1), cell.eq(0), count.eq(cells), final.eq(cells - 1)]

        # Who may be dropped: all before this position.
        limit, left, some_left, found = Signal(signed(18)), Signal.like(group.drop), Signal(), Signal()
        chosen = selector.i
        m.d.comb += [
            chosen.position.eq(position), chosen.cell.eq(Mux(sweeping, self.added.cell, stage[2].cell)),
            chosen.sum.eq(Mux(sweeping, self.added.sum, total)),
            chosen.valid.eq(Mux(sweeping, self.added.valid, searching & stage[2].valid)
                            & (position != FREE_CELL) & (position < limit)),
        ]
        scanned = Signal()      # the last cell of a sweep or a search is through
        m.d.comb += scanned.eq(Mux(sweeping, self.added.valid & (self.added.cell == final),
                                   stage[2].valid & stage[2].last))

        # What is written: sums, positions, free cells.
        part, asking, free = Signal(range(3)), Signal(), Signal(range(config.cells + 1))
        element, request = elements.i, self.o_command.payload
        written, written_all = Signal(), Signal()
        m.d.comb += [
            element.valid.eq(writing & stage[2].valid), element.payload.last.eq(stage[2].last),
            elements.wide.eq(part == 0), written.eq(element.valid & element.ready),
            self.free.index.eq(free), self.free.cell.eq(stage[2].cell),
            self.free.valid.eq(written & (part == 1) & (position == FREE_CELL)),
            self.o_command.valid.eq(asking), self.o_summed.payload.eq(group.slot),
        ]
        sync += free.eq(free + self.free.valid)
        offset, cells = Signal(range((6 << 15) + 1)), Signal(1 << len(group.log_cells))
        sync += cells.eq(1 << group.log_cells)
        m.d.comb += [
            offset.eq(Mux(part == 0, 0, Mux(part == 1, cells << 2, cells << 2 | cells << 1))),
            request.bytes.eq(count << Mux(part == 0, 2, 1)),
            element.payload.data.eq(Mux(part == 0, total, Mux(part == 1, position, listed))),
        ]
        # Where a part lies is known before its turn comes.
        sync += request.addr.eq(group.record + offset)
        with m.If(self.o_command.ready):
            sync += asking.eq(0)
        all_out = Signal()
        m.d.comb += written_all.eq(~asking & (all_out | written & stage[2].last))

        with m.FSM():
            with m.State("OPEN"):
                m.d.comb += selector.clear.eq(1)
                sync += [*begin(group.filled), limit.eq(group.length + group.tokens - group.recent),
                         left.eq(group.drop), some_left.eq(group.drop != 0), found.eq(0), free.eq(0), part.eq(0)]
                sync += active.eq(0)
                with m.If(held & self.complete.bit_select(self.bank, 1)):
                    with m.If(~self.hitters):
                        m.next = "RELEASE"
                    with m.Elif(~self.score):
                        sync += [active.eq(1), sweeping.eq(1)]
                        m.next = "SWEEP"
                    with m.Elif(group.drop != 0):
                        sync += [active.eq(1), searching.eq(1)]
                        m.next = "SEARCH"
                    with m.Else():
                        m.next = "WRITE"
            with m.State("SWEEP"):
                with m.If(scanned):
                    sync += sweeping.eq(0)
                    m.next = "SORT"
            with m.State("SEARCH"):
                with m.If(scanned):
                    sync += searching.eq(0)
                    m.next = "SORT"
            with m.State("SORT"):       # the last cell takes its place
                sync += found.eq(0)
                m.next = "DROP"
            with m.State("DROP"):
                m.d.comb += self.drop.cell.eq(selector.o.cell)
                with m.If(some_left & selector.o.valid):
                    m.d.comb += [self.drop.valid.eq(1), selector.pop.eq(1)]
                    sync += [left.eq(left - 1), some_left.eq(left != 1), found.eq(1)]
                with m.Elif(some_left & found):
                    m.d.comb += selector.clear.eq(1)
                    sync += [*begin(group.filled), searching.eq(1)]
                    m.next = "SEARCH"
                with m.Else():
                    m.next = "WRITE"
            with m.State("WRITE"):
                with m.If(self.may_write):
                    sync += [*begin(group.filled), asking.eq(1), all_out.eq(0), writing.eq(1)]
                    m.next = "PART"
            with m.State("PART"):
                with m.If(written & stage[2].last):
                    sync += all_out.eq(1)
                with m.If(written_all):
                    sync += [part.eq(part + 1), writing.eq(0)]
                    m.next = "NEXT"
            with m.State("NEXT"):
                sync += all_out.eq(0)
                with m.If((part == 1) | (part == 2) & (free != 0)):
                    sync += [*begin(Mux(part == 1, group.filled, free)), asking.eq(1), writing.eq(1)]
                    m.next = "PART"
                with m.Else():
                    m.next = "SETTLE"
            with m.State("SETTLE"):
                with m.If(elements.idle & self.write_idle):
                    m.next = "SUMMED"
            with m.State("SUMMED"):
                m.d.comb += self.o_summed.valid.eq(1)
                with m.If(self.o_summed.ready):
                    m.next = "RELEASE"
            with m.State("RELEASE"):
                m.d.comb += self.release.eq(1)
                sync += self.bank.eq(~self.bank)
                m.next = "OPEN"
        return m
