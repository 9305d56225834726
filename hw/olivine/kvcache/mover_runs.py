"""What a move is made of: runs of beats, page by page."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ..linear.plan import times
from ..olive.formats import LaneFormat
from .addresses import address_bits, address_clip, address_sum
from .descriptor import CacheGeometry
from .moves import MoveCommand, MoveKind

__all__ = ["RunKind", "run_layout", "MoveRuns"]

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
    beats = config.lanes // config.bus_bytes * max(config.max_head_dim, config.lanes)
    address = address_bits(config)
    return data.StructLayout({"kind": RunKind, "source": address, "target": address, "beats": range(beats + 1)})


class MoveRuns(wiring.Component):
    """Lists the runs of a move.

    Starts by itself after a reset. A page is a list of *sections*: its keys, then its values for each L dims in turn.
    A section is a list of *units*: a sub-block of keys is one, and so are one place's values. Of each section COPY
    takes three runs: the units that are moved in full, the sub-block that holds some of the places (``PART`` with
    ``zero``, else ``COPY``), and with ``zero`` the units behind; empty ones are left out. PLACE takes one run: a unit.

    Cycle budget: the first run is offered 3 cycles after the reset, in PLACE 4. A section takes 4 cycles in COPY and 3
    in PLACE, or as long as its runs wait.

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

    Cost: a product with a number of ``log2(L/B) + 1`` bits, four adders of an address.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({"geometry": In(CacheGeometry), "command": In(MoveCommand),
                          "o": Out(stream.Signature(run_layout(config))), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config, geometry, command, run = self.config, self.geometry, self.command, self.o.payload
        log_bus, log_lanes = config.bus_bytes.bit_length() - 1, config.lanes.bit_length() - 1
        log_blocks = log_lanes - log_bus        # sub-blocks
        width, place = address_bits(config), command.kind == MoveKind.PLACE
        source_page, target_page, heads = Signal(width), Signal(width), Signal(16)

        # Sections: the keys, then passes over the values of ``left`` dims. Where they begin in the page, in beats.
        # At first as behind a page's last.
        keys, left = Signal(), Signal.like(geometry.head_dim)
        last = left <= config.lanes
        section = Signal(range(config.lanes * (2 * config.max_head_dim // config.bus_bytes + 2)))
        source_at, target_at = Signal.like(section), Signal.like(section)
        # Beats of a unit, and of one of the next section, which is known long before its turn; whether that is of keys.
        unit, next_unit, next_keys = Signal(run.beats.shape()), Signal(run.beats.shape()), Signal()
        rest = Signal.like(left)
        m.d.comb += rest.eq(left - config.lanes)
        m.d.sync += [
            next_unit.eq(Mux(keys, self._value_beats(left), Mux(last, self._key_beats(), self._value_beats(rest)))),
            next_keys.eq(~keys & last),
        ]

        # COPY: places of the first run, and of the last. PLACE: places before the source, and before the target. From
        # them units, and from those beats: of keys their number is small, of values the unit.
        places, number = Signal(log_lanes + 1), Signal(log_lanes + 1)
        first_places, other_places = Signal.like(places), Signal.like(places)
        m.d.sync += [first_places.eq(Mux(place, command.source_place, command.places)),
                     other_places.eq(Mux(place, command.target_place, config.lanes - command.places))]
        # The product is a register: in SECTION it is that of the first run, or of the source, and a cycle later, in
        # ``fresh``, that of the other, which is kept. From then on it is that of the next section's first.
        other, fresh = Signal(), Signal()       # other: SECTION
        of_keys, of_unit = Mux(other, keys, next_keys), Mux(other, unit, next_unit)
        small, beats, other_beats = Signal(log_blocks + 1), Signal(run.beats.shape()), Signal(run.beats.shape())
        m.d.comb += [places.eq(Mux(other, other_places, first_places)),
                     number.eq(Mux(of_keys, places >> log_bus, places)), small.eq(Mux(of_keys, number, of_unit))]
        m.d.sync += [beats.eq(times(Mux(of_keys, of_unit, number), small)), fresh.eq(other)]
        with m.If(fresh):
            m.d.sync += other_beats.eq(beats)

        # The section before was one of values; its page's last; the move's. (That a run is taken is known late.)
        passed, over, ends = Signal(), Signal(), Signal()
        m.d.comb += ends.eq(over & (heads == 1))
        # ``some``: in RUN, of a run with beats.
        part, some, moves = Signal(range(3)), Signal(), Signal()
        partial = keys & command.places[:log_bus].any()
        m.d.comb += [self.o.valid.eq(some), moves.eq(self.o.ready | ~some),
                     run.source.eq(address_sum(source_page, source_at << log_bus)),
                     run.target.eq(address_sum(target_page, target_at << log_bus))]
        with m.FSM():
            with m.State("START"):
                m.d.sync += [source_page.eq(address_clip(command.source, width)), heads.eq(geometry.heads),
                             target_page.eq(address_clip(command.target, width)), left.eq(geometry.head_dim)]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += [other.eq(1), unit.eq(next_unit), keys.eq(next_keys)]
                m.next = "SECTION"
            with m.State("SECTION"):
                with m.If(passed):
                    m.d.sync += left.eq(left - config.lanes)
                with m.If(over):
                    m.d.sync += [
                        left.eq(geometry.head_dim), heads.eq(heads - 1),
                        source_page.eq(address_sum(source_page, geometry.page_bytes)),
                        target_page.eq(address_sum(target_page, geometry.page_bytes)),
                    ]
                m.d.sync += [
                    other.eq(0), some.eq(~place & ~ends & (beats != 0)),
                    run.kind.eq(Mux(place & keys, RunKind.COLUMN, RunKind.COPY)), run.beats.eq(Mux(place, unit, beats)),
                    source_at.eq(section + Mux(place, beats, 0)), target_at.eq(section),
                ]
                m.next = "RUN"
                with m.If(place):
                    m.next = "TARGET"
                with m.If(ends):
                    m.next = "END"
            with m.State("TARGET"):
                m.d.sync += [target_at.eq(section + beats), some.eq(1)]
                m.next = "RUN"
            with m.State("RUN"):
                with m.If(moves):
                    m.d.sync += [part.eq(part + 1), source_at.eq(source_at + run.beats),
                                 target_at.eq(target_at + run.beats)]
                    with m.If(part == 0):
                        m.d.sync += [run.kind.eq(Mux(command.zero, RunKind.PART, RunKind.COPY)),
                                     run.beats.eq(Mux(partial, unit, 0)), some.eq(partial)]
                    with m.Else():
                        m.d.sync += [run.kind.eq(RunKind.ZERO), run.beats.eq(other_beats),
                                     some.eq(command.zero & (other_beats != 0))]
                    with m.If(place | (part == 2)):
                        # On to the next section, the next page, or the end.
                        m.d.sync += [
                            part.eq(0), some.eq(0), other.eq(1), unit.eq(next_unit), keys.eq(next_keys),
                            passed.eq(~keys), over.eq(next_keys),
                            section.eq(Mux(next_keys, 0, section + Mux(keys, unit << log_blocks, unit << log_lanes))),
                        ]
                        m.next = "SECTION"
            with m.State("END"):
                m.d.comb += self.done.eq(1)
        return m

    def _key_beats(self):
        """Of a sub-block."""
        return Mux(self.geometry.key_format == LaneFormat.INT8, self.geometry.head_dim, self.geometry.head_dim >> 1)

    def _value_beats(self, left):
        """Of one place, in the pass where so many dims are left."""
        bus_bytes, lanes = self.config.bus_bytes, self.config.lanes
        log_bus, log_lanes = bus_bytes.bit_length() - 1, lanes.bit_length() - 1
        dims = Mux(left <= lanes, left[:log_lanes + 1], lanes)
        return Mux(self.geometry.value_format == LaneFormat.INT8, (dims + (bus_bytes - 1)) >> log_bus,
                   (dims + (2 * bus_bytes - 1)) >> (log_bus + 1))
