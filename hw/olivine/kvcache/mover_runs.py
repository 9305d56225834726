"""What a move is made of: runs of beats, page by page."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..linear.plan import ADDRESS_BITS, times
from ..olive.formats import LaneFormat
from .descriptor import CacheGeometry
from .moves import MoveCommand, MoveKind

__all__ = ["RunKind", "run_layout", "MoveRuns"]

PAGE_BEATS = 22
"""Bits of a beat's number in a page: as many as pages of 2**24 bytes need."""


class RunKind(enum.Enum, shape=2):
    """How the beats that are written come about."""

    COPY = 0
    """They are those that are read."""
    PART = 1
    """They are those that are read, with zeros from lane ``places % B`` on."""
    ZERO = 2
    """Nothing is read; they are zeros."""
    COLUMN = 3
    """The byte of one lane goes to another lane, the others stay."""


def run_layout(config):
    """A run: as many beats from ``source`` on as from ``target`` on."""
    # A section has L/B times d beats (keys), or L times at most L/B.
    beats = config.lanes // config.bus_bytes * max(512, config.lanes)
    return data.StructLayout({"kind": RunKind, "source": ADDRESS_BITS, "target": ADDRESS_BITS,
                              "beats": range(beats + 1)})


class MoveRuns(wiring.Component):
    """Lists the runs of a move.

    Starts by itself after a reset. A page is a list of *sections*: its keys, then its values for each L dims in turn.
    A section is a list of *units*: a sub-block of keys is one, and so are one place's values. Of each section COPY
    takes three runs: the units that are moved in full, the sub-block that holds some of the places (``PART`` with
    ``zero``, else ``COPY``), and with ``zero`` the units behind; empty ones are left out. PLACE takes one run: a unit.

    Cycle budget: the first run is offered 2 cycles after the reset. A section takes 4 cycles in COPY and 2 in PLACE, or
    as long as its runs wait.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    geometry : In(CacheGeometry), command : In(MoveCommand)
        Constant. ``heads`` and ``head_dim`` are 1 or more, ``head_dim`` is even.
    o : Out(stream of run_layout)
    done : Out(1)
        The last run was taken.

    Cost: two products with a number of ``log2(L/B) + 1`` bits, two adders of an address.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"geometry": In(CacheGeometry), "command": In(MoveCommand),
                          "o": Out(stream.Signature(run_layout(config))), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config, geometry, command = self.config, self.geometry, self.command
        log_bus, log_lanes = config.bus_bytes.bit_length() - 1, config.lanes.bit_length() - 1
        log_blocks = log_lanes - log_bus        # sub-blocks
        beats = self.o.payload.beats.shape()
        place = command.kind == MoveKind.PLACE

        # Sections: the keys, then passes over the values.
        keys, passes, head = Signal(init=1), Signal(9), Signal(16)
        last = (passes + 1) << log_lanes >= geometry.head_dim
        unit = Signal(beats)
        m.d.comb += unit.eq(Mux(keys, self._key_beats(), self._value_beats(last)))

        # COPY: units of the first run, and of the last. PLACE: units before the source, and before the target.
        whole, rest = command.places >> log_bus, command.places[:log_bus].any()
        one, other = Signal(log_lanes + 1), Signal(log_lanes + 1)
        with m.If(place):
            m.d.comb += [one.eq(Mux(keys, command.source_place >> log_bus, command.source_place)),
                         other.eq(Mux(keys, command.target_place >> log_bus, command.target_place))]
        with m.Else():
            m.d.comb += [one.eq(Mux(keys, whole, command.places)),
                         other.eq(Mux(keys, (1 << log_blocks) - whole - rest, config.lanes - command.places))]

        def product(number):
            """Beats of so many units: of keys the number is small, of values the unit."""
            small = Signal(log_blocks + 1, name="small")
            m.d.comb += small.eq(Mux(keys, number, unit))
            return times(Mux(keys, unit, number), small)

        before, behind = product(one), product(other)
        first, middle, rear = (Signal(beats, name=name) for name in ("first", "middle", "rear"))     # beats of the runs
        page, section = Signal(ADDRESS_BITS), Signal(PAGE_BEATS)    # from the block's start; from the page's, in beats
        source_at, target_at = Signal.like(section), Signal.like(section)

        run, offered = Signal(run_layout(config)), Signal()
        free = ~offered | self.o.ready
        m.d.comb += [self.o.payload.eq(run), self.o.valid.eq(offered)]
        with m.If(self.o.ready):
            m.d.sync += offered.eq(0)

        def offer(kind, count, wanted=1):
            m.d.sync += [
                offered.eq((count != 0) & wanted), run.kind.eq(kind), run.beats.eq(count),
                run.source.eq(command.source + page + (source_at << log_bus)),
                run.target.eq(command.target + page + (target_at << log_bus)),
                source_at.eq(source_at + count), target_at.eq(target_at + count),
            ]

        def close():
            """On to the next section, the next page, or the end."""
            m.d.sync += [section.eq(section + Mux(keys, unit << log_blocks, unit << log_lanes)), keys.eq(0)]
            m.next = "SECTION"
            with m.If(~keys):
                m.d.sync += passes.eq(passes + 1)
                with m.If(last):
                    m.d.sync += [section.eq(0), keys.eq(1), passes.eq(0), head.eq(head + 1),
                                 page.eq(page + geometry.page_bytes)]
                    with m.If(head + 1 == geometry.heads):
                        m.next = "END"

        with m.FSM():
            with m.State("SECTION"):
                m.d.sync += [
                    first.eq(Mux(place, unit, before)), middle.eq(Mux(keys & rest, unit, 0)), rear.eq(behind),
                    source_at.eq(section + Mux(place, before, 0)),
                    target_at.eq(section + Mux(place, behind, 0)),
                ]
                m.next = "FIRST"
            with m.State("FIRST"):
                with m.If(free):
                    offer(Mux(place & keys, RunKind.COLUMN, RunKind.COPY), first)
                    m.next = "MIDDLE"
                    with m.If(place):
                        close()
            with m.State("MIDDLE"):
                with m.If(free):
                    offer(Mux(command.zero, RunKind.PART, RunKind.COPY), middle)
                    m.next = "REAR"
            with m.State("REAR"):
                with m.If(free):
                    offer(RunKind.ZERO, rear, command.zero)
                    close()
            with m.State("END"):
                m.d.comb += self.done.eq(~offered)
        return m

    def _key_beats(self):
        """Of a sub-block."""
        return Mux(self.geometry.key_format == LaneFormat.INT8, self.geometry.head_dim, self.geometry.head_dim >> 1)

    def _value_beats(self, last):
        """Of one place, in the last pass or another."""
        bus_bytes, lanes = self.config.bus_bytes, self.config.lanes
        log_bus, log_lanes = bus_bytes.bit_length() - 1, lanes.bit_length() - 1
        dims = Mux(last, (self.geometry.head_dim - 1)[:log_lanes] + 1, lanes)
        return Mux(self.geometry.value_format == LaneFormat.INT8, (dims + (bus_bytes - 1)) >> log_bus,
                   (dims + (2 * bus_bytes - 1)) >> (log_bus + 1))
