"""`SerialCore`: the core behind a bridge, as `CoreEngine` uses it."""

import random
from dataclasses import replace

import numpy as np
import pytest
from olivine.bridge.frames import Code, Operation
from olivine.config import PRESETS
from olivine.control.registers import BY_NAME, IDENTIFIER
from olivine.memory.axi import Response
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_host.board.link import LinkError
from olivine_host.board.serial_core import SerialCore, WrongCore
from olivine_host.device import Device
from olivine_host.lm.model import QuantizedLM
from olivine_host.simulation.core import RegisterError, SimulatedCore

from tb.bridge.model import BridgeModel
from tests.bridge.device import Line, device

CONFIG = PRESETS["tiny"]
MEMORY = 1 << 14


def constants(config):
    """What the constant registers of a core read."""
    return {BY_NAME["ID"].offset: IDENTIFIER, **{BY_NAME[name].offset: sum(
        getattr(config, field.name) - (field.name == "windows") << field.low for field in BY_NAME[name].fields)
        for name in ("ARRAY", "BUS")}}


def board(config=CONFIG, **options):
    made = BridgeModel(bytearray(MEMORY), 14, CONFIG.bus_bytes, **options)
    made.registers = constants(config) | {BY_NAME["CYCLES_LO"].offset: 123, BY_NAME["CYCLES_HI"].offset: 1}
    made.board = 1
    return made


def test_memory():
    """Chunks, places that are no whole beats, progress."""
    seen, rng = [], random.Random(1)
    with device(made := board(max_payload=256)) as terminal, \
            SerialCore(terminal.port, CONFIG, loading=lambda *at: seen.append(at), patience=5) as core:
        assert made.resets == 1 and core.memory_bytes == MEMORY and core.activity is None
        content = rng.randbytes(1000)
        core.write((64, content), (0, b""), (4096, content[:8]))
        assert made.memory[64:1064] == content and made.memory[4096:4104] == content[:8]
        assert seen == [(256, 1008), (512, 1008), (768, 1008), (1000, 1008), (1008, 1008)]
        seen.clear()
        assert core.read(67, 600) == content[3:603]
        assert seen == [(256, 604), (512, 604), (604, 604)]
        for address, data in ((2, bytes(8)), (0, bytes(7)), (MEMORY - 8, bytes(16)), (-8, bytes(8))):
            with pytest.raises(ValueError):
                core.write((0, bytes(8)), (address, data))
        with pytest.raises(ValueError):
            core.read(MEMORY - 1, 2)
        made.faults[Operation.READ_MEMORY] = Code.TIMEOUT
        with pytest.raises(LinkError, match="the bus is silent"):
            core.read(0, 8)


def test_registers():
    with device(made := board()) as terminal, SerialCore(terminal.port, CONFIG, patience=5) as core:
        made.registers[0x50] = 0
        core.write_register(0x50, 0x89abcdef)
        assert core.read_register(0x50) == 0x89abcdef
        for access in (lambda: core.read_register(0x60), lambda: core.write_register(0x60, 1)):
            with pytest.raises(RegisterError, match="at 0x60 was answered DECERR"):
                access()


def test_wait():
    seen = []
    with device(made := board()) as terminal, \
            SerialCore(terminal.port, CONFIG, progress=seen.append, hang_seconds=0, patience=5) as core:
        core.mark()
        ended = core.wait()
        assert ended.hangs and ended.cycles == 123 | 1 << 32 and not seen
        core.hang_seconds = 60
        core.progress = lambda cycles: (seen.append(cycles), setattr(made, "irq", 1))
        ended = core.wait()
        assert not ended.hangs and ended.cycles == 123 | 1 << 32 and seen == [ended.cycles]
        core.reset()
        assert made.resets == 2


@pytest.mark.parametrize("config, options, why", [
    (replace(CONFIG, rows=4), {}, "is not 'tiny': it has rows 4, not 2$"),
    (replace(CONFIG, lanes=16, contexts=3), {}, "it has lanes 16, not 8; contexts 3, not"),
    (CONFIG, {"memory_bytes": MEMORY + 1}, "0x4001 bytes of memory are needed, the board on .* has 0x4000"),
    (CONFIG, {"ready_seconds": 0}, "is not ready after 0 seconds")])
def test_wrong_board(config, options, why):
    made = board(config)
    made.board = "ready_seconds" not in options
    with device(made) as terminal, pytest.raises(LinkError, match=why):
        SerialCore(terminal.port, CONFIG, patience=5, **options)


def test_no_core():
    made = board()
    made.registers[BY_NAME["ID"].offset] = 0
    with device(made) as terminal, pytest.raises(WrongCore, match="has no core of Olivine"):
        SerialCore(terminal.port, CONFIG, patience=5)


def test_no_traces():
    with pytest.raises(ValueError, match="records neither"):
        SerialCore("nowhere", CONFIG, trace=True)


# --- The whole stack ----------------------------------------------------------------------------------

class Simulated(BridgeModel):
    """The model of a bridge with a simulated core behind it."""

    def __init__(self, core):
        super().__init__(None, 20, CONFIG.bus_bytes)
        self.core, self.board = core, 1

    @property
    def irq(self):
        self.core.run_cycles(200)
        return self.core.read_register(BY_NAME["STATUS"].offset) >> 4

    @irq.setter
    def irq(self, value):
        pass

    def _register(self, operation, frame):
        try:
            if operation is Operation.READ_REGISTER:
                return Code.OK, self.core.read_register(frame.address).to_bytes(4, "little")
            self.core.write_register(frame.address, int.from_bytes(frame.payload, "little"))
        except RegisterError as error:
            return Code.SLVERR if Response.SLVERR.name in str(error) else Code.DECERR, b""
        return Code.OK, b""

    def _memory(self, operation, frame):
        if operation is Operation.READ_MEMORY:
            return Code.OK, self.core.read(frame.address, frame.count)
        self.core.write((frame.address, frame.payload))
        return Code.OK, b""


@pytest.mark.slow
def test_generates():
    """`Device` over a bad serial line to a simulated core: the tokens of golden."""
    sizes = DecoderConfig(layers=1, d_model=16, heads=2, kv_heads=1, head_dim=8, hidden=16, context=16, vocab=24,
                          function=Function.GELU_TANH)
    decoder, options = random_decoder(sizes, 3), {"max_new_tokens": 3}
    lm = QuantizedLM(decoder, (LaneFormat.INT4, LaneFormat.INT4), tuple(layer.attention for layer in decoder.layers))
    prompts = [np.random.default_rng(1).integers(0, 24, 4).tolist(), [5]]
    with Device("golden", config=CONFIG) as golden:
        expected = [completion.tokens for completion in golden.load(lm).generate(prompts, **options)]
    with SimulatedCore(CONFIG, "verilator", memory_bytes=1 << 20) as core, \
            device(Simulated(core), Line(1, loss=2e-4), Line(2, flip=2e-4)) as terminal, \
            Device(f"serial:{terminal.port}", config=CONFIG, patience=3, tries=20) as serial:
        assert [completion.tokens for completion in serial.load(lm).generate(prompts, **options)] == expected
        assert serial.engine.core.link.counters.retries > 0
