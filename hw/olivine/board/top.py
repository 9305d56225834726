"""All that is in the FPGA of a board: the accelerator, its memory, and the bridge to the host."""

from amaranth.hdl import Cat, ClockDomain, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..bridge.bridge import Bridge
from ..bridge.frames import MAX_PAYLOAD
from ..core.accelerator import ID_BITS, Accelerator
from ..memory.join import BusJoin, attach
from .dram import BlockMemory, BoardMemory
from .dram_pins import SdramPins

__all__ = ["BUS_ID_BITS", "LEDS", "MOST_RATIO", "BoardTop"]

BUS_ID_BITS = ID_BITS + 1
"""ID bits of the memory's port: the core's, and which of core and bridge."""

LEDS = 4
"""Lights: alive (it blinks), memory is ready, a program runs, interrupt."""

MOST_RATIO = 4
"""Of the core's clock to the memory's: a reset of both lasts 16 cycles of the core's."""

BLINK = 25
"""Bits of the counter that makes the light blink: about twice a second."""


class BoardTop(wiring.Component):
    """::

        rx, tx -- Bridge --host--> Accelerator
                    | memory          | bus
                    +----> BusJoin <--+
                              v
                  BoardMemory or BlockMemory -- pins

    **Clocks.** ``link`` (bridge) and ``sync`` (everything else of the core's) are the same clock with resets of their
    own; ``dram`` is the memory's, ``dram_pin`` that of its clock pin. Between ``sync`` and ``dram`` there are the
    queues of `AxiCrossing`, synchronisers and the reset, nothing else: no path between the two needs a constraint but
    that a queue's Gray-coded pointer must arrive within a period of either clock, as any placed wire does.

    **Resets.** ``link`` is reset while the PLL is not locked, ``sync`` and ``dram`` then and when the bridge asks for
    it: for at least 16 cycles of the core's clock, which must be at most `MOST_RATIO` times the memory's. The memory's
    controller initialises its chip again after each; the chip's contents stay, as it takes less than its refresh
    period.

    Parameters
    ----------
    config : AcceleratorConfig
    divisor : int
        Cycles of a bit on the serial line, see `olivine.bridge.uart.divisor_of`.
    dram : DramCore or None
        The memory's controller, made with the configuration's bus and `BUS_ID_BITS`. None: memory of the FPGA's own.
    words : int
        Of the FPGA's own memory: beats, a power of two.
    ports : object or None
        The memory's pins, see `BoardMemory`. None: they are the member ``pins``.
    max_payload : int
        See `Bridge`.

    Members
    -------
    core_clk, dram_clk, dram_pin_clk, locked : In(1)
        Clocks, and whether they run. Without ``dram`` only ``core_clk`` and ``locked``.
    rx : In(1), tx : Out(1)
        The serial line.
    leds : Out(4)
        See `LEDS`.
    pins : Out(SdramPins)
        Only with ``dram`` and without ``ports``.

    Attributes
    ----------
    memory_bytes : int
    """

    dram_clocks = ("dram_clk", "dram_pin_clk")
    """Members that are clocks of ``dram``."""

    pin_signature = SdramPins
    """Of a part."""

    needs = ""
    """What an error puts before the bits of data that `_fits` wants of a controller."""

    def __init__(self, config, divisor, *, dram=None, words=None, ports=None, max_payload=MAX_PAYLOAD):
        if (dram is None) == (words is None):
            raise ValueError("one of dram and words is given: a controller, or the size of memory on chip")
        if dram is not None and not (self._fits(dram.bus_bits, config.bus_bits) and dram.id_width == BUS_ID_BITS):
            raise ValueError(f"the memory's controller has {dram.bus_bits} bits of data and {dram.id_width} of ID: "
                             f"needed are {self.needs}{config.bus_bits} and {BUS_ID_BITS}")
        self.config, self.divisor, self.dram, self.words, self.ports = config, divisor, dram, words, ports
        self.max_payload = max_payload
        self.memory_bytes = words * config.bus_bytes if dram is None else self._size(dram)
        if self.memory_bytes > config.scratchpad_base:
            raise ValueError(f"memory of {self.memory_bytes:#x} bytes reaches into the scratchpad at "
                             f"{config.scratchpad_base:#x}: addr_width {config.addr_width} is too small")
        members = {"core_clk": In(1), "locked": In(1), "rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(LEDS)}
        if dram is not None:
            members |= {clock: In(1) for clock in self.dram_clocks}
            if ports is None:
                members["pins"] = Out(self.pin_signature(dram.part))
        super().__init__(members)

    @staticmethod
    def _fits(controller_bits, bus_bits):
        return controller_bits == bus_bits

    def _size(self, dram):
        """Bytes of it that are used."""
        return 1 << dram.addr_width

    def _core(self):
        return Accelerator(self.config)

    def _memory(self):
        if self.dram is None:
            return BlockMemory(self.config.addr_width, self.config.bus_bits, self.words, BUS_ID_BITS)
        return BoardMemory(self.dram, self.config.addr_width, self.ports)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bridge = Bridge(exact_log2(self.memory_bytes), config.bus_bits, self.divisor, max_payload=self.max_payload)
        m.submodules.bridge = DomainRenamer("link")(bridge)
        m.submodules.core = core = self._core()
        m.submodules.join = join = BusJoin(config.addr_width, config.bus_bits, 2, ID_BITS)
        m.submodules.memory = memory = self._memory()
        held = self._domains(m)

        self._registers(m, bridge, core, memory)
        # A bus of fewer address bits: the memory's.
        for port, master in zip((core.bus, bridge.memory), join.masters):
            attach(m, port, master)
        wiring.connect(m, join.bus, memory.bus)
        if hasattr(self, "pins"):
            wiring.connect(m, memory.pins, wiring.flipped(self.pins))

        blink, asked = Signal(BLINK), Signal(init=1)
        # What holds the core goes over the whole die: a register before it, and it has no reset of its own.
        m.d.link += [blink.eq(blink + 1), asked.eq(bridge.reset), held.eq(asked)]
        m.d.sync += self.leds[1:].eq(Cat(memory.ready, core.activity.running, core.irq))
        m.d.comb += [
            bridge.rx.eq(self.rx), self.tx.eq(bridge.tx), bridge.irq.eq(core.irq),
            bridge.board.eq(self._board(memory)),
            self.leds[0].eq(blink[-1]),
        ]
        return m

    def _registers(self, m, bridge, core, memory):
        """The bridge's register space."""
        wiring.connect(m, bridge.host, core.host)

    def _board(self, memory):
        """The board's bits of the bridge's status."""
        return memory.ready

    def _domains(self, m):
        """Clock domains; returns what holds ``sync`` and ``dram`` in reset, a register of ``link``."""
        link, sync = ClockDomain("link"), ClockDomain("sync")
        # The port itself is the clock of both: a copy would lag by a delta cycle in a simulation.
        link.clk = sync.clk = self.core_clk
        m.domains += [link, sync]
        held = Signal(init=1, reset_less=True)
        # Its synchronizer has a domain of its own, which nothing else is in: behind it are two plain registers, as it
        # stands at the pins and the last of them is copied into each module. (Copies of the synchronizer's last one
        # could differ for a cycle.)
        early, settled, begins = ClockDomain("early"), *(Signal(init=1, reset_less=True) for _ in range(2))
        early.clk = self.core_clk
        m.domains += early
        m.submodules.link_reset = ResetSynchronizer(~self.locked, domain="early")
        m.d.link += [settled.eq(ResetSignal("early")), begins.eq(settled)]
        m.d.comb += ResetSignal("link").eq(begins)
        m.d.comb += ResetSignal("sync").eq(held)
        if self.dram is not None:
            self._memory_domains(m, held)
        return held

    def _memory_domains(self, m, held):
        dram, pin = ClockDomain("dram"), ClockDomain("dram_pin", reset_less=True)
        dram.clk, pin.clk = self.dram_clk, self.dram_pin_clk
        m.domains += [dram, pin]
        m.submodules.dram_reset = ResetSynchronizer(held, domain="dram")
