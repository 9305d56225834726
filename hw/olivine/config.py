"""The accelerator's configuration: a few chosen numbers, everything else derived, nonsense refused.

The three presets are the configurations that the regression builds. A variant of one is a TOML
file that names its base preset and the fields it changes (``--config FILE``)::

    preset = "edge"
    element = "exponent"
"""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

__all__ = ["AcceleratorConfig", "ConfigError", "PRESETS", "load_config"]

ROW_BITS = 12
"""Width of a signed row operand (activation or probability), bits."""

LANE_MAX = 192
"""Largest magnitude of a decoded lane operand: the largest flint4 outlier."""

ACCUMULATOR_BITS = 32
PARTIAL_SUM_BITS = 40
REQUANT_BITS = 36
"""Width to which a finished sum saturates before it is requantized: two 18-bit multiplier inputs."""

CHANNEL_RUN = 128
"""Longest run of steps between two drains when weights are scaled per output channel."""

GROUPS = (64, 128)
"""Steps that may share a scale."""

PROBABILITY_BITS = 11
GUARD_BITS = 16 - PROBABILITY_BITS


class ConfigError(ValueError):
    """A configuration that cannot work; the message names the value, what is allowed and why."""


def _power_of_two(value):
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class AcceleratorConfig:
    """Sizes of one accelerator.

    Parameters
    ----------
    name : str
        Name of the preset or file.
    rows : int
        P, tokens or query heads worked on at once. Power of two.
    lanes : int
        L, output channels, keys or head dimensions worked on at once. Power of two.
    bus_bits : int
        Width of the AXI4 data bus, bits.
    contexts : int
        C, row groups whose running state is on chip.
    max_head_dim, max_sequence, max_reduction : int
        Largest head dimension, number of keys a row attends to, and reduction of a linear layer.
    element : str
        Processing element: ``"folded"`` (9-bit integers) or ``"exponent"`` (exponent, 5-bit integer).
    drain_columns : int
        Lanes that leave the array per cycle, 1 or 2.
    addr_width : int
        Address bits on AXI4, at most 48.
    windows : int
        Windows of memory that the host can open to the accelerator.
    tile_bytes : int
        Size of the tile buffer, and so how far weights and pages are fetched ahead; 0 asks for two of the longest
        tiles.
    sequences, blocks : int
        Sequences that the key-value cache can hold at once, and blocks of its pool at most.
    cells : int
        Cells that a heavy-hitter sequence can have in one KV head. Power of two.
    scratchpad_words : int
        Words (bus beats) of the core's on-chip memory. Power of two.
    vector_cycles : int
        Cycles for a word of P elements in what is not the array: the vector engine's datapath, attention's quotients,
        the append engine's requantizer. Power of two up to ``rows``. More save multipliers and LUTs where the memory
        brings less than a beat a cycle anyway.
    outstanding : int
        Bursts that a reader may have in flight. Power of two.
    """

    name: str
    rows: int
    lanes: int
    bus_bits: int
    contexts: int
    max_head_dim: int
    max_sequence: int
    max_reduction: int
    element: str = "folded"
    drain_columns: int = 1
    addr_width: int = 32
    windows: int = 4
    tile_bytes: int = 0
    sequences: int = 8
    blocks: int = 64
    cells: int = 128
    scratchpad_words: int = 2_048
    vector_cycles: int = 1
    outstanding: int = 32

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, field.type) or isinstance(value, bool):
                raise TypeError(f"{field.name} must be {field.type.__name__}, not {value!r}")
        if not self.tile_bytes:
            object.__setattr__(self, "tile_bytes", 2 * CHANNEL_RUN * self.lanes)
        self._check_sizes()
        self._check_buffers()
        self._check_widths()

    def _check_sizes(self):
        for name, low, high in (("rows", 2, 32), ("lanes", 4, 256), ("bus_bits", 32, 512),
                                ("vector_cycles", 1, self.rows), ("outstanding", 4, 256)):
            value = getattr(self, name)
            if not _power_of_two(value) or not low <= value <= high:
                raise ConfigError(f"{name} is {value}: allowed are powers of two from {low} to {high}")
        for name, low, high in (("contexts", 1, 64), ("windows", 1, 16), ("addr_width", 16, 48),
                                ("drain_columns", 1, 2), ("max_head_dim", 8, 256),
                                ("max_sequence", 1, 1 << 20), ("max_reduction", 2, 65_535), ("sequences", 1, 256),
                                ("blocks", 2, 1 << 16)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}: allowed is {low} to {high}")
        if self.element not in ("folded", "exponent"):
            raise ConfigError(f"element is {self.element!r}: allowed are 'folded' and 'exponent'")
        if self.lanes % self.bus_bytes:
            raise ConfigError(f"bus_bits is {self.bus_bits}: a beat of {self.bus_bytes} bytes must divide "
                              f"a word of {self.lanes} lanes")
        if not _power_of_two(self.cells) or not 8 <= self.cells <= 1 << 15:
            raise ConfigError(f"cells is {self.cells}: allowed are powers of two from 8 to {1 << 15}")
        if not _power_of_two(self.scratchpad_words) or not 256 <= self.scratchpad_words <= 1 << 20 \
                or self.scratchpad_bytes > 1 << (self.addr_width - 1):
            raise ConfigError(f"scratchpad_words is {self.scratchpad_words}: allowed are powers of two from 256 to "
                              f"{1 << 20} that take no more than half of {self.addr_width} address bits")
        if self.max_head_dim % 8:
            raise ConfigError(f"max_head_dim is {self.max_head_dim}: allowed are multiples of 8")

    def _check_buffers(self):
        longest = max(CHANNEL_RUN * self.lanes, self.max_head_dim * self.lanes)
        if not _power_of_two(self.tile_bytes):
            raise ConfigError(f"tile_bytes is {self.tile_bytes}: allowed are powers of two")
        if longest > self.tile_bytes:
            raise ConfigError(
                f"tile_bytes is {self.tile_bytes}: a replayed tile of {longest} bytes (the larger of a "
                f"{CHANNEL_RUN}-step run and max_head_dim {self.max_head_dim}, times {self.lanes} lanes) "
                "does not fit and would wait for itself; make the tile buffer larger")

    def _check_widths(self):
        step = LANE_MAX << (ROW_BITS - 1)
        if CHANNEL_RUN * step >= 1 << (ACCUMULATOR_BITS - 1):
            raise ConfigError(f"a run of {CHANNEL_RUN} steps overflows {ACCUMULATOR_BITS}-bit accumulators")
        # Every group's sum grows by an 8-bit multiplier; the group shift may be 0.
        largest = ((1 << (PARTIAL_SUM_BITS - 1)) - 1) // (255 * step)
        if self.max_reduction > largest:
            raise ConfigError(f"max_reduction is {self.max_reduction}: partial sums of {PARTIAL_SUM_BITS} bits "
                              f"hold at most {largest} steps")
        # Every probability is at most 2047 << GUARD_BITS in a 32-bit unsigned sum l.
        largest = ((1 << 32) - 1) // (2047 << GUARD_BITS)
        if self.max_sequence > largest:
            raise ConfigError(f"max_sequence is {self.max_sequence}: the 32-bit softmax denominator holds "
                              f"at most {largest} keys")
        largest = ((1 << (PARTIAL_SUM_BITS - 1)) - 1) // ((2047 << GUARD_BITS) * LANE_MAX)
        if self.max_sequence > largest:
            raise ConfigError(f"max_sequence is {self.max_sequence}: weighted values of {PARTIAL_SUM_BITS} bits "
                              f"hold at most {largest} keys")

    # Derived sizes.

    @property
    def bus_bytes(self):
        """B, bytes of one beat."""
        return self.bus_bits // 8

    @property
    def vector_lanes(self):
        """Elements a cycle of what is not the array."""
        return self.rows // self.vector_cycles

    @property
    def word_beats(self):
        """Beats that fill one word (L bytes) of the tile buffer."""
        return self.lanes // self.bus_bytes

    @property
    def tile_words(self):
        """Depth of the tile buffer in words of L bytes."""
        return self.tile_bytes // self.lanes

    @property
    def row_words(self):
        """Depth of the row-operand scratchpad, in words of P operands."""
        return self.contexts * self.max_reduction

    @property
    def state_words(self):
        """Depth of each store of attention state (queries of a chunk, O), in words of P rows: `contexts` contexts
        of 64 head dimensions, fewer of larger ones, but always one."""
        return max(self.contexts * min(self.max_head_dim, 64), self.max_head_dim)

    def attention_contexts(self, head_dim):
        """Row groups of this head dimension whose attention state fits on chip."""
        return min(self.contexts, self.state_words // head_dim)

    @property
    def chunk_rows(self):
        """P * C, the tokens of a prompt that share one pass over the weights."""
        return self.rows * self.contexts

    @property
    def table_entries(self):
        """Blocks of the longest sequence."""
        return -(-self.max_sequence // self.lanes)

    @property
    def scratchpad_bytes(self):
        return self.scratchpad_words * self.bus_bytes

    @property
    def scratchpad_base(self):
        """First address of the scratchpad's window, at the end of the address space."""
        return (1 << self.addr_width) - self.scratchpad_bytes

    @property
    def multipliers(self):
        """Multipliers of the array."""
        return self.rows * self.lanes


PRESETS = {
    "tiny": AcceleratorConfig("tiny", 2, 8, 32, 4, 32, 512, 512),
    "ecp5": AcceleratorConfig("ecp5", 4, 32, 64, 8, 64, 2_048, 2_048, sequences=16, blocks=1_024,
                              cells=1_024, scratchpad_words=4_096, vector_cycles=4, outstanding=16,
                              # The 32 MiB of a ULX3S and the scratchpad; one window of the host's.
                              addr_width=26, windows=2),
    "edge": AcceleratorConfig("edge", 8, 64, 128, 8, 128, 32_768, 4_096, sequences=64, blocks=4_096,
                              cells=2_048, scratchpad_words=32_768, tile_bytes=1 << 15),
}


def load_config(preset="edge", path=None):
    """Return the named preset, or the variant of one that the TOML file at ``path`` describes.

    Raises
    ------
    ConfigError
        If the preset or a field is unknown, or the combination cannot work.
    """
    changes = {}
    if path is not None:
        changes = tomllib.loads(Path(path).read_text())
        preset = changes.pop("preset", preset)
        changes.setdefault("name", Path(path).stem)
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}: allowed are {', '.join(map(repr, PRESETS))}")
    known = {field.name for field in fields(AcceleratorConfig)}
    for name in changes:
        if name not in known:
            raise ConfigError(f"{path} sets {name!r}: allowed are {', '.join(sorted(known))}")
    # A variant derives its own tile buffer unless it names one.
    return replace(PRESETS[preset], **{"tile_bytes": 0, **changes}) if changes else PRESETS[preset]
