"""AXI4-Lite, as the host's port speaks it: 32 bits of data, and a slave that turns transfers into accesses."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..memory.axi import Response
from ..memory.checks import check_integer

__all__ = ["DATA_BITS", "AXI4Lite", "LiteSlave"]

DATA_BITS = 32


class AXI4Lite(wiring.Signature):
    """All five channels as streams, seen from the master. Protection is not carried: nothing looks at it."""

    def __init__(self, addr_width):
        self.addr_width = addr_width
        address = stream.Signature(data.StructLayout({"addr": unsigned(addr_width)}))
        super().__init__({
            "ar": Out(address), "r": In(stream.Signature(data.StructLayout({"data": DATA_BITS, "resp": Response}))),
            "aw": Out(address),
            "w": Out(stream.Signature(data.StructLayout({"data": DATA_BITS, "strb": DATA_BITS // 8}))),
            "b": In(stream.Signature(data.StructLayout({"resp": Response}))),
        })


class LiteSlave(wiring.Component):
    """One access at a time each way; address and data of a write may come in any order.

    Parameters
    ----------
    addr_width : int
        Address bits, 3 to 64.

    Members
    -------
    bus : In(AXI4Lite)
    write : Out({valid, word, data, strb})
        For one cycle: write the bytes of ``data`` that ``strb`` enables to the register number ``word``.
    write_resp : In(Response)
        The answer, in that cycle.
    read : Out({valid, word}), read_ready : In(1)
        Read a register; until ``read_ready``, in the first cycle or later.
    read_data : In(32), read_resp : In(Response)
        The answer, in the cycle of ``read_ready``.

    The low two bits of an address do not matter. Cycles: an access is in the cycle after its last transfer, its answer
    is offered in the next; an access every 2 cycles each way, if none has to wait. ``ready`` depends on registers only.
    """

    def __init__(self, addr_width):
        self.addr_width = check_integer("addr_width", addr_width, 3, 64)
        word = unsigned(addr_width - 2)
        super().__init__({
            "bus": In(AXI4Lite(addr_width)),
            "write": Out(data.StructLayout({"valid": 1, "word": word, "data": DATA_BITS, "strb": DATA_BITS // 8})),
            "write_resp": In(Response),
            "read": Out(data.StructLayout({"valid": 1, "word": word})),
            "read_ready": In(1), "read_data": In(DATA_BITS), "read_resp": In(Response),
        })

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        def hold(channel, used):
            """Take a payload and keep it until it is used: (is there one, the payload)."""
            held, payload = Signal(), Signal.like(channel.payload)
            m.d.comb += channel.ready.eq(~held)
            with m.If(~held):
                m.d.sync += [held.eq(channel.valid), payload.eq(channel.payload)]
            with m.Elif(used):
                m.d.sync += held.eq(0)
            return held, payload

        def answer(channel, made, **fields):
            """Offer what an access answers until it is taken. None is made before; that one is made is known late."""
            with m.If(~channel.valid):
                m.d.sync += [channel.valid.eq(made),
                             *(channel.payload[name].eq(value) for name, value in fields.items())]
            with m.Elif(channel.ready):
                m.d.sync += channel.valid.eq(0)

        has_address, write_address = hold(bus.aw, self.write.valid)
        has_data, write_data = hold(bus.w, self.write.valid)
        reads = self.read.valid & self.read_ready
        has_read, read_address = hold(bus.ar, reads)
        m.d.comb += [
            self.write.valid.eq(has_address & has_data & ~bus.b.valid), self.write.word.eq(write_address.addr[2:]),
            self.write.data.eq(write_data.data), self.write.strb.eq(write_data.strb),
            self.read.valid.eq(has_read & ~bus.r.valid), self.read.word.eq(read_address.addr[2:]),
        ]
        answer(bus.b, self.write.valid, resp=self.write_resp)
        answer(bus.r, reads, resp=self.read_resp, data=self.read_data)
        return m
