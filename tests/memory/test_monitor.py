"""The bus monitor: what it counts, and what it listens to."""

from amaranth.hdl import Module
from amaranth.sim import Simulator
from olivine.memory.axi import AXI4
from olivine.memory.monitor import BusMonitor

from tests.simulate import run

CHANNELS = ("ar", "r", "aw", "w", "b")


def test_monitor():
    run(BusMonitor(), "tb.memory.monitor", expected=4)


def test_listens_to_each_handshake():
    m = Module()
    m.submodules.monitor = monitor = BusMonitor()
    bus = AXI4(32, 64, id_width=1).create()
    m.d.comb += monitor.listen(bus, bus)
    ports = {(channel, side): getattr(monitor, f"{channel}_{side}")
             for channel in CHANNELS for side in ("valid", "ready")}

    async def bench(ctx):
        for (channel, side), port in ports.items():
            wire = getattr(getattr(bus, channel), side)
            ctx.set(wire, 1)
            assert {name: ctx.get(other) for name, other in ports.items()} == \
                {name: int(other is port) for name, other in ports.items()}
            ctx.set(wire, 0)
        assert ctx.get(monitor.r_last) == 0
        ctx.set(bus.r.payload.last, 1)
        assert ctx.get(monitor.r_last) == 1

    simulator = Simulator(m)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
