"""The Migen side of `olivine_host.fpga.litedram` for DDR3, imported only where LiteDRAM is installed.

LiteDRAM's PHY of the ECP5 is used as it is, with the part's primitives inside; only the cells of the pins are left to
Amaranth's I/O buffers (`olivine.board.ddr3_pins`), and the clocks to `olivine.board.ddr3_clocks`.
"""

import contextlib
import json
import sys

from litedram.core import LiteDRAMCore
from litedram.frontend.axi import LiteDRAMAXI2Native, LiteDRAMAXIPort
from litedram.init import get_ddr3_phy_init_sequence
from litedram.modules import DDR3Module, _SpeedgradeTimings, _TechnologyTimings
from litedram.phy.ecp5ddrphy import ECP5DDRPHY
from litex.gen.fhdl.verilog import convert
from litex.soc.interconnect import csr_bus
from migen import ClockDomain, Constant, Module, Signal
from olivine.board.ddr3_registers import PAGE, Phy
from olivine.board.dram_parts import Ddr3Part

from olivine_host.fpga.litedram_sdr import CONTROL, axi_ports, clocks, flags, issued

__all__ = ["generate"]

MODE, CALIBRATE, PRECHARGE = 0b1111, 0b0011, 0b1011
"""Commands of the initialisation, as the DFI injector takes them."""

ALL_BANKS = 1 << 10

OUTPUTS = ("clk_p", "cke", "odt", "ras_n", "cas_n", "we_n", "a", "ba", "dm")


class Line:
    """A pin that is driven both ways, its buffer outside: in Migen's eyes a tristate of three signals."""

    def __init__(self):
        self.o, self.oe, self.i = Signal(), Signal(), Signal()


class Pads:
    """What the PHY takes for pins. There is no ``cs_n`` and no ``reset_n``: the board has neither."""

    def __init__(self, part):
        lanes = part.data_bits // 8
        widths = {"a": part.row_bits, "ba": part.bank_bits, "dm": lanes}
        for name in OUTPUTS:
            setattr(self, name, Signal(widths.get(name, 1)))
        self.dq, self.dqs_p = [Line() for _ in range(part.data_bits)], [Line() for _ in range(lanes)]


def _module(part, clk_freq):
    """The part in LiteDRAM's words. Times of its data sheet, where LiteDRAM's own list has clocks of a fast memory."""
    class Chip(DDR3Module):
        nbanks, nrows, ncols = 1 << part.bank_bits, 1 << part.row_bits, 1 << part.column_bits
        # LiteDRAM rounds to the next clock, which between refreshes is too long.
        technology_timings = _TechnologyTimings(
            tREFI=part.tREFI - 1e9 / clk_freq, tWTR=(part.nWTR, part.tWTR), tCCD=(part.nCCD, None),
            tRRD=(part.nRRD, part.tRRD), tZQCS=(part.nZQCS, part.tZQCS))
        speedgrade_timings = {"default": _SpeedgradeTimings(
            tRP=part.tRP, tRCD=part.tRCD, tWR=part.tWR, tRFC=(None, part.tRFC), tFAW=(None, part.tFAW),
            tRAS=part.tRAS)}
    return Chip(clk_freq, "1:2")


def generate(part, clk_freq, id_width, module):
    """Verilog; width and address bits of its AXI4 port, CAS latencies of reads and writes, steps of initialisation."""
    top, ports = Module(), {}

    def port(name, width=1):
        ports[name] = Signal(width, name_override=name)
        return ports[name]

    for name, prefix in (("sys", ""), ("sys2x", "fast_"), ("init", "init_")):
        domain = ClockDomain(name, reset_less=name == "sys2x")
        setattr(top.clock_domains, name, domain)
        # The ports themselves: a copied clock would lag by a delta cycle.
        domain.clk = port(f"{prefix}clk")
        if name != "sys2x":
            domain.rst = port(f"{prefix}rst")
    pads = Pads(part)
    top.submodules.phy = phy = ECP5DDRPHY(pads, sys_clk_freq=clk_freq)
    # What the clocks are asked to do while delays are set up.
    top.comb += [port("clk_stop").eq(phy.init.stop), port("clk_reset").eq(phy.init.reset)]
    chip = _module(part, clk_freq)
    top.submodules.sdram = sdram = LiteDRAMCore(phy, chip.geom_settings, chip.timing_settings, clk_freq)
    # LiteDRAM begins with the controller in charge, which holds the clock enable high: not before the initialisation.
    sdram.dfii._control.storage.reset = Constant(0, len(CONTROL))
    user = sdram.crossbar.get_port(mode="both")
    axi = LiteDRAMAXIPort(data_width=user.data_width, id_width=id_width,
                          address_width=user.address_width + (user.data_width // 8).bit_length() - 1)
    top.submodules.axi = LiteDRAMAXI2Native(axi, user)
    axi_ports(top, axi, port)
    _pins(top, pads, port)
    registers = _control(top, port, phy=phy, sdram=sdram)
    # Gateware and host know the PHY's registers by these.
    expected = {register.name.lower(): register.value for register in Phy}
    found = {name.removesuffix("0"): place for name, place in registers["phy"].items()}
    if expected != found:
        raise RuntimeError(f"this LiteDRAM has other registers in its PHY: {found}, where {expected} belong")
    steps = _steps(part, phy.settings, chip.timing_settings, clk_freq, registers["sdram"])
    return (str(convert(top, set(ports.values()), module, regular_comb=False)), user.data_width, axi.address_width,
            phy.settings.cl, phy.settings.cwl, steps)


def _pins(top, pads, port):
    for name in OUTPUTS:
        inner = getattr(pads, name)
        top.comb += port(f"pin_{name}", len(inner)).eq(inner)
    for name, lines in (("dq", pads.dq), ("dqs", pads.dqs_p)):
        o, oe, i = (port(f"pin_{name}_{part}", len(lines)) for part in ("o", "oe", "i"))
        for number, line in enumerate(lines):
            top.comb += [o[number].eq(line.o), oe[number].eq(line.oe), line.i.eq(i[number])]


def _control(top, port, **units):
    """The bus of the control registers, a page a unit; returns their word addresses by unit and name."""
    holder = type("Holder", (), units)()
    top.submodules.control = control = csr_bus.CSRBankArray(
        holder, lambda name, memory: list(units).index(name), data_width=32, address_width=14, paging=PAGE)
    adr, we, dat_w, dat_r = port("csr_adr", 14), port("csr_we"), port("csr_dat_w", 32), port("csr_dat_r", 32)
    answer = 0
    for _, _, _, bank in control.banks:
        top.comb += [bank.bus.adr.eq(adr), bank.bus.we.eq(we), bank.bus.dat_w.eq(dat_w)]
        # A bank that is not asked gives zeros.
        answer = answer | bank.bus.dat_r
    top.comb += dat_r.eq(answer)
    return {name: {register.name: place * PAGE // 4 + index for index, register in enumerate(bank.simple_csrs)}
            for name, _, place, bank in control.banks}


def _steps(part, phy, timing, clk_freq, registers):
    """LiteDRAM's own sequence as (register, value, clocks to wait), with the waits of the data sheet.

    LiteDRAM leaves short waits to a processor that is slow. The clock runs twice as fast as the register's.
    """
    control = registers["dfii_control0"]
    steps = [(control, 0, clocks(part.power_up, clk_freq))]
    sequence, _ = get_ddr3_phy_init_sequence(phy, timing)
    waits = {"CONTROL": [part.reset_to_cke, part.tXPR], MODE: 1e9 / clk_freq / 2 * part.nDLLK,
             CALIBRATE: 1e9 / clk_freq / 2 * part.nZQinit}
    for _, address, bank, words, _ in sequence:
        value, is_command = flags(words)
        if is_command:
            steps += issued(registers, value, address, bank, clocks(waits[value], clk_freq))
        else:
            steps.append((control, value, clocks(waits["CONTROL"].pop(0), clk_freq)))
            if not waits["CONTROL"]:
                # A controller that is reset may leave rows open, and the chip has no reset pin.
                steps += issued(registers, PRECHARGE, ALL_BANKS, 0, clocks(part.tRP, clk_freq))
    return [*steps, (control, CONTROL["SEL"], 0)]


def main():
    arguments = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # LiteX reports on it
        result = generate(Ddr3Part(**arguments.pop("part")), **arguments)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
