"""The quantizer: from a float linear layer to the integers that the accelerator reads.

`codes` knows the formats' values and chooses the codes of a pair, `search` finds scales, `scales`
turns them into hardware numbers, `gptq` and `descent` round with error compensation, `linear` puts
them together, `activations` finds static scales for what flows between layers.
"""

from .activations import activation_scale
from .linear import QuantizedLinear, dequantized, quantize_linear

__all__ = ["QuantizedLinear", "quantize_linear", "dequantized", "activation_scale"]
