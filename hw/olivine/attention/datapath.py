"""The attention engine's datapath: from beats of pages and queries to beats of results.

::

    pages ───> PageLoader ── word ─> Border ─ lane[L] ─┐
                                                       v
    queries ─> QueryLoader ────┬─ row[P] ─────────> OliveArray ─┬─ parts of O ─> BlockMerge ─> ResultPacker ─> results
                               │                                │                  ^ factors
    ProbabilityStore ──────────┘                                └─ scores ─> ScoreScaler
         ^                                                                       v
         └──────────────────── p ─────────────────────────────── BlockSoftmax ─> RunningState

An operand takes three cycles from its address to the array: the memory, a register behind it, one inside the border.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import GUARD_BITS, PROBABILITY_BITS
from ..control.lifecycle import events_layout
from ..linear.border import Border
from ..memory.realign import words
from ..numerics.popcount import popcount
from ..olive.formats import LaneFormat
from ..olive.shared import ArrayPort
from ..stream import Spare, read_later
from . import results
from .hitters.layout import loaded_layout
from .layout import CHUNKS, bounds_layout, cell_address, cell_position, mask_address, record_layout, tree_address
from .merge import BlockMerge
from .pages import PageLoader, tile_layout
from .parts import PartLoader, part_layout
from .plan import plan_layout, times
from .queries import QueryLoader
from .queries import block_layout as query_layout
from .results import ResultPacker
from .score import ScoreScaler, score_word
from .sequencer import Sequencer
from .softmax import BlockSoftmax
from .state import RunningState
from .steps import probability_words, tile_tag
from .table import chunk_layout, page_layout, params_layout

__all__ = ["ProbabilityStore", "Datapath"]


class ProbabilityStore(wiring.Component):
    """Ring of words of P probabilities between the softmax and the array.

    Members
    -------
    i_valid : In(1), i : In(ArrayLayout(unsigned(11), P))
        The next word. There is always room: at most C units are between their scores and their use.
    level : Out
        Words held.
    offset : In, o : Out
        ``o`` is the word ``offset`` past the oldest, of the cycle before.
    release : In(1)
        Give the oldest word back.
    """

    def __init__(self, config):
        self.config, self.depth = config, 1 << ceil_log2(probability_words(config))
        word = data.ArrayLayout(unsigned(PROBABILITY_BITS), config.rows)
        super().__init__({
            "i_valid": In(1), "i": In(word), "level": Out(range(probability_words(config) + 1)),
            "offset": In(range(probability_words(config))), "o": Out(word), "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=self.i.shape(), depth=self.depth, init=[])
        base, head = Signal(range(self.depth)), Signal(range(self.depth))
        write = memory.write_port()
        word = read_later(m, memory, (base + self.offset)[:len(base)], write)
        m.d.comb += [
            write.addr.eq(head), write.data.eq(self.i), write.en.eq(self.i_valid),
            self.o.eq(word),
        ]
        m.d.sync += [head.eq(head + self.i_valid), base.eq(base + self.release),
                     self.level.eq(self.level + self.i_valid - self.release)]
        return m


class Datapath(wiring.Component):
    """Everything between the bus ports of one attention job.

    Members
    -------
    plan : In
        Constant from the cycle in which reset ends to the end of the job.
    i_chunk : In(stream(chunk_layout)), i_unit : In(stream(page_layout))
        For the array's order of steps.
    params, bounds_addr, bounds, mask_addr, mask, tree_addr, tree_column
        Scales and what the rows see, of the chunks on chip (`TableWalk`).
    cell_addr, position, loaded, lse_ready, cells_done
        Positions of cells, how many are on chip, chunks of a score job whose log-sum-exp is, and their end
        (`HitterUnit`).
    score : Out(score_word), record_valid : Out(1), record : Out(record_layout)
        Scores as they come, and each context's complete running state.
    i_page : In(stream(beat)), i_tile : In(stream(tile_layout))
    i_query : In(stream(words)), i_query_block : In(stream), i_part : In(stream(part_layout))
        In a merge job ``i_query`` brings records of partial results.
    i_result_block : In(stream), o : Out(stream(words))
    array : Out(ArrayPort)
        ``busy`` is the engine's.
    chunk_done : Out(1)
        The oldest chunk's last word is on its way out.
    events : Out(events_layout)
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "plan": In(plan_layout(config)),
            "i_chunk": In(stream.Signature(chunk_layout(config))),
            "i_unit": In(stream.Signature(page_layout(config))),
            "mask_addr": Out(mask_address(config)), "mask": In(config.rows),
            "tree_addr": Out(tree_address(config)), "tree_column": In(config.rows),
            "cell_addr": Out(cell_address(config)), "position": In(cell_position),
            "loaded": In(data.ArrayLayout(loaded_layout(config), 2)), "lse_ready": In(range(CHUNKS + 1)),
            "cells_done": In(1),
            "score": Out(score_word(config)), "record_valid": Out(1), "record": Out(record_layout(config)),
            "params": In(data.ArrayLayout(params_layout, CHUNKS)),
            "bounds_addr": Out(data.StructLayout({"bank": range(CHUNKS), "context": range(config.contexts)})),
            "bounds": In(bounds_layout(config)),
            "i_page": In(stream.Signature(config.bus_bits)), "i_tile": In(stream.Signature(tile_layout(config))),
            "i_query": In(stream.Signature(words(config.bus_bytes))),
            "i_query_block": In(stream.Signature(query_layout(config))),
            "i_part": In(stream.Signature(part_layout(config))),
            "i_result_block": In(stream.Signature(results.block_layout(config))),
            "o": Out(stream.Signature(words(config.bus_bytes))),
            "array": Out(ArrayPort(config, tile_tag(config))),
            "chunk_done": Out(1), "events": Out(events_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        m.submodules.pages = pages = PageLoader(config)
        m.submodules.queries = queries = QueryLoader(config)
        m.submodules.probabilities = probabilities = ProbabilityStore(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.border = border = Border(config.lanes, config.element, across=True, staged=True)
        array = self.array
        m.submodules.score = score = ScoreScaler(config)
        m.submodules.softmax = softmax = BlockSoftmax(config)
        m.submodules.state = state = RunningState(config)
        m.submodules.merge = merge = BlockMerge(config)
        m.submodules.packer = packer = ResultPacker(config)
        m.submodules.parts = parts = PartLoader(config)
        m.d.comb += [part.plan.eq(plan) for part in (pages, sequencer, packer)]
        self._give_pages(m, sequencer)
        for source, target in ((self.i_chunk, sequencer.i), (self.i_page, pages.i),
                               (self.i_tile, pages.i_tile),
                               (self.i_query_block, queries.i_block), (self.i_part, parts.i_part),
                               (self.i_result_block, packer.i_block)):
            wiring.connect(m, wiring.flipped(source), target)
        wiring.connect(m, packer.o, wiring.flipped(self.o))
        m.submodules.spare = spare = Spare(self.i_query.payload.shape())
        wiring.connect(m, wiring.flipped(self.i_query), spare.i)
        m.d.comb += [
            # Of the two only that takes words which was told of blocks or records, and the job has one kind.
            queries.i.payload.eq(spare.o.payload), queries.i.valid.eq(spare.o.valid),
            parts.i.payload.eq(spare.o.payload), parts.i.valid.eq(spare.o.valid),
            spare.o.ready.eq(parts.i.ready | queries.i.ready),
        ]

        # Cycle 0: the sequencer has decided, and addresses.
        step = sequencer.step
        m.d.comb += [
            sequencer.level.eq(pages.level), sequencer.available.eq(Mux(array.granted, queries.available, 0)),
            array.wanted.eq(queries.available != 0),
            sequencer.probabilities.eq(probabilities.level), sequencer.unit_ready.eq(state.ready),
            sequencer.credit_return.eq(packer.credit),
            pages.offset.eq(step.offset), pages.release.eq(sequencer.release),
            queries.addr.eq(step.query_addr), queries.take.eq(sequencer.take_query),
            probabilities.offset.eq(step.probability_offset),
            probabilities.release.eq(sequencer.probability_release),
        ]

        # Cycle 1: the memories answer. Cycle 2: their registers; what a lane looks at. Cycle 3: the array's inputs.
        controls = data.StructLayout({"step": array.step.shape(), "odd": 1, "count_illegal": 1, "values": 1,
                                      "lanes": range(config.lanes + 1)})
        asked, answered, entering = Signal(controls), Signal(controls), Signal.like(array.step)
        word, row, row_later = (Signal.like(value, reset_less=True) for value in (pages.o, queries.o, queries.o))
        across = Signal()
        m.d.sync += [
            asked.step.valid.eq(sequencer.issue), asked.step.first.eq(step.first),
            asked.step.last.eq(step.last), asked.step.tag.eq(step.tag),
            asked.odd.eq(step.odd), asked.count_illegal.eq(sequencer.count_illegal),
            asked.values.eq(step.values), asked.lanes.eq(step.lanes),
            answered.eq(asked), word.eq(pages.o),
            *(row[index].eq(Mux(asked.values, probabilities.o[index], queries.o[index]))
              for index in range(config.rows)),
            across.eq(asked.values & (plan.value_format != LaneFormat.INT8)),
            entering.eq(answered.step), row_later.eq(row),
        ]
        m.d.comb += [
            border.weight_format.eq(Mux(asked.values, plan.value_format, plan.key_format)),
            border.word.eq(word), border.odd.eq(answered.odd),
            border.pairs_across.eq(across), array.step.eq(entering), array.row.eq(row_later), array.lane.eq(border.o),
            array.form.eq(border.form),
        ]
        # Illegal bytes of lanes that exist: into a register, counted by eight, added up.
        illegal = Signal(config.lanes)
        m.d.sync += illegal.eq(Cat(
            border.illegal[lane] & answered.count_illegal & (lane < answered.lanes)
            & (~answered.values if lane % 2 else 1) for lane in range(config.lanes)))
        counts = [popcount(illegal[lane:lane + 8]) for lane in range(0, config.lanes, 8)]
        counted = [Signal.like(count, name=f"illegal_{index}") for index, count in enumerate(counts)]
        m.d.sync += [*(held.eq(count) for held, count in zip(counted, counts)), self.events.illegal.eq(sum(counted))]

        # Cycle 7 on: sums leave the array, as scores or as parts of O.
        drained = array.o
        m.d.comb += [
            score.i.valid.eq(drained.valid & ~drained.tag.values), score.i.lane.eq(drained.lane),
            score.i.tag.eq(drained.tag.score),
            # The register of what is merged has them already. (A merge job, which has others there, has no scores.)
            *(score.data[index].eq(merge.i.value[index] >> GUARD_BITS) for index in range(config.rows)),
            self.bounds_addr.eq(score.bounds_addr), score.bounds.eq(self.bounds),
            score.masked.eq(plan.cached), score.tree.eq(plan.tree), score.cells.eq(plan.cells),
            self.mask_addr.eq(score.mask_addr), score.mask.eq(self.mask),
            self.tree_addr.eq(score.tree_addr), score.tree_column.eq(self.tree_column),
            self.cell_addr.eq(score.cell_addr), score.position.eq(self.position),
            self.score.eq(score.o), self.record_valid.eq(state.record_valid), self.record.eq(state.record),
            softmax.i.eq(score.o), softmax.i.valid.eq(score.o.valid & ~plan.score),
            softmax.i.last.eq(score.o.last & ~plan.score),
            probabilities.i_valid.eq(softmax.o.valid), probabilities.i.eq(softmax.o.data),
            state.slot.eq(merge.slot), merge.factors.eq(state.factors),
            parts.unit_ready.eq(state.ready), parts.credit_return.eq(packer.credit),
        ]
        # Cycle 8 on: where the context keeps its O is added up before its memory is asked.
        m.d.comb += state.i.eq(Mux(plan.merge, parts.o_state.as_value(), softmax.done.as_value()))
        with m.If(plan.merge):
            m.d.sync += merge.i.eq(parts.o)
        with m.Else():
            m.d.sync += [
                merge.i.valid.eq(drained.valid & drained.tag.values & (drained.lane < drained.tag.dims)),
                merge.i.addr.eq(drained.tag.address + drained.lane), merge.i.tag.eq(drained.tag.merge),
                *(merge.i.value[index].eq(drained.data[0][index] << GUARD_BITS) for index in range(config.rows)),
            ]
        for index in range(CHUNKS):
            params = self.params[index]
            m.d.comb += [
                score.params[index].mult.eq(params.score_mult), score.params[index].shift.eq(params.score_shift),
                score.tree_base[index].eq(params.position),
                state.params[index].o_mult.eq(params.o_mult), packer.params[index].o_shift.eq(params.o_shift),
            ]

        # Finished words of O.
        m.d.comb += [
            packer.i_valid.eq(merge.o.valid), packer.i.eq(merge.o.value),
            packer.record_valid.eq(state.record_valid), packer.record_place.eq(state.record_place),
            packer.record.eq(state.record), self.chunk_done.eq(packer.chunk_done),
        ]

        seen = Signal(range(config.rows + 1))
        m.d.sync += [
            seen.eq(popcount(score.o.visible) & score.o.valid.replicate(len(seen))),
            self.events.useful.eq(times(plan.head_dim, seen) << 1),
        ]
        m.d.comb += [
            self.events.step.eq(sequencer.issue), self.events.stall.eq(sequencer.stall),
            self.events.values.eq(step.values), self.events.drain.eq(drained.valid),
            self.events.exp.eq(softmax.o.valid), self.events.output.eq(packer.credit),
            self.events.sat_row.eq(queries.saturated), self.events.sat_score.eq(score.saturated),
            self.events.sat_output.eq(packer.saturated),
        ]
        return m

    def _give_pages(self, m, sequencer):
        """Pages to the sequencer, from a register, and whether the next page of keys can be met: the positions of its
        cells are there, in a score job the chunk's LSE too."""
        plan, chunk, unit = self.plan, self.i_chunk, self.i_unit
        page = sequencer.i_page
        # The next page comes a cycle after the one before was taken: that is known late, and its steps take longer.
        with m.If(unit.ready):
            m.d.sync += [page.payload.eq(unit.payload), page.valid.eq(unit.valid)]
        with m.Elif(page.ready):
            m.d.sync += page.valid.eq(0)
        held, end = Signal(loaded_layout(self.config)), Signal(range(self.config.cells + self.config.lanes + 1))
        ahead = Signal(range(CHUNKS + 1))       # chunks whose steps are taken and whose words are not all added
        here, ready = Signal(), Signal()
        # What is taken is known late. Behind a page there is none for a cycle, behind a chunk no step, so that what was
        # found out about those taken is looked at by nobody; but a chunk is counted a cycle later.
        chunk_counted, cells_done = Signal(name="chunk_counted"), Signal(name="cells_done")
        m.d.comb += [
            unit.ready.eq(~page.valid),
            held.eq(self.loaded[chunk.payload.group[0]]), end.eq(page.payload.position + page.payload.keys),
            here.eq(chunk.valid & page.valid & held.valid & (held.group == chunk.payload.group) & (held.cells >= end)
                    & (~plan.score | (self.lse_ready > ahead))),
            sequencer.cells_ready.eq(ready),
        ]
        m.d.sync += [
            ready.eq(here & ~chunk_counted | ~plan.cells),
            chunk_counted.eq(chunk.valid & chunk.ready), cells_done.eq(self.cells_done),
            ahead.eq(Mux(plan.score, ahead + chunk_counted - cells_done, 0)),
        ]
