"""The Migen side of `olivine_host.fpga.litedram`, imported only where LiteDRAM is installed.

As a program it reads the arguments of `generate` from standard input and prints what that returns, both as JSON.
"""

import contextlib
import json
import math
import sys

from litedram.common import LiteDRAMNativePort, PhySettings
from litedram.core import LiteDRAMCore
from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.init import get_sdr_phy_init_sequence
from litedram.modules import SDRModule, _SpeedgradeTimings, _TechnologyTimings
from litedram.phy import dfi
from litex.gen.fhdl.verilog import convert
from litex.soc.interconnect import csr_bus
from migen import Case, Cat, ClockDomain, If, Module, Signal
from olivine.board.dram_parts import SdramPart

__all__ = ["generate", "axi_ports", "clocks", "flags", "issued", "CONTROL"]


class Pinless(Module):
    """LiteDRAM's generic SDR PHY (`litedram.phy.gensdrphy`), its pins and their registers outside.

    Latencies are those of that PHY: one register on the way out and one on the way in.
    """

    def __init__(self, part, cas):
        self.settings = PhySettings(
            phytype="GENSDRPHY", memtype="SDR", databits=part.data_bits, dfi_databits=part.data_bits, nphases=1,
            rdphase=0, wrphase=0, cl=cas, read_latency=cas + 1, write_latency=0)
        self.dfi = dfi.Interface(part.row_bits, part.bank_bits, 1, part.data_bits)
        coming = Signal(self.settings.read_latency)
        self.sync += [coming.eq(Cat(self.dfi.p0.rddata_en, coming)), self.dfi.p0.rddata_valid.eq(coming[-1])]


class Words(Module):
    """A wide port on a narrow one, a word a clock.

    LiteDRAM's own converter takes a clock more for each beat, 5 where 4 words of 16 bits make a beat of 64.
    """

    def __init__(self, narrow, width):
        self.count = count = width // narrow.data_width
        bits = (count - 1).bit_length()
        self.wide = wide = LiteDRAMNativePort("both", narrow.address_width - bits, width)
        asked, given, came = Signal(bits), Signal(bits), Signal(bits)
        self.comb += [
            narrow.cmd.valid.eq(wide.cmd.valid), narrow.cmd.we.eq(wide.cmd.we),
            narrow.cmd.addr.eq(Cat(asked, wide.cmd.addr)),
            wide.cmd.ready.eq(narrow.cmd.ready & (asked == count - 1)),
        ]
        self.sync += If(narrow.cmd.valid & narrow.cmd.ready, asked.eq(asked + 1))
        # The controller takes data when it wants: AXI commands wait until theirs is there.
        part, mask = narrow.data_width, narrow.data_width // 8
        self.comb += [
            Case(given, {n: [narrow.wdata.data.eq(wide.wdata.data[n * part:(n + 1) * part]),
                             narrow.wdata.we.eq(wide.wdata.we[n * mask:(n + 1) * mask])] for n in range(count)}),
            narrow.wdata.valid.eq(wide.wdata.valid),
            wide.wdata.ready.eq(narrow.wdata.ready & (given == count - 1)),
        ]
        self.sync += If(narrow.wdata.ready, given.eq(given + 1))
        # And it gives data when it has it: AXI reads reserve its place.
        earlier = Signal(width - part)
        self.comb += [wide.rdata.data.eq(Cat(earlier, narrow.rdata.data)), narrow.rdata.ready.eq(1),
                      wide.rdata.valid.eq(narrow.rdata.valid & (came == count - 1))]
        self.sync += If(narrow.rdata.valid, came.eq(came + 1), earlier.eq(Cat(earlier, narrow.rdata.data)[part:]))


def _module(part, clk_freq):
    """The part in LiteDRAM's words."""
    class Chip(SDRModule):
        nbanks, nrows, ncols = 1 << part.bank_bits, 1 << part.row_bits, 1 << part.column_bits
        # LiteDRAM rounds to the next clock, which between refreshes is too long.
        technology_timings = _TechnologyTimings(tREFI=part.tREFI - 1e9 / clk_freq, tWTR=(2, None), tCCD=(1, None),
                                                tRRD=(None, part.tRRD))
        speedgrade_timings = {"default": _SpeedgradeTimings(
            tRP=part.tRP, tRCD=part.tRCD, tWR=part.tWR, tRFC=(None, part.tRFC), tFAW=None, tRAS=part.tRAS)}
    return Chip(clk_freq, "1:1")


def generate(part, clk_freq, cas, bus_bits, id_width, module):
    """Verilog, address bits of its AXI4 port, and the steps of initialisation."""
    top, ports = Module(), {}

    def port(name, width=1):
        ports[name] = Signal(width, name_override=name)
        return ports[name]

    top.clock_domains.sys = domain = ClockDomain()
    # The ports themselves: a copied clock would lag by a delta cycle.
    domain.clk, domain.rst = port("clk"), port("rst")
    top.submodules.phy = phy = Pinless(part, cas)
    chip = _module(part, clk_freq)
    top.submodules.sdram = sdram = LiteDRAMCore(phy, chip.geom_settings, chip.timing_settings, clk_freq)
    top.submodules.words = words = Words(sdram.crossbar.get_port(mode="both"), bus_bits)
    user = words.wide
    axi = LiteDRAMAXIPort(data_width=bus_bits, id_width=id_width,
                          address_width=user.address_width + (bus_bits // 8).bit_length() - 1)
    top.submodules.axi = LiteDRAMAXI2Native(axi, user)
    axi_ports(top, axi, port)
    _pins(top, phy.dfi.p0, port)
    registers = _control(top, sdram, port)
    steps = _steps(part, phy.settings, chip.timing_settings, clk_freq, registers)
    return str(convert(top, set(ports.values()), module, regular_comb=False)), axi.address_width, steps


def axi_ports(top, axi, port):
    for name in ("aw", "w", "b", "ar", "r"):
        channel, outward = getattr(axi, name), name in ("b", "r")
        fields = {"aw": ("addr", "burst", "len", "size", "id"), "ar": ("addr", "burst", "len", "size", "id"),
                  "w": ("data", "strb", "last"), "b": ("resp", "id"), "r": ("data", "resp", "last", "id")}[name]
        for field in ("valid", *fields):
            inner = getattr(channel, field)
            outer = port(f"{name}{field}", len(inner))
            top.comb += outer.eq(inner) if outward else inner.eq(outer)
        ready = port(f"{name}ready")
        top.comb += channel.ready.eq(ready) if outward else ready.eq(channel.ready)


def _pins(top, phase, port):
    """Values of the pins one register before them."""
    for pin, inner in (("cke", phase.cke), ("cs_n", phase.cs_n), ("ras_n", phase.ras_n), ("cas_n", phase.cas_n),
                       ("we_n", phase.we_n), ("a", phase.address), ("ba", phase.bank)):
        top.comb += port(f"pin_{pin}", len(inner)).eq(inner)
    mask = port("pin_dm", len(phase.wrdata_mask))
    top.comb += [
        If(phase.wrdata_en, mask.eq(phase.wrdata_mask)),
        port("pin_dq_o", len(phase.wrdata)).eq(phase.wrdata), port("pin_dq_oe").eq(phase.wrdata_en),
        phase.rddata.eq(port("pin_dq_i", len(phase.rddata))),
    ]


def _control(top, sdram, port):
    """The bus of the control registers; returns their addresses by name."""
    top.sdram = sdram
    holder = type("Holder", (), {})()
    holder.sdram = sdram
    top.submodules.control = control = csr_bus.CSRBankArray(holder, lambda name, memory: 0, data_width=32,
                                                            address_width=14)
    (_, _, _, bank), = control.banks
    top.comb += [bank.bus.adr.eq(port("csr_adr", 14)), bank.bus.we.eq(port("csr_we")),
                 bank.bus.dat_w.eq(port("csr_dat_w", 32)), port("csr_dat_r", 32).eq(bank.bus.dat_r)]
    return {register.name: index for index, register in enumerate(bank.simple_csrs)}


PRECHARGE, REFRESH, MODE = 0b1011, 0b1101, 0b1111
RESET_DLL = 1 << 8

COMMAND = {"CS": 1, "WE": 2, "CAS": 4, "RAS": 8}
CONTROL = {"SEL": 1, "CKE": 2, "ODT": 4, "RESET_N": 8}
"""Bits of LiteDRAM's DFI injector (`litedram.dfii`), by the last part of their names."""


def clocks(ns, clk_freq):
    """Clocks in which so many nanoseconds have passed, whenever they begin."""
    return math.ceil(ns * clk_freq / 1e9) + 1


def flags(text):
    """Bits of LiteDRAM's words for a control register, such as ``"DFII_CONTROL_CKE|DFII_CONTROL_ODT"``, and whether
    they are a command's."""
    bits = [flag.removeprefix("DFII_") for flag in text.split("|")]
    kind = "CONTROL" if bits[0].startswith("CONTROL") else "COMMAND"
    names = {"CONTROL": CONTROL, "COMMAND": COMMAND}[kind]
    return sum(names[bit.removeprefix(f"{kind}_")] for bit in bits), kind == "COMMAND"


def issued(registers, command, address, bank, wait, times=1):
    """Steps that send the memory a command, then wait."""
    return [(registers["dfii_pi0_address0"], address, 0), (registers["dfii_pi0_baddress0"], bank, 0),
            (registers["dfii_pi0_command0"], command, 0)] + [(registers["dfii_pi0_command_issue"], 1, wait)] * times


def _steps(part, phy, timing, clk_freq, registers):
    """LiteDRAM's own sequence as (register, value, clocks to wait), with the waits of the data sheet.

    LiteDRAM leaves short waits to a processor that is slow, and sets a bit of the mode register that SDR memory
    reserves: that command is left out, its successor sets the register.
    """
    control = registers["dfii_control0"]
    steps = [(control, 0, 0)]
    sequence, _ = get_sdr_phy_init_sequence(phy, timing)
    for _, address, bank, words, wait in sequence:
        command, is_command = flags(words)
        if not is_command:
            steps.append((control, command, clocks(part.power_up, clk_freq)))
            continue
        if command == MODE and address & RESET_DLL:
            continue
        least = {PRECHARGE: clocks(part.tRP, clk_freq), REFRESH: clocks(part.tRFC, clk_freq),
                 MODE: part.tMRD + 1}[command]
        times = part.refreshes if command == REFRESH and not any(s[1] == REFRESH for s in steps) else 1
        steps += issued(registers, command, address, bank, max(wait, least), times)
    return [*steps, (control, CONTROL["SEL"], 0)]


def main():
    arguments = json.load(sys.stdin)
    arguments["part"]["tCK"] = {int(cas): period for cas, period in arguments["part"]["tCK"].items()}
    with contextlib.redirect_stdout(sys.stderr):  # LiteX reports on it
        result = generate(SdramPart(**arguments.pop("part")), **arguments)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
