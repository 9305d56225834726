"""cocotb testbenches, in the same tree as the gateware."""
