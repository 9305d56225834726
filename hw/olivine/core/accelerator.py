"""The accelerator: engines, cache, scratchpad, and the program that they run."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..attention.steps import tile_tag as attention_tag
from ..control.instruction import Unit
from ..control.registers import ADDRESS_BITS
from ..linear.engine import LinearEngine
from ..linear.sequencer import tile_tag as linear_tag
from ..memory.axi import AXI4
from ..memory.join import BusJoin, attach
from ..memory.scratchpad import Scratchpad
from ..memory.split import BusSplit
from ..olive.shared import SharedArray
from ..program.axi_lite import AXI4Lite
from ..program.dispatch import ProgramDispatch
from ..program.fetch import InstructionFetch
from ..program.registers import Registers
from ..vector.engine import VectorEngine
from .activity import ActivityMonitor, CoreActivity
from .cached_engines import CachedEngines

__all__ = ["ID_BITS", "Accelerator"]

ROW_MASTERS, ROW_ID_BITS = 4, 2
"""Whose rows may lie in the scratchpad: linear, attention, append, vector. The log-sum-exp that a score job reads may
not, nor may attention's tables: they are read with its pages."""

MASTERS = 5
"""On the bus: weights, attention's pages, the cache's moves, instructions, rows that are not in the scratchpad."""

ID_BITS = ROW_ID_BITS + (ROW_MASTERS - 1).bit_length() + (MASTERS - 1).bit_length()


class Accelerator(wiring.Component):
    """Runs programs.

    ::

        registers -> fetch -> dispatch -> linear, attention, append, cache, vector
                                            | weights, pages, moves    | rows
                                            v                          v
                        bus <------------ join <----- far ----------- split -- near -> scratchpad
                                                                       (array: linear, attention)

    Parameters
    ----------
    config : AcceleratorConfig
        A word of P int16 must be a beat: ``bus_bytes == 2 * rows``.

    Members
    -------
    host : In(AXI4Lite(12))
        Registers, see `olivine.control.registers`.
    bus : Out(AXI4)
    irq : Out(1)
    activity : Out(CoreActivity)
        For traces; nothing needs it.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "host": In(AXI4Lite(ADDRESS_BITS)), "bus": Out(AXI4(config.addr_width, config.bus_bits, ID_BITS)),
            "irq": Out(1), "activity": Out(CoreActivity),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        sizes = config.addr_width, config.bus_bits
        m.submodules.registers = registers = Registers(config, config.scratchpad_base, config.scratchpad_words)
        m.submodules.fetch = fetch = InstructionFetch(config)
        m.submodules.dispatch = dispatch = ProgramDispatch(config.bus_bits)
        m.submodules.linear = linear = LinearEngine(config)
        m.submodules.cached = cached = CachedEngines(config)
        m.submodules.vector = vector = VectorEngine(config)
        m.submodules.array = array = SharedArray(config, [linear_tag(config), attention_tag(config)])
        # The array waits for a linear layer's rows, and for nobody else's.
        m.submodules.rows = rows = BusJoin(*sizes, ROW_MASTERS, ROW_ID_BITS, favoured=True)
        m.submodules.split = split = BusSplit(*sizes, config.scratchpad_bytes, rows.bus_id_width)
        m.submodules.scratchpad = scratchpad = Scratchpad(*sizes, config.scratchpad_words, rows.bus_id_width)
        m.submodules.join = join = BusJoin(*sizes, MASTERS, rows.bus_id_width)
        m.submodules.monitor = monitor = ActivityMonitor(config)

        # Programs.
        wiring.connect(m, wiring.flipped(self.host), registers.bus)
        wiring.connect(m, fetch.o_instruction, dispatch.i)
        wiring.connect(m, fetch.o_fault, dispatch.i_fault)
        m.d.comb += [
            fetch.start.eq(registers.start), fetch.address.eq(registers.program), fetch.length.eq(registers.length),
            fetch.abort.eq(dispatch.stop), dispatch.fetch_idle.eq(fetch.idle),
            dispatch.program.eq(registers.program), dispatch.i_word.eq(fetch.o_word), fetch.room.eq(dispatch.room),
            dispatch.start.eq(registers.start), dispatch.abort.eq(registers.abort),
            registers.ended.eq(dispatch.ended), registers.fault.eq(dispatch.fault),
            registers.completed.eq(dispatch.completed), registers.result.eq(dispatch.status.address),
            registers.result_valid.eq(dispatch.status_valid & dispatch.status.has_result), self.irq.eq(registers.irq),
        ]

        # Units.
        for unit, job, done in ((Unit.LINEAR, linear.job, linear.done),
                                (Unit.ATTENTION, cached.attention, cached.attention_done),
                                (Unit.APPEND, cached.append, cached.append_done),
                                (Unit.CACHE, cached.operation, cached.operation_done),
                                (Unit.VECTOR, vector.job, vector.done)):
            name = unit.name.lower()
            source = getattr(dispatch, name)
            m.d.comb += [job.payload.eq(source.payload), job.valid.eq(source.valid), source.ready.eq(job.ready)]
            wiring.connect(m, done, getattr(dispatch, f"{name}_done"))
        for part, unit in ((linear, Unit.LINEAR), (cached, Unit.ATTENTION), (vector, Unit.VECTOR)):
            m.d.comb += part.rows_ready.eq(dispatch.rows_ready[unit.value])
        for abort, unit in ((linear.abort, Unit.LINEAR), (cached.attention_abort, Unit.ATTENTION),
                            (cached.append_abort, Unit.APPEND), (vector.abort, Unit.VECTOR)):
            m.d.comb += abort.eq(dispatch.unit_abort[unit.value])
        m.d.comb += [
            cached.expected.eq(dispatch.appends_expected), dispatch.quiet.eq(cached.quiet),
            dispatch.settled.eq(cached.settled),
            *(part.windows.eq(registers.windows) for part in (fetch, linear, cached, vector)),
            *(part.bus_timeout.eq(registers.bus_timeout) for part in (fetch, linear, cached, vector)),
        ]
        wiring.connect(m, linear.array, array.user_0)
        wiring.connect(m, cached.array, array.user_1)

        # Memory.
        for port, master in zip((linear.rows, cached.rows, cached.source, vector.bus), rows.masters):
            attach(m, port, master)
        wiring.connect(m, rows.bus, split.master)
        wiring.connect(m, split.near, scratchpad.bus)
        for port, master in zip((linear.weights, cached.pages, cached.moves, fetch.port, split.far), join.masters):
            attach(m, port, master)
        wiring.connect(m, join.bus, wiring.flipped(self.bus))

        # Pages for a job whose rows are not there yet fill what weights leave of the bus.
        weights, owed = linear.weights, Signal(8)
        m.d.sync += owed.eq(owed + (weights.ar.valid & weights.ar.ready)
                            - (weights.r.valid & weights.r.ready & weights.r.payload.last))
        m.d.comb += cached.yields.eq(weights.ar.valid | (owed != 0))

        m.d.comb += [
            monitor.running.eq(registers.running), monitor.ready.eq(dispatch.rows_ready),
            monitor.units.eq(dispatch.at_work),
            monitor.linear.eq(linear.activity), monitor.attention.eq(cached.activity),
            monitor.vector.eq(vector.activity),
            monitor.linear_owns.eq(linear.array.granted & linear.array.busy),
            monitor.attention_owns.eq(cached.array.granted & cached.array.busy),
            monitor.read_beat.eq(self.bus.r.valid & self.bus.r.ready),
            monitor.write_beat.eq(self.bus.w.valid & self.bus.w.ready),
            registers.counts.eq(monitor.counts), self.activity.eq(monitor.activity),
        ]
        return m
