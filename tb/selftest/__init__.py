"""Testbench for the simulation helper itself."""
