"""From the host to the units: registers, and the instructions of a program."""
