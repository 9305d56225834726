"""The PLL's settings: frequencies, what the part allows, and the phase of the memory's clock pin."""

import pytest
from amaranth.back import rtlil
from olivine.board.clocks import DETECTOR_MHZ, VCO_MHZ, Pll, plan_pll
from olivine.board.ddr3_clocks import INIT_MHZ, Ddr3Pll


@pytest.mark.parametrize("oscillator", [25.0, 100.0, 12.0, 48.0])
@pytest.mark.parametrize("core", [25, 40, 50, 60, 75, 83.3, 100, 125])
@pytest.mark.parametrize("dram", [None, 75, 100])
def test_plans_are_legal_and_near(oscillator, core, dram):
    plan = plan_pll(oscillator, core, dram)
    detector = oscillator / plan.input_div
    assert DETECTOR_MHZ[0] <= detector <= DETECTOR_MHZ[1]
    assert VCO_MHZ[0] <= plan.vco_mhz <= VCO_MHZ[1]
    assert plan.vco_mhz == pytest.approx(detector * plan.feedback_div * plan.first_div)
    assert 0.9 * core < plan.core_mhz <= core * (1 + 1e-6)
    if dram is None:
        assert plan.dram_mhz is None
    else:
        assert 0.9 * dram < plan.dram_mhz <= dram * (1 + 1e-6)
        assert plan.first_div + plan.first_div // 4 <= 128, "the coarse phase has 7 bits"


@pytest.mark.parametrize("core, dram", [(75, 75), (50, 75), (60, 75), (100, 75), (50, 100), (100, 100)])
def test_common_clocks_are_exact(core, dram):
    plan = plan_pll(25, core, dram)
    assert (plan.core_mhz, plan.dram_mhz) == (pytest.approx(core), pytest.approx(dram))


@pytest.mark.parametrize("core", [2, 900])
def test_refuses(core):
    with pytest.raises(ValueError, match=f"clocks of {core} MHz and 75 MHz cannot be made from 25 MHz.*--freq"):
        plan_pll(25, core, 75)


def _parameters(plan, pll=Pll):
    text = rtlil.convert(pll(plan))
    lines = (line.split() for line in text.splitlines())
    return {words[1].lstrip("\\"): words[-1].strip('"') for words in lines if words[:1] == ["parameter"]}


@pytest.mark.parametrize("core, dram", [(75, 75), (60, 75), (66, 100)])
def test_parameters(core, dram):
    """The pin's clock begins a quarter of a period behind the memory's."""
    plan = plan_pll(25, core, dram)
    made = _parameters(plan)
    number = {name: int(value, 2) if set(value) <= {"0", "1"} and len(value) > 3 else value
              for name, value in made.items()}
    number = {name: int(value) if str(value).isdigit() else value for name, value in number.items()}
    assert (number["CLKOP_DIV"], number["CLKOS_DIV"], number["CLKOS2_DIV"]) == \
        (plan.first_div, plan.first_div, plan.core_div)
    assert (number["CLKI_DIV"], number["CLKFB_DIV"], number["FEEDBK_PATH"]) == \
        (plan.input_div, plan.feedback_div, "CLKOP")
    begins = {name: number[f"{name}_CPHASE"] - (number[f"{name}_DIV"] - 1) + number[f"{name}_FPHASE"] / 8
              for name in ("CLKOP", "CLKOS", "CLKOS2")}
    assert begins == {"CLKOP": 0, "CLKOS": plan.first_div / 4, "CLKOS2": 0}


def test_without_memory():
    made = _parameters(plan_pll(100, 75))
    assert "CLKOS_DIV" not in made and "CLKOS2_DIV" in made


@pytest.mark.parametrize("core, fast", [(75, 150), (50, 150), (40, 200), (60, 120)])
def test_ddr3(core, fast):
    """The second output is the slow clock that sets the PHY's delays up, at most as fast as it may be."""
    plan = plan_pll(100, core, fast)
    text = _parameters(plan, Ddr3Pll)["CLKOS_DIV"]
    divider = int(text, 2 if len(text) > 3 else 10)
    assert INIT_MHZ * 0.9 < plan.vco_mhz / divider <= INIT_MHZ
    assert plan.dram_mhz == pytest.approx(fast)
