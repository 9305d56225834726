"""What stands for DDR3 memory and for an ECP5's primitives in a simulation, ready for a simulator."""

from pathlib import Path

__all__ = ["FLIGHT", "PRIMITIVES", "CHIP", "ddr3_parameters", "ddr3_text", "flight_bits"]

HERE = Path(__file__).parent

PRIMITIVES, CHIP = HERE / "ecp5_ddr.v", HERE / "ddr3.v"

FLIGHT = (2, 3)
"""Half clocks that data needs from the chip, by byte lane: they differ, as lines of a board do."""


def ddr3_parameters(part, flight=FLIGHT):
    """Parameters of the model in ddr3.v for a `Ddr3Part`, by name.

    Parameters
    ----------
    part : Ddr3Part
    flight : tuple of int
        0 to 15 each.
    """
    times = {f"T_{name}": round(1000 * getattr(part, f"t{name}"))
             for name in ("RCD", "RP", "RAS", "RFC", "RRD", "FAW", "WR", "WTR", "REFI", "XPR")}
    counts = {f"N_{name.upper()}": getattr(part, f"n{name}")
              for name in ("RRD", "WTR", "CCD", "MRD", "MOD", "DLLK", "ZQinit")}
    return {
        "ROW_BITS": part.row_bits, "COLUMN_BITS": part.column_bits, "BANK_BITS": part.bank_bits,
        "DATA_BITS": part.data_bits, **times, **counts, "POWER_UP": round(1000 * part.power_up),
        "RESET_TO_CKE": round(1000 * part.reset_to_cke),
        "FLIGHT": flight_bits(flight),
    }


def flight_bits(flight):
    """Half clocks by byte lane as the model takes them, four bits a lane."""
    return sum(steps << 4 * lane for lane, steps in enumerate(flight))


def ddr3_text():
    """Verilog of both models."""
    return PRIMITIVES.read_text() + CHIP.read_text()
