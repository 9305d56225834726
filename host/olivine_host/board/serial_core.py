"""The core on a board, in the place of `SimulatedCore`: memory, registers and programs over a serial line."""

import time

from olivine.bridge.frames import REGISTER_BYTES, Code, Operation
from olivine.control.registers import BY_NAME, IDENTIFIER

from ..simulation.core import Ended, RegisterError
from . import levelling
from .link import Link, LinkError, Refused

__all__ = ["PREFIX", "WrongCore", "SerialCore"]

PREFIX = "serial:"
"""What a backend's name begins with; the port follows."""


class WrongCore(LinkError):
    """The board's core has another configuration than the program was made for, or less memory than it needs."""


class SerialCore:
    """A core behind a bridge.

    Connecting resets it: what an earlier host left unfinished is over. What memory holds is not known then. Memory that
    is the host's to level is levelled.

    Parameters
    ----------
    port : str
    config : AcceleratorConfig
        That the board's bitstream was made from.
    baud : int
    memory_bytes : int
        Memory that is needed, from address 0.
    trace, waves : bool
        Of `SimulatedCore`; must be false.
    progress : callable or None
        Called with a program's cycles so far, now and then.
    loading : callable or None
        Called with (bytes done, bytes altogether) of each `write` and `read`, frame by frame.
    hang_seconds : float
        After which a program is given up as hanging.
    ready_seconds : float
        That memory may take to become ready.
    options : dict
        Of `Link`.

    Attributes
    ----------
    link : Link
        With its ``counters``.
    memory_bytes : int
        Bytes of memory that the bridge reaches.

    Raises
    ------
    LinkError
        See `Link`; `WrongCore`.
    """

    activity = None

    def __init__(self, port, config, baud=3_000_000, *, memory_bytes=0, trace=False, waves=False, progress=None,
                 loading=None, hang_seconds=60, ready_seconds=5, **options):
        if trace or waves:
            raise ValueError("a board records neither traces nor waveforms")
        self.config, self.progress, self.loading, self.hang_seconds = config, progress, loading, hang_seconds
        self.ready_seconds = ready_seconds
        self.link = Link(port, baud, **options)
        try:
            self.link.reset()
            self._await_memory(ready_seconds)
            self.memory_bytes = 1 << self.link.identity.addr_width
            if memory_bytes > self.memory_bytes:
                raise WrongCore(f"{memory_bytes:#x} bytes of memory are needed, the board on {port} has "
                                f"{self.memory_bytes:#x}")
            self._check_core(port)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self.link.close()

    def _await_memory(self, seconds):
        if levelling.is_due(self.link.status()):
            levelling.level(self.link)
        deadline = time.monotonic() + seconds
        while not self.link.status().memory_ready:
            if time.monotonic() > deadline:
                raise LinkError(f"memory of the board on {self.link.port} is not ready after {seconds} seconds")
            time.sleep(0.01)

    def _check_core(self, port):
        """The registers of constants say what the core is."""
        config = self.config
        if self.read_register(BY_NAME["ID"].offset) != IDENTIFIER:
            raise WrongCore(f"the board on {port} has no core of Olivine behind its bridge")
        found = {field.name: self.read_register(BY_NAME[register].offset) >> field.low & (1 << field.width) - 1
                 for register in ("ARRAY", "BUS") for field in BY_NAME[register].fields}
        # One window is the scratchpad's.
        expected = {name: getattr(config, name) - (name == "windows") for name in found}
        wrong = [f"{name} {value}, not {expected[name]}" for name, value in found.items() if value != expected[name]]
        if wrong:
            raise WrongCore(f"the core of the board on {port} is not {config.name!r}: it has {'; '.join(wrong)}")
        if self.link.identity.bus_bytes != config.bus_bytes:
            raise WrongCore(f"the bridge on {port} has beats of {self.link.identity.bus_bytes} bytes, the core of "
                            f"{config.bus_bytes}")

    # Memory

    def write(self, *regions):
        """Write (address, bytes) regions: whole beats, apart from each other."""
        size, most = self.config.bus_bytes, self.link.identity.max_payload
        for address, content in regions:
            if address % size or len(content) % size:
                raise ValueError(f"{len(content)} bytes at {address:#x}: must be whole beats of {size} bytes")
            self._inside(address, len(content))
        done, total = 0, sum(len(content) for _, content in regions)
        for address, content in regions:
            for start in range(0, len(content), most):
                piece = bytes(content[start:start + most])
                self.link.request(Operation.WRITE_MEMORY, address + start, len(piece), piece)
                done += len(piece)
                if self.loading:
                    self.loading(done, total)

    def read(self, address, size):
        """Bytes of memory."""
        self._inside(address, size)
        beat, most = self.config.bus_bytes, self.link.identity.max_payload
        first, end = address // beat * beat, -(-(address + size) // beat) * beat
        image = bytearray()
        for start in range(first, end, most):
            image += self.link.request(Operation.READ_MEMORY, start, min(most, end - start))
            if self.loading:
                self.loading(len(image), end - first)
        return bytes(image[address - first:][:size])

    def _inside(self, address, size):
        if address < 0 or address + size > self.memory_bytes:
            raise ValueError(f"a region ends at byte {address + size:#x}: memory has {self.memory_bytes:#x}")

    # Registers

    def write_register(self, offset, value):
        self._register(Operation.WRITE_REGISTER, offset, (value & 0xffff_ffff).to_bytes(REGISTER_BYTES, "little"))

    def read_register(self, offset):
        return int.from_bytes(self._register(Operation.READ_REGISTER, offset), "little")

    def _register(self, operation, offset, payload=b""):
        try:
            return self.link.request(operation, offset, REGISTER_BYTES, payload)
        except Refused as error:
            if error.code not in (Code.SLVERR, Code.DECERR):
                raise
            raise RegisterError(f"{operation.name} of the register at {offset:#x} was answered "
                                f"{error.code.name}") from None

    # Time

    def wait(self):
        """Until the interrupt is high."""
        deadline = time.monotonic() + self.hang_seconds
        while not self.link.status().irq:
            if time.monotonic() > deadline:
                return Ended(self._cycles(), True)
            if self.progress:
                self.progress(self._cycles())
        return Ended(self._cycles(), False)

    def _cycles(self):
        low = self.read_register(BY_NAME["CYCLES_LO"].offset)
        return low | self.read_register(BY_NAME["CYCLES_HI"].offset) << 32

    def mark(self):
        """There is no trace to put a line into."""

    def reset(self):
        self.link.reset()
        self._await_memory(self.ready_seconds)
