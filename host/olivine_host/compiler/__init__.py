"""From a quantized model to what the core runs: a memory image, and a program for each step of a batch."""
