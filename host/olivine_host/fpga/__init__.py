"""From a design to a bitstream: tools, boards, the flow, and what it reports."""
