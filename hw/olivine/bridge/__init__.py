"""The serial host bridge: registers and memory of the core, reached over a UART."""
