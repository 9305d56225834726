"""The unit for heavy hitters: cells of the groups at work, exact sums of their probabilities, and who is dropped."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ...control.job import command
from ...kvcache.lookup import CacheEvent, EventKind
from ...memory.realign import words
from ...stream import Skid, Spare
from ..layout import CHUNKS, GROUPS, LSE_BITS, cell_address, cell_position, record_layout
from ..plan import address_bits
from ..score import score_word
from .accumulate import Accumulator
from .closing import Closer
from .layout import BANKS, cell_chunk_layout, cell_group_layout, loaded_layout
from .loader import Loader
from .stores import CellStores

__all__ = ["HitterUnit"]


class HitterUnit(wiring.Component):
    """Keeps cells, sums and scores of two groups on chip: one at work, one being loaded or closing.

    ::

        i_group ─> Loader ─> positions, sums ──────────────┐
        i ────────>   └────> log-sum-exp ──┐               v
        i_score ──(score)──────────────> Accumulator <─> CellStores ─> position
           └──(decode)─> score store ──────^               │
                                                         Closer ─> o_write, event

    A group's positions are read, then its sums; masks may ask for what `loaded` has shown the cycle before. Words of
    scores add to the sums as they come, or, in decode, when the group's record brings the log-sum-exp, while words of
    the next group arrive. Then ``drop`` cells become free, and sums, positions and the list of free cells go back to
    memory, by one plain write each; the list only if it is not empty. Arithmetic and order of victims are those of
    `olivine_golden.heavy_hitter`; what lies where, `olivine.kvcache.descriptor.CacheGeometry` says.

    Members
    -------
    cells, hitters, score : In(1)
        The kind of job, constant: over cells at all (without it nothing comes); with sums (without them only
        positions are loaded); scores alone, with the log-sum-exp from memory (without it, decode). ``score`` only
        with ``hitters``, ``hitters`` only with ``cells``.
    i_group : In(stream(cell_group_layout)), i_chunk : In(stream(cell_chunk_layout))
        Groups in order, at least one token each; the chunks of each. In decode a group has one chunk, of one context.
    o_command : Out(stream(command)), i : In(stream(words))
        Read stream: positions, sums, log-sum-exp. At most three commands are ahead of their data.
    o_write_command : Out(stream(command)), o_write : Out(stream(words)), write_idle : In(1)
        Write stream. ``write_idle`` is low from the cycle after a command's transfer until all its responses are in.
    cell_addr : In(struct ``bank``, ``cell``), position : Out(struct ``valid``, ``position``)
        The token in a cell of a bank, answered in the next cycle; ``valid`` is low for a free cell.
    loaded : Out(array of 2 of loaded_layout)
        Group n uses bank ``n % 2``; groups are counted from 0 after reset.
    i_score : In(score_word), score_group : In(range(GROUPS))
        Words of the group of this number. The cell of a word is ``tag.position`` and the word's number in its unit.
        A unit's ``last`` comes at least as late as its last word. Every cell below ``filled`` has a word from each
        context, the same cell again 4 cycles later or more. ``largest`` is not looked at.
    i_record_valid : In(1), i_record : In(record_layout)
        Decode: once a group, after all its words.
    lse_ready : Out(range(3)), chunk_done : Out(1)
        Score: chunks, the oldest first, whose log-sum-exp is on chip and that are not done; the oldest chunk is done,
        its bank may be used again. ``lse_ready`` counts it to the end of this cycle.
    event : Out(stream(CacheEvent))
        TOUCHED as a group is taken up, before it is written; SUMMED when its writes are answered.
    idle : Out(1)
        Every group that was taken is finished, and its events have left.

    Words of scores are never stalled: who sends them waits for ``loaded`` before a page, and in a score job for
    ``lse_ready`` before a chunk. A bank is loaded again when its group is finished.

    Latency: `latency` cycles from the ``last`` of a chunk's last unit to ``chunk_done``.

    **Cycles**, with n = ``filled`` cells, W = `places`, and l the latency of a read, of a write:

    ===========  ==============================================  =========================
    load         2 n + l + 5                                     masks wait for n + l + 5
    decode end   3 n + free cells + latency + l + 19             from record to SUMMED
    each search  n + 6 for W victims, n + 6 + W with their drop  in decode the first is free
    score end    2 n + free cells + l + 16, and the searches
    ===========  ==============================================  =========================

    1,024 cells on `edge`: loaded in 2,083 cycles, ended in 3,131 with l = 30. A decode job with a 4-bit cache brings
    a group in 4,096 cycles. Its bank is free again about 3,300 cycles after its last word, with 800 left for
    the positions of the group after next; its sums may come later. So no group waits.

    Cost: see `CellStores`, `Accumulator`, `Selector`. On `ecp5` (1,024 cells, 4 rows) 2,800 LUTs and 18 block RAMs: 2
    of positions, 4 of sums, 8 of scores, 4 of the table of weights.
    """

    def __init__(self, config):
        self.config = config
        transfers, beats = stream.Signature(command(address_bits(config))), stream.Signature(words(config.bus_bytes))
        self.accumulator = Accumulator(config)
        self.latency = self.accumulator.latency + 2
        super().__init__({
            "cells": In(1), "hitters": In(1), "score": In(1),
            "i_group": In(stream.Signature(cell_group_layout(config))),
            "i_chunk": In(stream.Signature(cell_chunk_layout(config))),
            "o_command": Out(transfers), "i": In(beats),
            "o_write_command": Out(transfers), "o_write": Out(beats), "write_idle": In(1),
            "cell_addr": In(cell_address(config)), "position": Out(cell_position),
            "loaded": Out(data.ArrayLayout(loaded_layout(config), BANKS)),
            "i_score": In(score_word(config)), "score_group": In(range(GROUPS)),
            "i_record_valid": In(1), "i_record": In(record_layout(config)),
            "lse_ready": Out(range(CHUNKS + 1)), "chunk_done": Out(1),
            "event": Out(stream.Signature(CacheEvent)), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        sync, config, word, tag = m.d.sync, self.config, self.i_score, self.i_score.tag
        m.submodules.spare = spare = Spare(self.i.payload.shape())
        m.submodules.loader = loader = Loader(config)
        m.submodules.stores = stores = CellStores(config)
        m.submodules.accumulator = accumulator = self.accumulator
        m.submodules.closer = closer = Closer(config)
        # Whether a word is taken is known late, and the scan waits for it; that one comes, and the writer waits for it.
        m.submodules.results = results = Skid(self.o_write.payload.shape())
        decode = self.hitters & ~self.score

        for source, target in ((wiring.flipped(self.i_group), loader.i_group),
                               (wiring.flipped(self.i_chunk), loader.i_chunk), (wiring.flipped(self.i), spare.i),
                               (spare.o, loader.i),
                               (loader.o_command, wiring.flipped(self.o_command)),
                               (loader.o_group, closer.i_group),
                               (closer.o_command, wiring.flipped(self.o_write_command)),
                               (closer.o, results.i), (results.o, wiring.flipped(self.o_write))):
            wiring.connect(m, source, target)
        m.d.comb += [
            loader.hitters.eq(self.hitters), loader.score.eq(self.score), closer.hitters.eq(self.hitters),
            closer.score.eq(self.score), closer.write_idle.eq(self.write_idle),
            loader.release.eq(closer.release), loader.release_bank.eq(closer.bank), self.loaded.eq(loader.loaded),
            self.lse_ready.eq(Mux(self.score, loader.level, 0)),
            stores.load_position.eq(loader.position), stores.load_sum.eq(loader.sum),
            stores.mask_addr.eq(self.cell_addr), self.position.position.eq(stores.mask_position),
            self.position.valid.eq(stores.mask_valid),
            stores.bank.eq(closer.bank), stores.scan.eq(closer.scan), stores.drop.eq(closer.drop),
            stores.free.eq(closer.free), closer.scan_position.eq(stores.scan_position),
            closer.scan_sum.eq(stores.scan_sum), closer.scan_free.eq(stores.scan_word.as_value()),
            closer.ahead.eq(accumulator.ahead), closer.added.eq(accumulator.o),
        ]

        # Where a word belongs, and where its chunk ends.
        following, number, cell = (Signal(range(config.lanes), name="following"),
                                   Signal(range(config.lanes), name="number"), Signal(range(config.cells), name="cell"))
        m.d.comb += [number.eq(Mux(word.first, 0, following)), cell.eq(tag.position + number)]
        with m.If(word.valid):
            sync += following.eq(number + 1)
        bank = self.score_group[0]
        m.d.comb += [
            stores.capture.valid.eq(word.valid & decode), stores.capture.bank.eq(bank), stores.capture.cell.eq(cell),
            stores.capture.word.score.eq(word.score), stores.capture.word.visible.eq(word.visible),
        ]

        # Cycle 0 to 1: the log-sum-exp of the word's context is read. In decode it comes with the record, for the
        # only context of each bank, and words come from the store.
        lse = data.ArrayLayout(signed(LSE_BITS), config.rows)
        context_bits = (config.contexts - 1).bit_length()
        m.submodules.lse = memory = Memory(shape=lse, depth=CHUNKS << context_bits, init=[])
        read, write = memory.read_port(), memory.write_port(granularity=1)
        recorded, recording = Signal(), Signal()
        arrived, swept = Signal.like(accumulator.i), Signal.like(accumulator.i, name="swept", reset_less=True)
        m.d.comb += accumulator.i.eq(swept)
        m.d.comb += [
            recording.eq(self.i_record_valid & decode & self.cells), read.en.eq(1),
            read.addr.eq(Mux(self.score, (tag.bank << context_bits) + tag.context, closer.bank << context_bits)),
            write.addr.eq(Mux(self.score, (loader.lse.bank << context_bits) + loader.lse.context,
                              recorded << context_bits)),
            write.en.eq(Mux(self.score, loader.lse.valid << loader.lse.row, recording.replicate(config.rows))),
            *(write.data[row].eq(Mux(self.score, loader.lse.lse, self.i_record[row].lse))
              for row in range(config.rows)),
        ]
        # Cycle 1 to 2: a register behind the slow outputs of the block RAMs. The word of a sweep has one more, before
        # it is chosen.
        kept = Signal.like(arrived, name="kept", reset_less=True)
        sync += swept.lse.eq(read.data)
        sync += [kept.valid.eq(closer.sweep.valid), kept.bank.eq(closer.bank), kept.cell.eq(closer.sweep.cell),
                 kept.score.eq(stores.scan_word.score), kept.visible.eq(stores.scan_word.visible)]
        sync += [arrived.valid.eq(word.valid & self.score), arrived.bank.eq(bank), arrived.cell.eq(cell),
                 arrived.score.eq(word.score), arrived.visible.eq(word.visible)]
        sync += [swept[name].eq(Mux(self.score, arrived[name], kept[name]))
                 for name in ("valid", "bank", "cell", "score", "visible")]
        m.d.comb += [stores.add_addr.eq(accumulator.sum_addr), accumulator.sum.eq(stores.add_sum),
                     stores.add.eq(accumulator.o)]

        # The end of a chunk travels with its last word.
        end = data.StructLayout({"valid": 1, "context": range(config.contexts), "bank": 1})
        stage = [Signal(end, name=f"end_{cycle}") for cycle in range(self.latency + 1)]
        m.d.comb += [stage[0].valid.eq(word.last & tag.final & self.cells & ~decode),
                     stage[0].context.eq(tag.context), stage[0].bank.eq(bank)]
        sync += [after.eq(before) for before, after in zip(stage, stage[1:])]
        complete, ended, pending = Signal(BANKS), Signal(), loader.o_chunk.payload
        m.d.comb += [
            ended.eq(stage[-1].valid & loader.o_chunk.valid & (stage[-1].context + 1 == pending.contexts)),
            loader.o_chunk.ready.eq(ended), self.chunk_done.eq(ended & self.score),
            closer.complete.eq(complete & Mux(self.hitters, loader.summed, ~0)),
        ]
        with m.If(ended & pending.last):
            sync += complete.bit_select(stage[-1].bank, 1).eq(1)
        with m.If(recording):
            sync += [recorded.eq(~recorded), complete.bit_select(recorded, 1).eq(1)]
        with m.If(closer.release):
            sync += complete.bit_select(closer.bank, 1).eq(0)

        # Events: one register, so that what is offered holds.
        event, offered = Signal(CacheEvent), Signal()
        m.d.comb += [
            self.event.payload.eq(event), self.event.valid.eq(offered),
            closer.o_summed.ready.eq(~offered), loader.o_touched.ready.eq(~offered & ~closer.o_summed.valid),
            closer.may_write.eq(~offered & ~loader.o_touched.valid),
            self.idle.eq(loader.idle & ~loader.loaded[0].valid & ~loader.loaded[1].valid & ~offered),
        ]
        with m.If(self.event.ready):
            sync += offered.eq(0)
        with m.If(~offered & (closer.o_summed.valid | loader.o_touched.valid)):
            sync += [offered.eq(1), event.failed.eq(0),
                     event.kind.eq(Mux(closer.o_summed.valid, EventKind.SUMMED, EventKind.TOUCHED)),
                     event.slot.eq(Mux(closer.o_summed.valid, closer.o_summed.payload, loader.o_touched.payload))]
        return m
