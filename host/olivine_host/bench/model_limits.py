"""The fewest cycles of any machine for a step of a language model."""

from olivine.linear.descriptor import Group, run_steps
from olivine.vector.formats import RESIDUAL_BITS
from olivine_golden.decoder.model import LINEARS

from .limits import EPILOGUE_BYTES, Limit

__all__ = ["weight_bytes", "step_limit"]

NORM_BYTES, SCALES_BYTES = 4, 8
"""Parameters of a norm by channel; scales of the cache by KV head."""


def weight_bytes(weights):
    """Codes, group multipliers, biases and requantization of a linear layer."""
    k, n = weights.codes.shape
    groups = 0 if weights.group is Group.CHANNEL else -(-k // run_steps(weights.group))
    return -(-k * n * weights.format.bits // 8) + groups * n + EPILOGUE_BYTES * n


def step_limit(config, decoder, parts, logits_rows, embeds=True):
    """The `Limit` of a step of at most P * C rows, from memory to memory.

    Read are once each: every weight with its scales, the embeddings of the tokens, every key and value that some row
    of a part sees, the step's own included. Written: keys and values of the step, and the logits. What goes from layer
    to layer need not leave the chip. Multiplies: rows with weights, and with the keys and values that they see.

    Parameters
    ----------
    config : AcceleratorConfig
    decoder : QuantizedDecoder
    parts : list of (int, int)
        Tokens before the step and in it, of each sequence; or of `olivine_host.compiler.batch.Part`.
    logits_rows : int
        Rows that go through the head.
    embeds : bool
        Tokens come in; otherwise the residual stream does, and goes out.
    """
    sizes = decoder.config
    parts = [part if isinstance(part, tuple) else (part.start, len(part.tokens)) for part in parts]
    tokens = sum(count for _, count in parts)
    linears = [getattr(layer, name) for layer in decoder.layers for name in LINEARS]
    heads = sizes.layers * sizes.kv_heads
    kv_bytes = sizes.head_dim * (decoder.key_format.bits + decoder.value_format.bits) // 8

    read = sum(map(weight_bytes, linears)) + heads * SCALES_BYTES
    read += (2 * sizes.layers + (logits_rows > 0)) * sizes.d_model * NORM_BYTES
    read += heads * kv_bytes * sum(start + count for start, count in parts)
    written = heads * kv_bytes * tokens
    multiplies = tokens * sum(weights.codes.size for weights in linears)
    seen = sum(start + token + 1 for start, count in parts for token in range(count))
    multiplies += 2 * sizes.layers * sizes.heads * sizes.head_dim * seen
    if embeds:
        read += tokens * sizes.d_model * 2 * 2
    else:
        read += tokens * sizes.d_model * RESIDUAL_BITS // 8
        written += tokens * sizes.d_model * RESIDUAL_BITS // 8
    if logits_rows:
        read += weight_bytes(decoder.head)
        written += logits_rows * sizes.vocab * 2
        multiplies += logits_rows * decoder.head.codes.size
    return Limit(bytes_read=read, bytes_written=written, multiplies=multiplies, bus_bytes=config.bus_bytes,
                 multipliers=config.multipliers)
