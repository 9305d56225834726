"""From the array's dot products to scores: scale, mask, running maximum of the page."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACCUMULATOR_BITS, LANE_MAX, ROW_BITS
from ..kvcache.descriptor import TREE_PLACES
from ..numerics.narrow import rounded, shifted
from ..numerics.popcount import popcount
from .layout import (
    CHUNKS,
    POSITION_BITS,
    SCORE_BITS,
    bounds_layout,
    cell_address,
    cell_position,
    mask_address,
    score_tag,
    tree_address,
)

__all__ = ["LEAST_SCORE", "ScoreParameters", "score_word", "dot_bits", "ScoreScaler"]

LEAST_SCORE = -1 << SCORE_BITS - 1
"""The running maximum where no key was seen."""

ScoreParameters = data.StructLayout({"mult": 16, "shift": 6})


def score_word(config):
    """The scores of one key, by row; ``visible`` has a bit for each row. ``largest`` is the largest visible score
    of the unit up to this key. ``last`` comes with the page's last lane, whether that holds a key (``valid``) or
    not: so the ends of two units are as far apart as their drains, however few keys a page has."""
    scores = data.ArrayLayout(signed(SCORE_BITS), config.rows)
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "tag": score_tag(config), "score": scores,
                              "visible": config.rows, "largest": scores})


LOW_BITS = 17
"""Of a dot product, for one multiplier of the two: 18 bits with a sign."""


def dot_bits(config):
    """Signed bits that hold every dot product of a query and a key."""
    return ((LANE_MAX << ROW_BITS - 1) * config.max_head_dim).bit_length() + 1


class ScoreScaler(wiring.Component):
    """P-lane SIMD over the keys of a page, one a cycle.

    ::

        score   = sat16(rsh(dot * mult, shift))              Q8.8, log2 domain
        place   = tag.position + lane                        of a job over cells, the cell's position instead
        visible = low <= place < high, or in a tree job from the committed length on the row's bit for the place;
                  and the row sees the segment
        largest = max of the unit's visible scores so far; -2**15 where there is none

        cycle  0  tag from the array       mult of the tag's bank; place
               1  its dot products         cell addressed
               2  * mult (u16)             bounds and mask addressed
               3  + of two products        column of the tree addressed
               4  >> shift                 visible
               5  round, sat16
               6  largest
               7  o

    Words of different units do not interleave; the words of a unit come in the order of their lanes, from lane 0
    on to lane L - 1, with any gaps. Of a word whose lane is not below ``tag.keys`` only ``last`` comes out.

    Members
    -------
    i : In(struct ``valid``, ``lane``, ``tag``), data : In(array of P)
        ``lane`` is the key's index in its page. Its dot products, signed 32 bits, of which `dot_bits` are looked at,
        come a cycle later.
    params : In(ArrayLayout(ScoreParameters, CHUNKS))
        By ``tag.bank``; constant while units of the bank are in flight.
    bounds_addr : Out(struct ``bank``, ``context``), bounds : In(bounds_layout)
        Asked in cycle 2, answered in cycle 3, as a synchronous memory does.
    masked, tree, cells : In(1)
        Modes of the job: cached, over a token tree, over cells.
    mask_addr : Out(mask_address), mask : In(P)
        Rows that see the segment, a bit each; asked in cycle 2, answered in cycle 3.
    tree_base : In(array of positions), by bank
        Position of the first key that the tree's mask is about.
    tree_addr : Out(tree_address), tree_column : In(P)
        Rows that see the tree's place; asked in cycle 3, answered in cycle 4.
    cell_addr : Out(cell_address), position : In(cell_position)
        Position of the token in a cell; asked in cycle 1, answered in cycle 2.
    o : Out(score_word)
        Scores of keys that a row does not see come out as well; only ``visible`` tells.
    saturated : Out(range(P + 1))
        How many visible scores saturated, by the cycle, beside ``o``.

    Latency: `latency` cycles. Throughput: one key a cycle. Cost, for each row: one `dot_bits` x 17 multiplier (two
    of an ECP5) and its shifter.
    """

    latency = 7

    def __init__(self, config):
        self.config = config
        tag = score_tag(config)
        super().__init__({
            "i": In(data.StructLayout({"valid": 1, "lane": range(config.lanes), "tag": tag})),
            "data": In(data.ArrayLayout(signed(ACCUMULATOR_BITS), config.rows)),
            "params": In(data.ArrayLayout(ScoreParameters, CHUNKS)),
            "bounds_addr": Out(data.StructLayout({"bank": range(CHUNKS), "context": range(config.contexts)})),
            "bounds": In(bounds_layout(config)),
            "masked": In(1), "tree": In(1), "cells": In(1),
            "mask_addr": Out(mask_address(config)), "mask": In(config.rows),
            "tree_base": In(data.ArrayLayout(signed(POSITION_BITS), CHUNKS)),
            "tree_addr": Out(tree_address(config)), "tree_column": In(config.rows),
            "cell_addr": Out(cell_address(config)), "position": In(cell_position),
            "o": Out(score_word(config)), "saturated": Out(range(config.rows + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        sync, rows, i = m.d.sync, self.config.rows, self.i

        # Tags travel with the data: stage[n] holds those of the word in cycle n.
        place = data.StructLayout({"valid": 1, "first": 1, "last": 1, "tag": score_tag(self.config)})
        stage = [Signal(place, name=f"stage_{cycle}") for cycle in range(self.latency + 1)]
        m.d.comb += [
            stage[0].valid.eq(i.valid & (i.lane < i.tag.keys)), stage[0].first.eq(i.lane == 0),
            stage[0].last.eq(i.valid & (i.lane == self.config.lanes - 1)), stage[0].tag.eq(i.tag),
            self.bounds_addr.bank.eq(stage[2].tag.bank), self.bounds_addr.context.eq(stage[2].tag.context),
        ]
        for before, after in zip(stage, stage[1:]):
            sync += after.eq(before)

        # What all rows share: the key's position, the numbers of the chunk. A cell's position, of a block RAM, has a
        # register of its own.
        position = [None, *(Signal(signed(POSITION_BITS), name=f"position_{cycle}") for cycle in (1, 2, 3, 4))]
        found = Signal.like(self.position)
        present = Signal()
        m.d.comb += [
            self.cell_addr.bank.eq(stage[1].tag.group[0]), self.cell_addr.cell.eq(position[1]),
            self.mask_addr.bank.eq(stage[2].tag.bank), self.mask_addr.context.eq(stage[2].tag.context),
            self.mask_addr.segment.eq(stage[2].tag.segment),
        ]
        mask = Signal(rows)
        sync += [mask.eq(self.mask | ~self.masked.replicate(rows)), present.eq(found.valid | ~self.cells)]

        # From the committed length on a tree's mask decides, as far as it goes.
        branch = Signal(signed(POSITION_BITS + 1))
        in_tree, named = Signal(), Signal()
        m.d.comb += [
            branch.eq(position[3] - self.tree_base[stage[3].tag.bank]),
            self.tree_addr.bank.eq(stage[3].tag.bank), self.tree_addr.context.eq(stage[3].tag.context),
            self.tree_addr.place.eq(branch),
        ]
        sync += [in_tree.eq(self.tree & (branch >= 0)), named.eq(branch < TREE_PLACES)]
        # The multipliers' inputs are registers of their own; what lies behind is chosen the cycle before.
        chosen, mult = (Signal(ScoreParameters["mult"].shape, name=name) for name in ("chosen", "mult"))
        # A register of each of two halves of the rows, as every bit of a shifter waits for it: of two that say the same
        # synthesis would make one, so the second says the opposite.
        shift, unshifted = (Signal(ScoreParameters["shift"].shape, name=name) for name in ("shift", "unshifted"))
        sync += [position[1].eq(i.tag.position + i.lane), position[2].eq(position[1]), position[3].eq(position[2]),
                 found.eq(self.position), position[4].eq(Mux(self.cells, found.position, position[3])),
                 chosen.eq(self.params[i.tag.bank].mult), mult.eq(chosen),
                 shift.eq(self.params[stage[3].tag.bank].shift), unshifted.eq(~self.params[stage[3].tag.bank].shift)]

        over, visible_6, visible_7 = Signal(rows), Signal(rows), Signal(rows)
        sync += [visible_7.eq(visible_6), self.saturated.eq(popcount(over))]
        m.d.comb += [self.o[name].eq(stage[self.latency][name]) for name in ("valid", "first", "last", "tag")]
        m.d.comb += self.o.visible.eq(visible_7)

        for row in range(rows):
            def register(shape, name, row=row):
                return Signal(shape, name=f"{name}_{row}")

            # Cycles 2 to 4: multiply, by two multipliers, and add up. The bits above a dot product's are its sign.
            width = dot_bits(self.config)
            dot, held = register(signed(width), "dot"), register(signed(width + 16), "held")
            low_product = register(LOW_BITS + 16, "low_product")
            high_product = register(signed(width - LOW_BITS + 16), "high_product")
            sync += [dot.eq(self.data[row]), low_product.eq(dot[:LOW_BITS] * mult),
                     high_product.eq(dot[LOW_BITS:].as_signed() * mult),
                     held.eq((high_product << LOW_BITS) + low_product)]

            # Cycles 3 to 6: visible. The bounds get a register behind the slow output of the block RAM.
            low, high = (register(signed(POSITION_BITS), name) for name in ("low", "high"))
            # So does the tree's column: what else decides is known by then.
            between, granted, column, visible_5 = (register(1, name) for name in (
                "between", "granted", "column", "visible_5"))
            sync += [
                low.eq(self.bounds[row].low), high.eq(self.bounds[row].high),
                between.eq(mask[row] & present & ~in_tree & (low <= position[4]) & (position[4] < high)),
                granted.eq(mask[row] & present & in_tree & named), column.eq(self.tree_column[row]),
                visible_6[row].eq(visible_5),
            ]
            m.d.comb += visible_5.eq(between | granted & column)

            # Cycles 4 to 6: shift; round, saturate.
            kept, beyond, sign = (register(shape, name) for shape, name in (
                (signed(SCORE_BITS + 2), "kept"), (len(shift), "beyond"), (1, "sign")))
            whole, outside = rounded(kept, beyond, sign, SCORE_BITS)
            score_6, score_7 = register(signed(SCORE_BITS), "score_6"), register(signed(SCORE_BITS), "score_7")
            sync += [
                *(after.eq(value) for after, value in zip((kept, beyond, sign), shifted(
                    held, shift if row < rows // 2 else ~unshifted, SCORE_BITS))),
                score_6.eq(Mux(outside, Cat((~sign).replicate(SCORE_BITS - 1), sign), whole)), score_7.eq(score_6),
                over[row].eq(outside & visible_5 & stage[5].valid),
            ]

            # Cycle 6: the unit's largest so far.
            largest = register(signed(SCORE_BITS), "largest")
            with m.If(stage[6].valid):
                with m.If(visible_6[row] & (stage[6].first | (score_6 > largest))):
                    sync += largest.eq(score_6)
                with m.Elif(stage[6].first):
                    sync += largest.eq(LEAST_SCORE)
            m.d.comb += [self.o.score[row].eq(score_7), self.o.largest[row].eq(largest)]
        return m
