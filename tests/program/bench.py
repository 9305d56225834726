"""Units of `olivine.program` behind AXI ports with their usual names, as the testbenches see them."""

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from olivine.memory.axi import AXI4
from olivine.program.axi_lite import DATA_BITS
from olivine.program.fetch import InstructionFetch
from olivine.program.registers import Registers

__all__ = ["FetchBench", "RegistersBench"]


class FetchBench(wiring.Component):
    """`InstructionFetch` on an AXI4 bus, which it only reads."""

    def __init__(self, config):
        self.config, self.fetch = config, InstructionFetch(config)
        members = dict(self.fetch.signature.members)
        del members["port"]
        super().__init__({**members, "bus": Out(AXI4(config.addr_width, config.bus_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = self.fetch
        for channel in ("ar", "r"):
            wiring.connect(m, getattr(fetch.port, channel), wiring.flipped(getattr(self.bus, channel)))
        for name in ("o_instruction", "o_fault"):
            wiring.connect(m, getattr(fetch, name), wiring.flipped(getattr(self, name)))
        for index in range(self.config.windows):
            m.d.comb += [getattr(fetch.windows[index], name).eq(getattr(self.windows[index], name))
                         for name in ("first", "last", "readable", "writable")]
        m.d.comb += [*(getattr(fetch, name).eq(getattr(self, name))
                       for name in ("start", "address", "length", "abort", "bus_timeout", "room")),
                     self.idle.eq(fetch.idle), self.o_word.eq(fetch.o_word)]
        return m


class RegistersBench(wiring.Component):
    """`Registers` with a port for each signal of its bus."""

    def __init__(self, config):
        self.config = config
        self.registers = Registers(config, config.scratchpad_base, config.scratchpad_words)
        members = dict(self.registers.signature.members)
        width = members.pop("bus").signature.addr_width
        self.channels = {"aw": {"addr": width}, "w": {"data": DATA_BITS, "strb": DATA_BITS // 8}, "b": {"resp": 2},
                         "ar": {"addr": width}, "r": {"data": DATA_BITS, "resp": 2}}
        pins = {}
        for channel, fields in self.channels.items():
            inward, outward = (Out, In) if channel in "br" else (In, Out)
            pins |= {f"s_axi_{channel}{name}": inward(bits) for name, bits in fields.items()}
            pins |= {f"s_axi_{channel}valid": inward(1), f"s_axi_{channel}ready": outward(1)}
        self.plain = members
        super().__init__({**members, **pins})

    def elaborate(self, platform):
        m = Module()
        m.submodules.registers = registers = self.registers
        for name, member in self.plain.items():
            inner, outer = Value.cast(getattr(registers, name)), Value.cast(getattr(self, name))
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        for channel, fields in self.channels.items():
            port = getattr(registers.bus, channel)
            pairs = [(Value.cast(port.payload[name]), getattr(self, f"s_axi_{channel}{name}")) for name in fields]
            pairs.append((port.valid, getattr(self, f"s_axi_{channel}valid")))
            ready = port.ready, getattr(self, f"s_axi_{channel}ready")
            if channel in "br":
                m.d.comb += [ready[0].eq(ready[1]), *(pin.eq(value) for value, pin in pairs)]
            else:
                m.d.comb += [ready[1].eq(ready[0]), *(value.eq(pin) for value, pin in pairs)]
        return m
