"""A real model: MiniLM, its linear layers quantized and run on the array, the rest in float."""
