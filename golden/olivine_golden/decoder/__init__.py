"""Golden model of a whole decoder-only language model: its numbers and its steps."""
