"""Memory chips on boards: geometry and timings, as data sheets state them."""

from dataclasses import dataclass

__all__ = ["SdramPart", "SDRAM_PARTS", "DramCore"]


@dataclass(frozen=True)
class SdramPart:
    """A single-data-rate SDRAM (JEDEC standard 21-C, 3.11.5.1).

    Parameters
    ----------
    name : str
    row_bits, column_bits, bank_bits, data_bits : int
        Address bits of a row, a column and a bank; width of the data bus.
    tRCD, tRP, tRAS, tRC, tRFC, tRRD, tWR : float
        Nanoseconds: activate to column command, precharge, activate to precharge, activate to activate of a bank,
        refresh, activate to activate of two banks, last data to precharge.
    tMRD : int
        Clocks: mode register to any command.
    tREFI : float
        Nanoseconds a refresh, on average.
    power_up : float
        Nanoseconds of clock before the first command.
    refreshes : int
        Refreshes before the mode register is set.
    tAC, tOH : dict of int to float
        By CAS latency, nanoseconds after the clock: data is there at the latest, data stays at least.
    tCK : dict of int to float
        By CAS latency, shortest clock period, nanoseconds.
    """

    name: str
    row_bits: int
    column_bits: int
    bank_bits: int
    data_bits: int
    tRCD: float
    tRP: float
    tRAS: float
    tRC: float
    tRFC: float
    tRRD: float
    tWR: float
    tMRD: int
    tREFI: float
    power_up: float
    refreshes: int
    tAC: dict
    tOH: dict
    tCK: dict

    @property
    def size(self):
        """Bytes."""
        return (self.data_bits // 8) << (self.row_bits + self.column_bits + self.bank_bits)


SDRAM_PARTS = {
    # What holds for all chips that ULX3S boards came with, each timing that of the slowest (IS42S16160G-7,
    # MT48LC16M16A2-75, AS4C32M16SB-7 as 32 MiB, W9825G6KH-6): one design for every board.
    "sdr-32m": SdramPart("sdr-32m", row_bits=13, column_bits=9, bank_bits=2, data_bits=16, tRCD=21, tRP=21, tRAS=45,
                         tRC=66, tRFC=70, tRRD=15, tWR=15, tMRD=2, tREFI=64e6 / 8192, power_up=200_000, refreshes=8,
                         tAC={2: 6.0, 3: 5.4}, tOH={2: 2.5, 3: 2.5}, tCK={2: 10.0, 3: 7.5}),
}
"""By name."""


@dataclass(frozen=True)
class DramCore:
    """A memory controller in Verilog, as `olivine_host.fpga.litedram` generates it.

    Parameters
    ----------
    module : str
        Name of the Verilog module.
    text : str
        The Verilog.
    part : SdramPart
    clk_freq : int
        Hertz of its clock, which is the memory's.
    cas : int
        CAS latency, clocks.
    id_width, bus_bits, addr_width : int
        Of its AXI4 port; ``addr_width`` counts the memory's bytes.
    steps : tuple of (int, int, int)
        Initialisation: address of a control register, value, clocks until the next.
    """

    module: str
    text: str
    part: SdramPart
    clk_freq: int
    cas: int
    id_width: int
    bus_bits: int
    addr_width: int
    steps: tuple
