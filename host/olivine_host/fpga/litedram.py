"""LiteDRAM as a generator: from a memory chip and a clock to Verilog with an AXI4 port.

LiteDRAM's controller, crossbar and AXI4 front end are used as they are. Its PHY for single-data-rate memory does
nothing but register pins, which on every FPGA are registers of the pins themselves; here the registers are left to
Amaranth's I/O buffers (`olivine.board.dram_pins`), so that the same Verilog is simulated and synthesised.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from olivine.board.dram_parts import Ddr3Core, Ddr3Part, DramCore, SdramPart

from olivine_host.simulation.build import cached, digest

__all__ = ["LiteDramMissing", "sdr_core", "ddr3_core"]

PACKAGES = "litedram==2024.12 litex==2024.12 migen==0.10"


DDR3_HZ = 200_000_000
"""Of a DDR3 controller's clock, at most: LiteDRAM's PHY for the ECP5 is made for 800 million transfers a second."""


class LiteDramMissing(RuntimeError):
    """LiteDRAM is not installed; the message says how to get it."""


def _import():
    try:
        import litedram.core  # noqa: F401
        import litex.gen  # noqa: F401
        import migen  # noqa: F401
    except ImportError as error:
        raise LiteDramMissing(f"{error.name} is not installed, which generates the memory controller: "
                              f"pip install '.[fpga]', or pip install {PACKAGES}") from None


def sdr_core(part, clk_freq, *, bus_bits=64, id_width=4, cas=None, module="olivine_dram"):
    """The controller of a single-data-rate memory, generated once and kept under the build folder.

    Parameters
    ----------
    part : SdramPart
    clk_freq : int
        Hertz.
    bus_bits, id_width : int
        Of the AXI4 port.
    cas : int
        CAS latency; the shortest that the part has at this clock if None.
    module : str

    Raises
    ------
    LiteDramMissing
        If a package is missing.
    ValueError
        If the part has no CAS latency for this clock.
    """
    if not isinstance(part, SdramPart):
        raise TypeError(f"part must be an SdramPart, not {part!r}")
    fits = [latency for latency, period in sorted(part.tCK.items()) if period * clk_freq <= 1e9 * (1 + 1e-9)]
    if not fits or cas is not None and cas not in fits:
        raise ValueError(f"clk_freq is {clk_freq}, cas {cas}: {part.name} has shortest periods of "
                         + ", ".join(f"{period} ns at CAS {latency}" for latency, period in part.tCK.items()))
    cas = fits[0] if cas is None else cas
    text, addr_width, steps = _generated("litedram_sdr", part, clk_freq=clk_freq, cas=cas, bus_bits=bus_bits,
                                         id_width=id_width, module=module)
    return DramCore(module, text, part, clk_freq, cas, id_width, bus_bits, addr_width, tuple(map(tuple, steps)))


def ddr3_core(part, clk_freq, *, id_width=4, module="olivine_dram"):
    """The controller of DDR3 memory with the PHY of an ECP5, generated once and kept under the build folder.

    Its AXI4 port is as wide as a burst of the memory.

    Parameters
    ----------
    part : Ddr3Part
    clk_freq : int
        Hertz of the controller; the memory's clock is twice that.
    id_width : int
        Of the AXI4 port.
    module : str

    Raises
    ------
    LiteDramMissing
        If a package is missing.
    ValueError
        If the PHY cannot be as fast.
    """
    if not isinstance(part, Ddr3Part):
        raise TypeError(f"part must be a Ddr3Part, not {part!r}")
    if not 0 < clk_freq <= DDR3_HZ:
        raise ValueError(f"clk_freq is {clk_freq}: allowed of DDR3 on an ECP5 is up to {DDR3_HZ}")
    text, bus_bits, addr_width, cas, cas_write, steps = _generated(
        "litedram_ddr3", part, clk_freq=clk_freq, id_width=id_width, module=module)
    return Ddr3Core(module, text, part, clk_freq, cas, cas_write, id_width, bus_bits, addr_width,
                    tuple(map(tuple, steps)))


def _generated(generator, part, **arguments):
    """What a generator's program makes, Verilog first, kept by what it was made from."""
    _import()
    sources = (Path(__file__).with_name(f"{name}.py").read_text()
               for name in sorted({generator, "litedram_sdr", "litedram"}))
    key = digest(json.dumps(asdict(part)), json.dumps(arguments), PACKAGES, *sources)

    def make(folder):
        # Migen names signals after variables on the stack and numbers them for the life of the process.
        run = subprocess.run([sys.executable, "-m", f"{__package__}.{generator}"],
                             input=json.dumps({"part": asdict(part), **arguments}),
                             env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
                             check=True, stdout=subprocess.PIPE, text=True)
        text, *about = json.loads(run.stdout)
        (folder / "core.v").write_text(awake(clean(text)))
        (folder / "core.json").write_text(json.dumps(about))

    folder = cached(key, make, kind="litedram")
    return (folder / "core.v").read_text(), *json.loads((folder / "core.json").read_text())


def clean(text):
    """Verilog without comments: LiteX writes dates, versions and folders into them."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    lines = (re.sub(r"\s*//.*$", "", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("`timescale")) + "\n"


def awake(text):
    """Make every ``always @(*)`` run at time zero: on Icarus one whose inputs never change does not, and stays X."""
    head, body = text.split(");\n", 1)
    return f"{head});\nreg wake_up;\ninitial wake_up <= 1'd0;\n" + body.replace(
        "always @(*) begin\n", "always @(*) begin\n    if (wake_up) begin end\n")
