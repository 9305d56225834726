"""What `olivine bench --synth` synthesizes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from olivine.attention.datapath import ProbabilityStore
from olivine.attention.pages import PageLoader
from olivine.attention.queries import QueryLoader
from olivine.attention.results import ResultPacker
from olivine.attention.sequencer import Sequencer
from olivine.attention.walk import TableWalk
from olivine.core.accelerator import Accelerator
from olivine.linear.border import DecodedBorder
from olivine.linear.core import LinearCore
from olivine.olive.array import OliveArray
from olivine.units import UNITS

__all__ = ["SynthesisUnit", "SYNTHESIS_UNITS", "Int8Array"]


class Int8Array(wiring.Component):
    """The array as it would be for int8 alone: 8-bit lane operands, no decoders.

    What the decoders are compared with.

    Parameters
    ----------
    rows, lanes, columns : int
    """

    def __init__(self, rows, lanes, columns=1):
        self.array = OliveArray(rows, lanes, "folded", columns)
        members = self.array.signature.members
        super().__init__({"step": members["step"], "row": members["row"], "o": Out(members["o"].shape),
                          "lane": In(data.ArrayLayout(signed(8), lanes))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        # Sign extension: the ninth bit is the eighth, and synthesis keeps one register of the two.
        m.d.comb += [array.step.eq(self.step), array.row.eq(self.row), self.o.eq(array.o),
                     *(array.lane[index].eq(self.lane[index]) for index in range(array.lanes))]
        return m


@dataclass(frozen=True)
class SynthesisUnit:
    """One unit: what it is, how it is built from a configuration, whether to map it without DSPs too."""

    what: str
    build: Callable[[Any], wiring.Component]
    without_dsp: bool = False


def _int8_array(config):
    return Int8Array(config.rows, config.lanes, config.drain_columns)


def _array(element):
    return lambda config: OliveArray(config.rows, config.lanes, element, config.drain_columns)


def _border(element):
    return lambda config: DecodedBorder(config.lanes, element)


def _engine(element):
    return lambda config: LinearCore(replace(config, element=element))


def _unit(name):
    return lambda config: UNITS[name].build(config)


SYNTHESIS_UNITS = {
    "array-int8": SynthesisUnit("array for int8 alone", _int8_array, True),
    "array-folded": SynthesisUnit("array, 9-bit lane operands", _array("folded"), True),
    "array-exponent": SynthesisUnit("array, exponent and 5-bit integer", _array("exponent"), True),
    "decoders-folded": SynthesisUnit("a decoder a lane, to 9-bit integers", _border("folded")),
    "decoders-exponent": SynthesisUnit("a decoder a lane, to exponent and integer", _border("exponent")),
    "linear-folded": SynthesisUnit("linear engine, element folded", _engine("folded")),
    "linear-exponent": SynthesisUnit("linear engine, element exponent", _engine("exponent")),
    "attention": SynthesisUnit("attention engine", _unit("attention_engine")),
    # The attention engine's parts that are not array, readers or writer.
    "attention-pages": SynthesisUnit("tile buffer of pages", lambda config: PageLoader(config)),
    "attention-queries": SynthesisUnit("query store", lambda config: QueryLoader(config)),
    "attention-score": SynthesisUnit("scale, mask, maximum", _unit("score")),
    "attention-softmax": SynthesisUnit("powers of two of a page", _unit("softmax")),
    "attention-probabilities": SynthesisUnit("store of probabilities", lambda config: ProbabilityStore(config)),
    "attention-state": SynthesisUnit("running maximum and sum, reciprocal, logarithm", _unit("running_state")),
    "attention-merge": SynthesisUnit("O memory and its rescaling", _unit("merge")),
    "attention-normaliser": SynthesisUnit("quotients", _unit("normaliser")),
    "attention-results": SynthesisUnit("queue and packing of results", lambda config: ResultPacker(config)),
    "attention-table": SynthesisUnit("walk over the table", lambda config: TableWalk(config)),
    "attention-sequencer": SynthesisUnit("order of the steps", lambda config: Sequencer(config)),
    "attention-hitters": SynthesisUnit("sums of heavy hitters, victims", _unit("hitters")),
    # The key-value cache.
    "cache-controller": SynthesisUnit("block tables and their operations", _unit("cache_controller")),
    "cache-mover": SynthesisUnit("copies of blocks and places", _unit("block_mover")),
    "cache-append": SynthesisUnit("keys and values into pages", _unit("append")),
    # What makes a core of them.
    "vector": SynthesisUnit("vector engine", _unit("vector")),
    "program-fetch": SynthesisUnit("instructions, read ahead", _unit("fetch")),
    "program-dispatch": SynthesisUnit("instructions to their units", _unit("program_dispatch")),
    "program-registers": SynthesisUnit("registers of the host", _unit("registers")),
    "core": SynthesisUnit("the whole core", lambda config: Accelerator(config)),
    "bus-join": SynthesisUnit("three masters on one bus", _unit("bus_join")),
    "bus-split": SynthesisUnit("a bus between scratchpad and memory", _unit("bus_split")),
    "scratchpad": SynthesisUnit("scratchpad", _unit("scratchpad")),
}
