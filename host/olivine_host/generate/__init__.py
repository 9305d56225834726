"""Text from a language model on the core, measured: what ran, what it cost, whether golden says the same."""
