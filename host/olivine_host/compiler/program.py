"""Instructions in order, each waiting for what it reads and overwrites."""

from dataclasses import dataclass

from olivine.control.instruction import INSTRUCTION_BYTES, Unit

from ..isa.instruction import Instruction
from ..isa.layouts import KINDS

__all__ = ["Region", "Program"]


@dataclass(frozen=True)
class Region:
    """``size`` bytes from ``address`` on, in a space of its own: memory, or something that instructions share without
    an address, such as a layer's keys and values."""

    address: int
    size: int
    space: str = "memory"

    def meets(self, other):
        return (self.space == other.space and self.address < other.address + other.size
                and other.address < self.address + self.size)


@dataclass(frozen=True)
class _Access:
    region: Region
    writes: bool
    unit: Unit
    count: int      # of its unit, the instruction included


class Program:
    """A program that is being written.

    Attributes
    ----------
    instructions : list of Instruction
    labels : list of str
        What each is for.
    """

    def __init__(self):
        self.instructions, self.labels = [], []
        self._counts = dict.fromkeys(Unit, 0)
        self._accesses = []

    def add(self, kind, fields, reads=(), writes=(), label=""):
        """Append an instruction that waits for all earlier ones that wrote what it reads, and for all that read or
        wrote what it writes.

        Parameters
        ----------
        kind : str
            A name of `olivine_host.isa.layouts.KINDS`.
        fields : dict
        reads, writes : iterable of Region
            Rows only: what nobody writes while the program runs (weights, tables) is left out.
        label : str
        """
        unit = KINDS[kind].unit
        reads, writes = tuple(reads), tuple(writes)
        waits = {}
        for access in self._accesses:
            if any(access.region.meets(region) for region in writes) or access.writes and any(
                    access.region.meets(region) for region in reads):
                waits[access.unit] = max(waits.get(access.unit, 0), access.count)
        self._counts[unit] += 1
        for region in writes:
            # Whoever comes later and meets this waits for it, and so for those before.
            self._accesses = [access for access in self._accesses if not (
                access.region.space == region.space and region.address <= access.region.address
                and access.region.address + access.region.size <= region.address + region.size)]
        self._accesses += [_Access(region, writes_it, unit, self._counts[unit])
                           for regions, writes_it in ((reads, False), (writes, True)) for region in regions]
        self.instructions.append(Instruction(kind, fields, waits))
        self.labels.append(label)

    def __len__(self):
        return len(self.instructions)

    def pack(self):
        """Bytes of the whole program; its last instruction says so."""
        if not self.instructions:
            raise ValueError("the program has no instructions")
        *before, last = self.instructions
        ended = Instruction(last.kind, last.fields, last.waits, last=True)
        image = b"".join(instruction.pack() for instruction in (*before, ended))
        assert len(image) == len(self) * INSTRUCTION_BYTES
        return image
