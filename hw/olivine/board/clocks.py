"""Clocks of a board: one PLL, from the oscillator to the core's clock, the memory's, and that of the memory's pin."""

import math
from dataclasses import dataclass, replace

from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["VCO_MHZ", "DETECTOR_MHZ", "PllPlan", "plan_pll", "output", "Pll"]

VCO_MHZ = (400.0, 800.0)
"""What an ECP5's oscillator can do (data sheet FPGA-DS-02012, sysCLOCK PLL timing)."""

DETECTOR_MHZ = (10.0, 400.0)
"""Same table: what its phase detector compares."""

DIVIDERS, FEEDBACK = range(1, 129), range(1, 81)
"""Dividers of the input and the outputs; of the feedback."""

PHASES = 8
"""Phases of the VCO that an output may begin at."""


@dataclass(frozen=True)
class PllPlan:
    """Settings of an EHXPLLL. The first output, CLKOP, is fed back::

        vco   = oscillator / input_div * feedback_div * first_div
        first = vco / first_div                 the memory's clock, if there is one
        core  = vco / core_div

    Parameters
    ----------
    oscillator_mhz : float
    input_div, feedback_div, first_div, core_div : int
    memory : bool
        Whether the first output is a memory's clock.
    """

    oscillator_mhz: float
    input_div: int
    feedback_div: int
    first_div: int
    core_div: int
    memory: bool

    @property
    def first_mhz(self):
        return self.oscillator_mhz / self.input_div * self.feedback_div

    @property
    def vco_mhz(self):
        return self.first_mhz * self.first_div

    @property
    def core_mhz(self):
        return self.vco_mhz / self.core_div

    @property
    def dram_mhz(self):
        """None without memory."""
        return self.first_mhz if self.memory else None


def _oscillations(oscillator_mhz, dram_mhz):
    """(input_div, feedback_div, first_div) of all settings that the part allows, the memory's clock as near below what
    is wanted as the input divider lets it come."""
    for input_div in DIVIDERS:
        detector = oscillator_mhz / input_div
        if not DETECTOR_MHZ[0] <= detector <= DETECTOR_MHZ[1]:
            continue
        if dram_mhz:
            feedback = [int(dram_mhz / detector + 1e-9)]
        else:
            feedback = FEEDBACK
        for feedback_div in feedback:
            for first_div in DIVIDERS if feedback_div in FEEDBACK else ():
                if VCO_MHZ[0] <= detector * feedback_div * first_div <= VCO_MHZ[1]:
                    yield input_div, feedback_div, first_div


def plan_pll(oscillator_mhz, core_mhz, dram_mhz=None):
    """The `PllPlan` whose clocks come nearest to these, none of them above.

    Raises
    ------
    ValueError
        If no setting comes within a tenth.
    """
    best, least = None, 0.1
    for dividers in _oscillations(oscillator_mhz, dram_mhz):
        plan = PllPlan(oscillator_mhz, *dividers, 1, bool(dram_mhz))
        core_div = math.ceil(plan.vco_mhz / core_mhz - 1e-9)
        if core_div not in DIVIDERS:
            continue
        plan = replace(plan, core_div=core_div)
        short = 1 - plan.core_mhz / core_mhz + (1 - plan.dram_mhz / dram_mhz if dram_mhz else 0)
        if short < least - 1e-9:
            best, least = plan, short
    if best is None:
        raise ValueError(f"clocks of {core_mhz:g} MHz{f' and {dram_mhz:g} MHz' if dram_mhz else ''} cannot be made "
                         f"from {oscillator_mhz:g} MHz: choose another --freq")
    return best


def output(name, divider, eighths=0):
    """Parameters of an output that begins ``eighths`` of a period of the VCO late. The coarse phase counts periods of
    the VCO and is ``divider - 1`` for none."""
    return {f"p_{name}_ENABLE": "ENABLED", f"p_{name}_DIV": divider, f"p_{name}_FPHASE": eighths % PHASES,
            f"p_{name}_CPHASE": divider - 1 + eighths // PHASES}


class Pll(wiring.Component):
    """An ECP5's PLL. Only for synthesis: a simulation drives the clocks itself.

    Place and route derives the frequencies of its outputs from that of ``oscillator``.

    Parameters
    ----------
    plan : PllPlan

    Members
    -------
    oscillator : In(1)
    core, dram, dram_pin : Out(1)
        ``dram_pin`` is a quarter of a period behind ``dram``; both stay low without memory.
    locked : Out(1)
        From no clock domain.
    """

    members = ("core", "dram", "dram_pin")
    """Clocks that come out."""

    def __init__(self, plan):
        self.plan = plan
        super().__init__({"oscillator": In(1), **{name: Out(1) for name in self.members}, "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        plan = self.plan
        first = Signal()
        outputs = output("CLKOP", plan.first_div) | output("CLKOS2", plan.core_div)
        if plan.memory:
            outputs |= self._memory(m, first)
        m.submodules.pll = Instance(
            "EHXPLLL", a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=plan.input_div, p_CLKFB_DIV=plan.feedback_div, p_FEEDBK_PATH="CLKOP", **outputs,
            i_CLKI=self.oscillator, i_CLKFB=first, o_CLKOP=first, o_CLKOS2=self.core, o_LOCK=self.locked,
            i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_PLLWAKESYNC=0, i_ENCLKOP=0)
        return m

    def _memory(self, m, first):
        """The memory's clocks: connects the first output, returns the instance's arguments of another."""
        m.d.comb += self.dram.eq(first)
        # A quarter of a period: first_div / 4 periods of the VCO.
        return output("CLKOS", self.plan.first_div, PHASES * self.plan.first_div // 4) | {"o_CLKOS": self.dram_pin}
