"""The units that `olivine verilog --unit` and the lint tests know, by name.

Modules are imported only when their unit is built, so that a listing is quick.
"""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from amaranth.lib import data

__all__ = ["Unit", "UNITS", "DEFAULT_UNIT", "build", "unit_design"]


@dataclass(frozen=True)
class Unit:
    """One unit.

    Parameters
    ----------
    where : str
        ``module:Class``, the module relative to this package.
    what : str
        One line for the listing.
    arguments : callable
        From a configuration to the constructor's keyword arguments.
    """

    where: str
    what: str
    arguments: Callable[[Any], dict]

    def build(self, config):
        """The component at the sizes of ``config``."""
        module, _, name = self.where.partition(":")
        return getattr(importlib.import_module(f".{module}", __package__), name)(**self.arguments(config))


def _bus(config):
    return {"addr_width": config.addr_width, "bus_bytes": config.bus_bytes}


def _beats(config):
    return data.ArrayLayout(8, config.bus_bytes)


def _linear_descriptor(config):
    from .linear.descriptor import LinearDescriptor
    return {"descriptor": LinearDescriptor}


def _instruction_store(config):
    from .control.instruction import Unit as Kind
    from .program.dispatch import job_bits
    return {"bus_bits": config.bus_bits, "bits": {unit: job_bits(unit) for unit in Kind}}


def _attention_station(config):
    from .control.instruction import SHORT_BITS
    from .control.instruction import Unit as Kind
    from .program.dispatch import OPCODE_SCORE
    return {"bits": SHORT_BITS, "bus_bits": config.bus_bits, "holds": lambda opcode: opcode == OPCODE_SCORE,
            "beside": (Kind.APPEND,)}


UNITS = {
    "core": Unit("core.accelerator:Accelerator", "the whole accelerator: programs from memory, AXI4 and AXI4-Lite",
                 lambda config: {"config": config}),
    "linear": Unit("linear.core:LinearCore", "linear layers from memory to memory, AXI4",
                   lambda config: {"config": config}),
    "attention": Unit("core.cached_attention:CachedAttention", "attention and its key-value cache, AXI4",
                      lambda config: {"config": config}),
    "array": Unit("olive.array:OliveArray", "output-stationary multiply-accumulate array, P x L",
                  lambda config: {"rows": config.rows, "lanes": config.lanes, "element": config.element,
                                  "columns": config.drain_columns}),
    "decoder": Unit("olive.decoder:PairDecoder", "one byte to two lane operands",
                    lambda config: {"element": config.element}),
    "encoder": Unit("olive.encoder:PairEncoder", "two numbers to one byte, for caches", lambda config: {}),
    "reader": Unit("memory.reader:BurstReader", "AXI4 read bursts to packed bytes", _bus),
    "writer": Unit("memory.writer:BurstWriter", "packed bytes to AXI4 write bursts", _bus),
    "mux": Unit("memory.mux:ReadMux", "two read streams on one AXI4 bus",
                lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits, "ports": 2}),
    "crossing": Unit("memory.crossing:AxiCrossing", "AXI4 from one clock to another; here both are the same",
                     lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits, "id_width": 4,
                                     "slave_domain": "sync"}),
    "upsizer": Unit("memory.upsizer:AxiUpsizer", "AXI4 from a narrow bus to one twice as wide",
                    lambda config: {"addr_width": config.addr_width, "narrow_bits": config.bus_bits,
                                    "wide_bits": 2 * config.bus_bits, "id_width": 4}),
    "block_memory": Unit("board.dram:BlockMemory", "on-chip memory in place of a board's",
                         lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits,
                                         "words": config.scratchpad_words}),
    "guard": Unit("memory.guard:AddressGuard", "refuses reads outside the windows of the host",
                  lambda config: {"addr_width": config.addr_width, "windows": config.windows,
                                  "write": False}),
    "watchdog": Unit("memory.watchdog:Watchdog", "notices a silent bus", lambda config: {}),
    "tile_buffer": Unit("memory.tile_buffer:TileBuffer", "beats in, words of L bytes out, with replay",
                        lambda config: {"depth": config.tile_words, "word_bytes": config.lanes,
                                        "beat_bytes": config.bus_bytes}),
    "queue": Unit("stream.queue:Queue", "first in, first out, of bus beats",
                  lambda config: {"shape": _beats(config), "depth": 16}),
    "skid": Unit("stream.skid:Skid", "register slice of bus beats", lambda config: {"shape": _beats(config)}),
    "spare": Unit("stream.spare:Spare", "spare place of bus beats", lambda config: {"shape": _beats(config)}),
    "gearbox": Unit("stream.gearbox:Gearbox", "regroups bytes: beats to words of P",
                    lambda config: {"inputs": config.bus_bytes, "outputs": config.rows}),
    "arbiter": Unit("stream.arbiter:Arbiter", "round robin over four streams of bus beats",
                    lambda config: {"shape": _beats(config), "inputs": 4}),
    "exp2": Unit("numerics.exp2:Exp2", "powers of two for the softmax", lambda config: {}),
    "log2": Unit("numerics.log2:Log2", "logarithm of the softmax denominator", lambda config: {}),
    "normalize": Unit("numerics.normalize:Normalize", "mantissa and exponent of an integer",
                      lambda config: {}),
    "reciprocal": Unit("numerics.reciprocal:Reciprocal", "reciprocal of a normalised number",
                       lambda config: {}),
    "quotient": Unit("numerics.quotient:Quotient", "weighted sum over its softmax denominator",
                     lambda config: {}),
    "score": Unit("attention.score:ScoreScaler", "dot products to scores, mask and maximum of a page",
                  lambda config: {"config": config}),
    "softmax": Unit("attention.softmax:BlockSoftmax", "scores of a page to probabilities and their sum",
                    lambda config: {"config": config}),
    "running_state": Unit("attention.state:RunningState", "running maximum and sum, factors of the weighted values",
                          lambda config: {"config": config}),
    "merge": Unit("attention.merge:BlockMerge", "weighted values of pages added up",
                  lambda config: {"config": config}),
    "normaliser": Unit("attention.normalise:Normaliser", "weighted values over the softmax denominator, requantized",
                       lambda config: {"config": config}),
    "attention_planner": Unit("attention.plan:Planner", "attention descriptors, checked and planned",
                              lambda config: {"config": config}),
    "table": Unit("attention.walk:TableWalk", "table of a job to chunks of rows and the pages they see",
                  lambda config: {"config": config}),
    "elements": Unit("attention.table:Elements", "bus words to table elements of 8 bytes",
                     lambda config: {"bus_bytes": config.bus_bytes}),
    "chunk_fan": Unit("attention.table:ChunkFan", "chunks to all who work on them",
                      lambda config: {"config": config, "outputs": 4}),
    "queries": Unit("attention.queries:QueryAddresses", "chunks to reads of their queries",
                    lambda config: {"config": config}),
    "pages": Unit("attention.pages:PageAddresses", "chunks and page bases to reads of tiles",
                  lambda config: {"config": config}),
    "page_loader": Unit("attention.pages:PageLoader", "beats of pages to words of keys and values, with replay",
                        lambda config: {"config": config}),
    "probabilities": Unit("attention.datapath:ProbabilityStore", "ring of probabilities between softmax and array",
                          lambda config: {"config": config}),
    "attention_sequencer": Unit("attention.sequencer:Sequencer", "order of the array's steps in attention",
                                lambda config: {"config": config}),
    "parts": Unit("attention.parts:PartAddresses", "chunks and bases to reads of partial results",
                  lambda config: {"config": config}),
    "part_loader": Unit("attention.parts:PartLoader", "beats of partial results to running state and O",
                        lambda config: {"config": config}),
    "result_blocks": Unit("attention.results:ResultBlocks", "chunks to writes of their results",
                          lambda config: {"config": config}),
    "result_packer": Unit("attention.results:ResultPacker", "results of attention to bus beats",
                          lambda config: {"config": config}),
    "block_pool": Unit("kvcache.pool:BlockPool", "blocks of a key-value cache: who is free, how many users",
                       lambda config: {"blocks": 256, "counts_bits": 8}),
    "cache_controller": Unit("kvcache.controller:CacheController", "operations on the key-value cache",
                             lambda config: {"config": config}),
    "block_mover": Unit("kvcache.mover:BlockMover", "contents of the cache's blocks, copied on the bus, AXI4",
                        lambda config: {"config": config}),
    "append": Unit("kvcache.append.engine:AppendEngine", "rows of keys and values into the cache's pages, AXI4",
                   lambda config: {"config": config}),
    "column_writer": Unit("memory.writer:BurstWriter", "bursts that write a column of their beats",
                          lambda config: {**_bus(config), "columns": True}),
    "bus_join": Unit("memory.join:BusJoin", "several AXI4 masters on one bus",
                     lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits, "masters": 3,
                                     "id_width": 2}),
    "bus_split": Unit("memory.split:BusSplit", "AXI4 bursts by address, to the chip's own memory or to the bus",
                      lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits,
                                      "window_bytes": config.scratchpad_bytes, "id_width": 4}),
    "scratchpad": Unit("memory.scratchpad:Scratchpad", "on-chip memory that answers as AXI4 memory does",
                       lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits,
                                       "words": config.scratchpad_words, "id_width": 4}),
    "vector": Unit("vector.engine:VectorEngine", "what happens between linear layers and attention, AXI4",
                   lambda config: {"config": config}),
    "vector_pipeline": Unit("vector.pipeline:Pipeline", "the vector unit's arithmetic: norms, functions, gates, sums",
                            lambda config: {"config": config}),
    "vector_statistics": Unit("vector.norm:NormStatistics", "sums of residuals to what normalises their rows",
                              lambda config: {"config": config}),
    "vector_rsqrt": Unit("vector.rsqrt:Rsqrt", "reciprocal square root of a wide integer", lambda config: {}),
    "vector_picks": Unit("vector.picks:Picks", "largest values of each row and their indices",
                         lambda config: {"config": config}),
    "vector_turner": Unit("vector.rotary:Turner", "heads of P rows to the pipeline, by their positions",
                          lambda config: {"config": config}),
    "vector_transposer": Unit("vector.transposer:Transposer", "rows of a table to words of P rows",
                              lambda config: {"config": config}),
    "attention_engine": Unit("attention.core:AttentionCore", "attention from memory to memory, AXI4",
                             lambda config: {"config": config}),
    "segments": Unit("attention.segments:SegmentWalk", "segments of sequences to the pages that a chunk sees",
                     lambda config: {"config": config}),
    "trees": Unit("attention.trees:TreeMasks", "masks of token trees, by place", lambda config: {"config": config}),
    "entries": Unit("attention.entries:EntryCheck", "which entries of a job's table are legal",
                    lambda config: {"config": config}),
    "hitters": Unit("attention.hitters.unit:HitterUnit", "sums of heavy hitters, and which keys are dropped",
                    lambda config: {"config": config}),
    "fetch": Unit("program.fetch:InstructionFetch", "instructions of a program, read ahead and checked",
                  lambda config: {"config": config}),
    "instruction_store": Unit("program.store:InstructionStore", "instructions on the chip, word by word",
                              _instruction_store),
    "registers": Unit("program.registers:Registers", "what the host sets and sees, AXI4-Lite",
                      lambda config: {"config": config, "scratchpad_base": config.scratchpad_base,
                                      "scratchpad_words": config.scratchpad_words}),
    "station": Unit("program.station:Station", "instructions of one unit, and what they wait for", _attention_station),
    "program_dispatch": Unit("program.dispatch:ProgramDispatch", "instructions to their units, and a precise end",
                             lambda config: {"bus_bits": config.bus_bits}),
    "activity": Unit("core.activity:ActivityMonitor", "what the core does in a cycle, counted",
                     lambda config: {"config": config}),
    "dispatcher": Unit("core.dispatch:Dispatcher", "jobs to the engines that run them", lambda config: {}),
    "bridge": Unit("bridge.bridge:Bridge", "registers and memory over a serial line, AXI4 and AXI4-Lite",
                   lambda config: {"addr_width": config.addr_width, "bus_bits": config.bus_bits, "divisor": 25}),
    "uart_receiver": Unit("bridge.uart:UartReceiver", "bytes from a serial line", lambda config: {"divisor": 25}),
    "uart_transmitter": Unit("bridge.uart:UartTransmitter", "bytes to a serial line", lambda config: {"divisor": 25}),
    "cobs_decoder": Unit("bridge.cobs:CobsDecoder", "bytes of the line to frames", lambda config: {}),
    "cobs_encoder": Unit("bridge.cobs:CobsEncoder", "frames to bytes for the line", lambda config: {}),
    "job_control": Unit("control.lifecycle:JobControl", "life, status and counters of linear jobs",
                        _linear_descriptor),
}

DEFAULT_UNIT = "core"
"""The largest unit there is."""


def build(name, config):
    """The unit called ``name`` for a configuration.

    Raises
    ------
    ValueError
        If there is no such unit.
    """
    if name not in UNITS:
        raise ValueError(f"unit is {name!r}: allowed are {', '.join(UNITS)}")
    return UNITS[name].build(config)


def unit_design(name, config):
    """The unit's `olivine.verilog.Design`: module ``olivine_<name>``, the configuration in its header."""
    from .verilog import design
    return design(build(name, config), f"olivine_{name}", {"unit": name, **asdict(config)})
