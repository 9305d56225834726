"""Entries of a job's table: which are legal."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..kvcache.descriptor import CacheGeometry
from .descriptor import (
    BASE_BYTES,
    CACHED_FIELDS,
    ENTRY_BYTES,
    GROUP_FIELDS,
    SEGMENT_BYTES,
    SEGMENTS,
    AttentionGroup,
    CachedGroup,
    OutputFormat,
)
from .plan import address_outside, plan_layout

__all__ = ["EntryCheck"]


class EntryCheck(wiring.Component):
    """Looks at an entry as the job's kind of entry: `AttentionGroup`, or `CachedGroup` of a cached job.

    Members
    -------
    plan : In, geometry : In(CacheGeometry)
    entry : In(512)
    bad : Out(1), field : Out(8)
        It is illegal; index of its first illegal field. Both are said of the entry of `latency` cycles before.
    """

    latency = 2

    def __init__(self, config):
        self.config = config
        super().__init__({"plan": In(plan_layout(config)), "geometry": In(CacheGeometry), "entry": In(8 * ENTRY_BYTES),
                          "bad": Out(1), "field": Out(8)})

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        entry, cached = data.View(AttentionGroup, self.entry), data.View(CachedGroup, self.entry)

        def address(value, alignment):
            """Whether it is none."""
            return address_outside(config, value) | value[:alignment.bit_length() - 1].any()

        # Rows in a batch are whole words, whose beats are the bus's.
        batch, several = plan.cached & cached.batch, plan.heads != 1
        word = 2 * config.rows
        wide = plan.q_wide & ((plan.o_format == OutputFormat.INT12) | (plan.o_format == OutputFormat.INT16))
        possible = wide if word == config.bus_bytes else Const(0, 1)
        inside = several | (cached.lane == 0) | (cached.lane + cached.rows <= config.rows)

        # The first three words are the same in both.
        common = [
            ("q", ~plan.merge & (address(entry.q, 1) | (plan.q_wide & entry.q[0]) | batch & address(entry.q, word))),
            ("o", address(entry.o, 1) | (entry.o[0] & plan.o_wide) | batch & address(entry.o, word)),
            ("lse", (plan.lse | plan.score) & address(entry.lse, 4)),
            ("zero_shift", entry.zero_shift != 0),
        ]
        plain = [
            ("bases", address(entry.bases, BASE_BYTES)),
            ("zero_bases", entry.zero_bases != 0),
            ("rows", entry.rows == 0),
            ("keys", (entry.keys == 0) | (entry.keys > config.max_sequence)),
            ("zero_keys", entry.zero_keys != 0),
            ("zero_position", entry.zero_position != 0),
            ("zero_page", entry.zero_page != 0),
            ("reserved", entry.reserved != 0),
        ]
        many = plan.hitters & ~plan.score & (cached.rows > config.rows)
        of_cache = [
            ("segments", address(cached.segments, SEGMENT_BYTES)),
            ("head", cached.head >= self.geometry.heads),
            ("rows", (cached.rows == 0) | many
             | batch & several & ((cached.rows != plan.heads) | (cached.rows > config.rows))),
            ("count", (cached.count == 0) | (cached.count > SEGMENTS)
             | ((plan.tree | plan.cells) & (cached.count != 1))),
            ("zero_rows", cached.zero_rows != 0),
            ("zero_position", cached.zero_position != 0),
            ("tree", plan.tree & address(cached.tree, BASE_BYTES)),
            ("zero_tree", cached.zero_tree != 0),
            ("batch", cached.batch & ~possible),
            ("lane", Mux(cached.batch, (cached.lane >= config.rows) | ~inside, cached.lane != 0)),
            ("q_words", ~cached.batch & (cached.q_words != 0)),
            ("o_words", ~cached.batch & (cached.o_words != 0)),
            ("reserved", cached.reserved != 0),
        ]

        def judged(conditions, fields):
            # Each condition has a register, and so has what follows from all.
            wrong, field = Signal(len(conditions), name=f"wrong_of_{len(conditions)}"), Signal(8)
            m.d.sync += wrong.eq(Cat(condition for _, condition in conditions))
            for index, (name, _) in reversed(list(enumerate(conditions))):
                with m.If(wrong[index]):
                    m.d.comb += field.eq(fields.index(name))
            return wrong.any(), field

        (bad, field), (bad_cached, field_cached) = (judged(common + plain, GROUP_FIELDS),
                                                    judged(common + of_cache, CACHED_FIELDS))
        m.d.sync += [self.bad.eq(Mux(plan.cached, bad_cached, bad)),
                     self.field.eq(Mux(plan.cached, field_cached, field))]
        return m
