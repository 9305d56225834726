"""WriteMux with several writers, each at the level of its channels: whose response it is, order, turns, speed."""

import random

import cocotb
from olivine.memory.axi import Response

from tb.axi_memory import DECERR
from tb.memory.join import ID_WIDTH, MASTERS, REGION, Setup, gaps
from tb.streams import PATTERNS


class Ports(Setup):
    def __init__(self, dut, **options):
        super().__init__(dut, name="ports_{}", reads=False, **options)

    def push(self, index, beats, **options):
        """A burst, offered under an ID that must not matter; the response carries the port's number."""
        port = self.masters[index]
        port.push_write(beats, index, offered=port.random.randrange(1 << ID_WIDTH), **options)


@cocotb.test
async def mixed(dut):
    """Bursts of every length from every port, with stalls on all channels."""
    chooser = random.Random(3)
    setup = Ports(dut, patterns={"aw": "half", "w": "bursty", "b": "half"})
    await setup.start()
    for seed, pattern in enumerate(PATTERNS):
        for channel in ("aw", "w", "b"):
            setup.memory.set_pattern(channel, pattern if seed else chooser.choice(list(PATTERNS)), seed)
        for index in range(MASTERS):
            for _ in range(20):
                setup.push(index, chooser.choice((1, 2, 7, 16)))
        await setup.settle()
    for burst in setup.memory.writes:
        assert burst.id == burst.address // REGION, f"{burst} has another port's ID"


@cocotb.test
@cocotb.parametrize(beats=[1, 3, 16])
async def full_speed(dut, beats):
    """All ports at once: no gap on W, one address a cycle, and turns."""
    setup = await Ports(dut).start()
    bursts = 96 // beats
    for index in range(MASTERS):
        for _ in range(bursts):
            setup.push(index, beats)
    await setup.settle()
    transfers = setup.memory.transfers
    assert gaps(transfers["w"]) == 0
    assert beats > 1 or gaps(transfers["aw"]) == 0
    assert transfers["w"][0] == transfers["aw"][0], "the first beat does not go with its address"
    assert [burst.id for burst in setup.memory.writes] == list(range(MASTERS)) * bursts, "ports do not take turns"


@cocotb.test
async def errors(dut):
    """An error goes to the port whose burst it was, and to nobody else."""
    setup = await Ports(dut).start()
    for victim in range(MASTERS):
        setup.memory.inject(DECERR, victim * REGION, victim * REGION + 0xFF)
        for index in range(MASTERS):
            setup.push(index, 4, response=Response.DECERR if index == victim else Response.OKAY,
                       place=index * REGION + 0x40)
        await setup.settle()
        setup.memory.heal()


@cocotb.test
async def late_beats(dut):
    """A port that pauses inside its burst: the others wait, and nothing gets mixed up."""
    setup = await Ports(dut, patterns={"w": "rare"}).start()
    for index in range(MASTERS):
        for _ in range(12):
            setup.push(index, 5)
    await setup.settle()
