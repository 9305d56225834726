"""The linear engine's datapath: from beats of weights and rows to beats of results.

::

    weights ─> WeightLoader ─ word ─> Border ─ lane[L] ─┐
                 (tile buffer)                          v
    rows ────> RowLoader ──────────── row[P] ───> (the array) ─> Epilogue ─> ResultPacker ─> results
                 (scratchpad)                           ^
               Sequencer ── addresses, tags ────────────┘

An operand takes two cycles from its address to the array: the memory, and a register behind it.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..control.job import Stall
from ..numerics.popcount import popcount
from ..olive.shared import ArrayPort
from ..stream import Skid
from . import results, rows
from .border import Border
from .epilogue import Epilogue
from .plan import plan_layout, times
from .results import ResultPacker
from .rows import RowLoader
from .sequencer import Sequencer, tile_tag
from .weights import WeightLoader

__all__ = ["Datapath"]


class Datapath(wiring.Component):
    """Everything between the bus ports of one linear job.

    Members
    -------
    plan : In
        Constant from the cycle in which reset ends to the end of the job.
    i_weight : In(stream(beat)), i_row : In(stream of packed beats), o : Out(stream of packed beats)
    i_row_block, i_result_block : In(stream)
        What lies where (`RowAddresses`, `ResultBlocks`).
    array : Out(ArrayPort)
        ``busy`` is the engine's.
    step, drain : Out(1), stall : Out(Stall)
        What the array does in this cycle.
    useful : Out
        Multiplies whose row and lane were valid, by the cycle.
    sat_row, sat_sum, sat_output, illegal : Out
        Events by the cycle.
    """

    def __init__(self, config):
        self.config = config
        beats = data.StructLayout({"data": data.ArrayLayout(8, config.bus_bytes),
                                   "count": range(config.bus_bytes + 1), "last": 1})
        super().__init__({
            "plan": In(plan_layout(config)),
            "i_weight": In(stream.Signature(config.bus_bits)), "i_row": In(stream.Signature(beats)),
            "i_row_block": In(stream.Signature(rows.block_layout(config))),
            "i_result_block": In(stream.Signature(results.block_layout(config))),
            "o": Out(stream.Signature(beats)), "array": Out(ArrayPort(config, tile_tag(config))),
            "step": Out(1), "drain": Out(1), "stall": Out(Stall),
            "useful": Out(range(config.multipliers + 1)),
            "sat_row": Out(range(config.rows + 1)),
            "sat_sum": Out(range(config.rows * config.drain_columns + 1)),
            "sat_output": Out(range(config.rows * config.drain_columns + 1)),
            "illegal": Out(range(config.lanes + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        m.submodules.weights = weights = WeightLoader(config)
        m.submodules.rows = rows = RowLoader(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.border = border = Border(config.lanes, config.element)
        array = self.array
        m.submodules.epilogue = epilogue = Epilogue(config, array.o.shape())
        m.submodules.packer = packer = ResultPacker(config)
        for part in (weights, rows, sequencer, epilogue, packer):
            if hasattr(part, "plan"):
                m.d.comb += part.plan.eq(plan)
        # The reader stands where the bus is, the loader beside what it fills.
        m.submodules.weight_door = weight_door = Skid(config.bus_bits)
        wiring.connect(m, wiring.flipped(self.i_weight), weight_door.i)
        wiring.connect(m, weight_door.o, weights.i)
        wiring.connect(m, wiring.flipped(self.i_row), rows.i)
        wiring.connect(m, wiring.flipped(self.i_row_block), rows.i_block)
        wiring.connect(m, wiring.flipped(self.i_result_block), packer.i_block)
        wiring.connect(m, packer.o, wiring.flipped(self.o))

        # Cycle 0: the sequencer decides and addresses.
        m.d.comb += [
            sequencer.level.eq(weights.level), sequencer.run_complete.eq(weights.run_complete),
            sequencer.available.eq(rows.any_available & array.granted), array.wanted.eq(rows.any_available),
            sequencer.credit_return.eq(packer.credit),
            weights.offset.eq(sequencer.offset), weights.release.eq(sequencer.release),
            rows.addr.eq(sequencer.row_addr), rows.take.eq(sequencer.take_row),
            rows.chunk_done.eq(sequencer.chunk_done),
            self.step.eq(sequencer.issue), self.stall.eq(sequencer.stall),
        ]
        m.d.sync += self.useful.eq(times(sequencer.tag.lanes, sequencer.tag.rows) & sequencer.issue.replicate(
            len(self.useful)))

        # Cycle 1: the memories answer. Cycle 2: their registers, the decoders, the array's inputs.
        controls = data.StructLayout({"step": array.step.shape(), "odd": 1, "half": 1, "count_illegal": 1})
        asked, answered = Signal(controls), Signal(controls)
        word, row = Signal.like(weights.o), Signal.like(rows.o)
        m.d.sync += [
            asked.step.valid.eq(sequencer.issue), asked.step.first.eq(sequencer.first),
            asked.step.last.eq(sequencer.last), asked.step.tag.eq(sequencer.tag),
            asked.step.pairs.eq(plan.int8 if config.element == "exponent" else 0),
            asked.odd.eq(sequencer.odd), asked.half.eq(sequencer.half),
            asked.count_illegal.eq(sequencer.count_illegal),
            answered.eq(asked), word.eq(weights.o), row.eq(rows.o),
        ]
        if config.element == "folded":
            m.d.sync += answered.odd.eq(asked.odd | plan.int8)
        m.d.comb += [
            border.word.eq(word), border.weight_format.eq(plan.weight_format),
            border.odd.eq(answered.odd), border.half.eq(answered.half),
            array.step.eq(answered.step), array.row.eq(row), array.lane.eq(border.o),
            array.form.eq(border.form),
        ]
        # Cycle 3: illegal bytes, counted in cycle 4.
        exists, illegal = Signal(config.lanes), Signal(config.lanes)
        m.d.comb += exists.eq((1 << answered.step.tag.lanes) - 1)
        m.d.sync += [illegal.eq(border.illegal & exists & answered.count_illegal.replicate(config.lanes)),
                     self.illegal.eq(popcount(illegal))]

        # The drain.
        m.d.comb += [
            epilogue.i.eq(array.o), self.drain.eq(array.o.valid),
            weights.multiplier_addr.eq(epilogue.multiplier_addr), epilogue.multiplier.eq(weights.multiplier),
            weights.multiplier_release.eq(epilogue.multiplier_release),
            weights.record_addr.eq(epilogue.record_addr), epilogue.record.eq(weights.record),
            weights.record_release.eq(epilogue.record_release),
            packer.i_valid.eq(epilogue.o_valid), packer.i.eq(epilogue.o),
            self.sat_row.eq(rows.saturated), self.sat_sum.eq(epilogue.sum_saturated),
            self.sat_output.eq(epilogue.output_saturated),
        ]
        return m
