"""What the core does in a cycle: whose array it is, what keeps it, and which units are at work."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..control.instruction import Unit
from ..control.job import TALLIES, Activity, Stall
from ..control.lifecycle import STALL_COUNTERS
from ..program.counters import counts_layout

__all__ = ["CoreActivity", "ActivityMonitor"]

CoreActivity = data.StructLayout({
    "running": unsigned(1),     # a program runs
    "units": unsigned(len(Unit)),   # by `Unit`: an instruction is at work
    "ready": unsigned(len(Unit)),   # and its rows are ready
    "step": unsigned(1), "attends": unsigned(1),    # the array takes a step; it is attention's
    "stall": Stall,             # of the array's owner
    "read_beat": unsigned(1), "write_beat": unsigned(1),
})
"""For traces. ``stall`` is NONE where nobody has the array."""


class ActivityMonitor(wiring.Component):
    """Counts for `Registers`, from what the engines and the bus do.

    Members
    -------
    running, read_beat, write_beat : In(1)
    units, ready : In(5)
    linear, attention, vector : In(Activity), linear_owns, attention_owns : In(1)
        Engines, and who has the array in this cycle; with attention, what the append engine tallies.
    counts : Out(counts_layout), activity : Out(CoreActivity)
        One cycle later.
    """

    def __init__(self, config):
        super().__init__({
            "running": In(1), "read_beat": In(1), "write_beat": In(1), "units": In(len(Unit)), "ready": In(len(Unit)),
            "linear": In(Activity), "attention": In(Activity), "vector": In(Activity), "linear_owns": In(1),
            "attention_owns": In(1), "counts": Out(counts_layout(config)), "activity": Out(CoreActivity),
        })

    def elaborate(self, platform):
        m = Module()
        counts, activity = self.counts, self.activity
        # An engine's activity is that of the cycle before.
        owners = Signal(2)
        step, stall = Signal(), Signal(Stall)
        m.d.sync += owners.eq(Cat(self.linear_owns, self.attention_owns))
        for owns, engine in zip(owners, (self.linear, self.attention)):
            with m.If(owns):
                m.d.comb += [step.eq(engine.step), stall.eq(Mux(engine.step, Stall.NONE, engine.stall))]
        m.d.sync += [
            activity.running.eq(self.running), activity.units.eq(self.units), activity.ready.eq(self.ready),
            activity.step.eq(step), activity.attends.eq(owners[1]), activity.stall.eq(stall),
            activity.read_beat.eq(self.read_beat), activity.write_beat.eq(self.write_beat),
            counts.array_busy.eq(step), counts.beats_read.eq(self.read_beat), counts.beats_written.eq(self.write_beat),
            *(counts[name].eq(stall == cause) for name, cause in STALL_COUNTERS.items()),
            counts.stall_idle.eq(~step & ((stall == Stall.NONE) | (stall == Stall.DONE))),
            counts.array_useful.eq(self.linear.useful + self.attention.useful),
            *(counts[name].eq(self.linear[name] + self.attention[name] + self.vector[name]) for name in TALLIES),
        ]
        return m
