"""Memory chips on boards: geometry and timings, as data sheets state them."""

from dataclasses import dataclass

__all__ = ["SdramPart", "SDRAM_PARTS", "DramCore", "Ddr3Part", "DDR3_PARTS", "Ddr3Core"]


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


@dataclass(frozen=True)
class Ddr3Part:
    """A DDR3 SDRAM (JEDEC JESD79-3).

    Parameters
    ----------
    name : str
    row_bits, column_bits, bank_bits, data_bits : int
        Address bits of a row, a column and a bank; width of the data bus.
    tRCD, tRP, tRAS, tRFC, tRRD, tFAW, tWR, tWTR, tREFI : float
        Nanoseconds: activate to column command, precharge, activate to precharge, refresh, activate to activate of two
        banks and of five, last data to precharge and to a read, a refresh on average.
    nRRD, nWTR, nCCD : int
        The same in clocks of the memory, at least; and column command to column command.
    tZQCS, nZQCS, nZQinit : float, int, int
        Short calibration in nanoseconds and clocks, and the first one, clocks.
    power_up, reset_to_cke, tXPR : float
        Nanoseconds: of clock with the clock enable low after the power, from the end of the reset to the clock enable,
        from there to the first command.
    nMRD, nMOD, nDLLK : int
        Clocks: mode register to mode register, to another command, and to a read after the DLL's reset.
    """

    name: str
    row_bits: int
    column_bits: int
    bank_bits: int
    data_bits: int
    tRCD: float
    tRP: float
    tRAS: float
    tRFC: float
    tRRD: float
    tFAW: float
    tWR: float
    tWTR: float
    tREFI: float
    nRRD: int
    nWTR: int
    nCCD: int
    tZQCS: float
    nZQCS: int
    nZQinit: int
    power_up: float
    reset_to_cke: float
    tXPR: float
    nMRD: int
    nMOD: int
    nDLLK: int

    @property
    def size(self):
        """Bytes."""
        return (self.data_bits // 8) << (self.row_bits + self.column_bits + self.bank_bits)


DDR3_PARTS = {
    # Micron MT41K256M16, -125: 4 Gbit, pages of 2 KiB.
    "mt41k256m16": Ddr3Part("mt41k256m16", row_bits=15, column_bits=10, bank_bits=3, data_bits=16, tRCD=13.75,
                            tRP=13.75, tRAS=35, tRFC=260, tRRD=7.5, tFAW=40, tWR=15, tWTR=7.5, tREFI=64e6 / 8192,
                            nRRD=4, nWTR=4, nCCD=4, tZQCS=80, nZQCS=64, nZQinit=512, power_up=200_000,
                            reset_to_cke=500_000, tXPR=270, nMRD=4, nMOD=12, nDLLK=512),
}
"""By name."""


@dataclass(frozen=True)
class Ddr3Core:
    """A controller with its PHY in Verilog, as `olivine_host.fpga.litedram` generates it.

    Parameters
    ----------
    module, text : str
        The Verilog, and the name of its module.
    part : Ddr3Part
    clk_freq : int
        Hertz of its clock; the memory's is twice that.
    cas, cas_write : int
        Latencies of reads and writes, clocks of the memory.
    id_width, bus_bits, addr_width : int
        Of its AXI4 port; ``addr_width`` counts the memory's bytes.
    steps : tuple of (int, int, int)
        Initialisation: address of a control register, value, clocks until the next.
    """

    module: str
    text: str
    part: Ddr3Part
    clk_freq: int
    cas: int
    cas_write: int
    id_width: int
    bus_bits: int
    addr_width: int
    steps: tuple
