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

from olivine.board.dram_parts import DramCore, SdramPart

from olivine_host.simulation.build import cached, digest

__all__ = ["LiteDramMissing", "sdr_core"]

PACKAGES = "litedram==2024.12 litex==2024.12 migen==0.10"


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
    _import()
    from . import litedram_sdr
    arguments = {"clk_freq": clk_freq, "cas": cas, "bus_bits": bus_bits, "id_width": id_width, "module": module}
    key = digest(json.dumps(asdict(part)), json.dumps(arguments), PACKAGES, _source(litedram_sdr), _source())

    def make(folder):
        # Migen names signals after variables on the stack and numbers them for the life of the process.
        run = subprocess.run([sys.executable, "-m", litedram_sdr.__name__],
                             input=json.dumps({"part": asdict(part), **arguments}),
                             env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(sys.path)},
                             check=True, stdout=subprocess.PIPE, text=True)
        text, addr_width, steps = json.loads(run.stdout)
        (folder / "core.v").write_text(awake(clean(text)))
        (folder / "core.json").write_text(json.dumps({"addr_width": addr_width, "steps": steps}))

    folder = cached(key, make, kind="litedram")
    about = json.loads((folder / "core.json").read_text())
    return DramCore(module, (folder / "core.v").read_text(), part, clk_freq, cas, id_width, bus_bits,
                    about["addr_width"], tuple(map(tuple, about["steps"])))


def _source(module=None):
    with open(__file__ if module is None else module.__file__) as file:
        return file.read()


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
