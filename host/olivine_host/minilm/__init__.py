"""A real model: MiniLM, its linear layers and attention quantized and run on the array, the rest in float."""
