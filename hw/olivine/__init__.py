"""Olivine gateware: a transformer-inference accelerator in Amaranth HDL."""

__version__ = "0.1.0"
