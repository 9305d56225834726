"""Simulated hardware: builds of the generated Verilog, and jobs run on them without testbench code."""
