"""BurstReader without its shifter: commands that start at a beat, of any length."""

import cocotb

from tb.memory.rig import Rig
from tb.streams import PATTERNS


@cocotb.test
async def lengths(dut):
    rig = await Rig(dut).start()
    size = rig.bus_bytes
    for seed, pattern in enumerate(PATTERNS):
        rig.knobs["o"].turn(pattern, seed)
        commands = [(0x140 + size * (count % 7), count) for count in range(1, 18 * size + 2)]
        for command in commands:
            rig.push_read(*command)
        await rig.expect(commands)
