"""The tiled attention engine: online softmax over pages of keys and values."""
