"""What surrounds the accelerator on an FPGA board: clocks, memory, pins; harnesses for single units."""
