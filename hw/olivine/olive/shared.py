"""One array for several engines: a job owns it from its first step to its end."""

from amaranth.hdl import Cat, Module, ResetInserter, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CHANNEL_RUN
from .array import OliveArray, array_shapes
from .decoder import decoded, form_layout, lane_code

__all__ = ["ArrayPort", "lend", "SharedArray"]


class ArrayPort(wiring.Signature):
    """An engine's side of an array.

    Members
    -------
    busy : Out(1)
        A job is at work. Its last sum has left the array when this falls.
    wanted : Out(1)
        The job can take a step. It may fall again.
    granted : In(1)
        The array is the job's until ``busy`` falls; no step without.
    step, row : Out, o : In
        As of `OliveArray`, with the engine's own tag.
    lane : Out(ArrayLayout(lane_code, L))
        Of the step, not yet decoded.
    form : Out(form_layout)
        How ``lane`` is decoded, in the cycle before. Not looked at where ``lane`` is decoded already.
    """

    def __init__(self, config, tag):
        shapes = array_shapes(config.rows, config.lanes, config.element, config.drain_columns, tag)
        shapes["lane"] = data.ArrayLayout(lane_code(config.element), config.lanes)
        super().__init__({
            "busy": Out(1), "wanted": Out(1), "granted": In(1), "form": Out(form_layout),
            **{name: In(shape) if name == "o" else Out(shape) for name, shape in shapes.items()},
        })


def lend(m, inner, outer, busy):
    """Connect an engine's port to that of its datapath, in which ``busy`` is not driven."""
    m.d.comb += [
        outer.busy.eq(busy), outer.wanted.eq(inner.wanted), inner.granted.eq(outer.granted), inner.o.eq(outer.o),
        *(getattr(outer, name).eq(getattr(inner, name)) for name in ("step", "row", "lane", "form")),
    ]


class SharedArray(wiring.Component):
    """An `OliveArray`, the decoders of its lanes, and who has it.

    A free array goes to the first engine, by number, that wants it. What is left in it when its job ends (a job that
    failed) is dropped.

    Latency: a cycle more than that of `OliveArray`, for what is chosen; ``granted`` rises in the cycle after
    ``wanted``, and is always high where there is one engine only.

    Parameters
    ----------
    config : AcceleratorConfig
    tags : list of Shape
        Of each engine.

    Members
    -------
    user_0, user_1, ... : In(ArrayPort)
    """

    def __init__(self, config, tags):
        self.config, self.tags = config, tags
        super().__init__({f"user_{index}": In(ArrayPort(config, tag)) for index, tag in enumerate(tags)})

    @property
    def users(self):
        return [getattr(self, f"user_{index}") for index in range(len(self.tags))]

    def elaborate(self, platform):
        m = Module()
        config, users = self.config, self.users
        tag = max((user.step.tag.shape() for user in users), key=lambda shape: Shape.cast(shape).width)
        # A run of a linear layer, the head dimension of scores, the keys of a page.
        steps = max(CHANNEL_RUN, config.max_head_dim, config.lanes)
        array = OliveArray(config.rows, config.lanes, config.element, config.drain_columns, Shape.cast(tag).width,
                           steps)
        held, chosen = Signal(), Signal(len(users))
        # What is left of a job that failed is cleared a cycle after it ended, and in that cycle nobody sees it.
        clears = Signal()
        m.d.sync += clears.eq(~held)
        m.submodules.array = ResetInserter(clears)(array)
        if len(users) == 1:
            m.d.comb += [users[0].granted.eq(1), chosen.eq(1), held.eq(users[0].busy)]
        else:
            # Every bit of the operands waits for ``chosen``. ``others`` says the opposite to whoever waits for nothing
            # else; of two registers that say the same synthesis would make one.
            following, others = Signal(len(users)), Signal(len(users), init=-1)
            m.d.comb += held.eq((~others & Cat(user.busy for user in users)).any())
            for index, user in reversed(list(enumerate(users))):
                with m.If(user.busy & user.wanted):
                    m.d.comb += following.eq(1 << index)
            with m.If(~held):
                m.d.sync += [chosen.eq(following), others.eq(~following)]
            m.d.comb += [user.granted.eq(~others[index]) for index, user in enumerate(users)]
        # What is chosen has a register before lanes are decoded, and ``form``, which is there a cycle before, two.
        step, row, lanes = (Signal.like(signal, reset_less=True) for signal in (array.step, array.row, users[0].lane))
        valid, form, form_later = Signal(), Signal(form_layout), Signal(form_layout)
        m.d.comb += [array.step.eq(step), array.step.valid.eq(valid), array.row.eq(row)]
        for lane, code in enumerate(lanes):
            m.d.comb += array.lane[lane].eq(decoded(config.element, code, form_later))
        m.d.sync += [valid.eq((chosen & Cat(user.step.valid for user in users)).any()), form_later.eq(form)]
        for index, user in enumerate(users):
            # Where nobody is chosen, anything may follow ``valid``.
            with m.If(chosen[index] | (index == 0)):
                m.d.sync += [*(step[name].eq(user.step[name]) for name in ("first", "last", "pairs", "tag")),
                             row.eq(user.row), lanes.eq(user.lane), form.eq(user.form)]
            m.d.comb += [*(user.o[name].eq(array.o[name]) for name in ("first", "last", "lane", "data")),
                         user.o.valid.eq(array.o.valid & user.granted & ~clears), user.o.tag.eq(array.o.tag)]
        return m
