"""From real scales to the numbers of a `QuantizedDecoder`: tables, norms, activations, heads."""

import numpy as np
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import BETA_FRACTION, FUNCTION_FRACTION, LINEAR_BITS, NORMAL_FRACTION, RESIDUAL_FRACTION
from olivine_golden.decoder.model import Activation, AttentionScales, Embedding, Factor, Norm

from ..quantize.heads import output_scale, score_scale
from ..quantize.scales import factor_of

__all__ = ["RESIDUAL_STEP", "activation", "attention_scales", "embedding", "fraction_of", "norm", "residual_add"]

RESIDUAL_STEP = 2.0 ** -RESIDUAL_FRACTION

_LARGEST = (1 << LINEAR_BITS - 1) - 1


def residual_add(scale):
    """`Factor` that brings values in steps of ``scale`` to the residual stream."""
    return Factor(*factor_of("what is added to the residual stream", scale / RESIDUAL_STEP))


def embedding(table):
    """`Embedding` of float rows: int16, one scale."""
    scale = float(np.abs(table).max()) / _LARGEST or 1.0
    return Embedding(np.rint(table / scale).astype(np.int16), residual_add(scale))


def norm(gamma, beta, scale):
    """`Norm` whose results are in steps of ``scale``."""
    # A gamma of one step a deviation has this shift.
    unit = NORMAL_FRACTION - BETA_FRACTION
    steps = np.asarray(gamma, np.float64) / scale
    largest = float(np.abs(steps).max())
    shift = unit + (int(np.floor(np.log2(_LARGEST / largest))) if largest else 0)
    if shift < 0:
        raise ValueError(f"gamma is up to {largest:g} steps of the norm's results: at most {_LARGEST << unit}")
    shift = min(shift, 63)
    beta = np.rint(np.asarray(beta, np.float64) / scale * (1 << BETA_FRACTION))
    return Norm(np.rint(np.ldexp(steps, shift - unit)).astype(np.int16),
                np.clip(beta, -_LARGEST - 1, _LARGEST).astype(np.int16), shift)


def fraction_of(largest):
    """Most fractional bits, 8 to 12, with which int16 holds ``largest``; 8 where none do."""
    return next((fraction for fraction in range(FUNCTION_FRACTION, 8, -1)
                 if largest * (1 << fraction) <= _LARGEST), 8)


def activation(fraction, scale):
    """`Activation` with results in steps of ``scale``."""
    return Activation(fraction, *factor_of("activations", 2.0 ** -FUNCTION_FRACTION / scale))


def attention_scales(config, lane_formats, *, q, k, v, stored_k, stored_v, o, attention_scale):
    """`AttentionScales` from real values of one step.

    Parameters
    ----------
    lane_formats : (LaneFormat, LaneFormat)
        Of stored keys and values.
    q : float [heads]
    k, v, stored_k, stored_v : float [kv_heads]
        As the linear layer gives them, and as the cache stores them.
    o : float
    attention_scale : float
    """
    # In 4 bit an append requantizes to half units.
    units = [1 if lane_format is LaneFormat.INT8 else 2 for lane_format in lane_formats]
    share = np.arange(config.heads) // config.group
    columns = [
        [factor_of("keys", unit * ratio) for unit, ratio in zip([units[0]] * len(k), np.divide(k, stored_k))],
        [factor_of("values", unit * ratio) for unit, ratio in zip([units[1]] * len(v), np.divide(v, stored_v))],
        [score_scale(float(scale), float(stored_k[kv]), attention_scale) for scale, kv in zip(q, share)],
        [output_scale(float(stored_v[kv]), o) for kv in share],
    ]
    return AttentionScales(*(np.array(part, np.int64) for column in columns for part in zip(*column)))
