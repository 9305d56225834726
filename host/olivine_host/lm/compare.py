"""Where integers and float part: the error of every stage of every layer on the same text."""

import numpy as np
from olivine_golden.decoder.forward import Decoder

__all__ = ["stage_errors"]


def stage_errors(model, decoder, lanes, ids):
    """Relative error of the integer rows to the float ones after each stage.

    Of each tensor (of q, k and v: each head) the scale is taken that fits best, so that the error is that of the
    direction: ``sqrt(1 - cos**2)``, over all rows.

    Parameters
    ----------
    model : FloatModel
    decoder : QuantizedDecoder
    lanes : int
    ids : int array [windows, tokens]

    Returns
    -------
    dict
        Errors by (layer, stage) in order, as `Decoder` names them.
    """
    wanted, errors, d = {}, {}, model.config.head_dim

    def keep(layer, stage, rows):
        wanted[layer, stage] = rows.reshape(ids.size, -1).astype(np.float64)

    def compare(layer, stage, rows):
        reference = wanted[layer, stage]
        parts = range(0, rows.shape[1], d if stage == "qkv" else rows.shape[1])
        cut = [(rows[:, at:at + d], reference[:, at:at + d]) if stage == "qkv" else (rows, reference) for at in parts]
        squares = [(_dot(b, b), _dot(a, b) ** 2 / max(_dot(a, a), 1e-30)) for a, b in cut]
        whole, kept = map(sum, zip(*squares))
        errors[layer, stage] = float(np.sqrt(max(1 - kept / whole, 0.0)))

    model.forward(ids, keep)
    Decoder(decoder, lanes, compare).forward(ids)
    return errors


def _dot(a, b):
    return float(np.einsum("rc,rc->", a, b))
