"""Olivine on the host: quantizer, memory images, simulators, command line."""
