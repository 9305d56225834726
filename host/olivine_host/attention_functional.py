"""`attention` on one's own numpy arrays: quantize, run on a backend, return float."""

import math
from dataclasses import dataclass

import numpy as np
from olivine.attention.descriptor import HEAD_DIM_STEP, OutputFormat
from olivine.linear.descriptor import RowFormat

from .arguments import choice, chosen_backend, positive, real_array
from .masks import UNKNOWN, Mask, find_mask
from .recipe import FORMATS
from .rows import quantize_rows, symmetric_scale

__all__ = ["QuantizedAttention", "attention"]

O_FORMATS = {member.bits: member for member in OutputFormat if member is not OutputFormat.PARTIAL}
Q_FORMAT = RowFormat.INT12

MAX_ROWS, MAX_HEADS, MAX_GROUPS = (1 << 20) - 1, (1 << 9) - 1, (1 << 16) - 1
"""What the table's ``rows`` and the descriptor's ``heads`` and ``groups`` hold."""


@dataclass(frozen=True)
class QuantizedAttention:
    """Attention in integers.

    Parameters
    ----------
    groups : list of olivine_golden.attention.Group
        One for each KV head of each batch element.
    options : dict
        Of `olivine_host.attention_jobs.AttentionJob`: mask and formats.
    q_scale, k_scale, v_scale, o_scale : float64 [KV heads]
        Value of one step.
    """

    groups: list
    options: dict
    q_scale: np.ndarray
    k_scale: np.ndarray
    v_scale: np.ndarray
    o_scale: np.ndarray


def _operands(q, k, v):
    """q [batch, H, T, d], k and v [batch, KV heads, S, d], and the shape of the result."""
    q, k, v = (real_array(name, value) for name, value in (("q", q), ("k", k), ("v", v)))
    for name, value in (("q", q), ("k", k), ("v", v)):
        if value.ndim < 3:
            raise ValueError(f"{name} has shape {value.shape}: must be [..., heads, tokens, d]")
    if k.shape != v.shape:
        raise ValueError(f"k has shape {k.shape} and v {v.shape}: must be the same")
    if q.shape[:-3] != k.shape[:-3] or q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q has shape {q.shape} and k {k.shape}: batch and d must be the same")
    if q.shape[-3] % k.shape[-3]:
        raise ValueError(f"q has {q.shape[-3]} heads and k {k.shape[-3]}: must be a multiple")
    shape = q.shape
    return *(value.reshape(-1, *value.shape[-3:]) for value in (q, k, v)), shape


def _mask_of(mask, is_causal, window, position, shape, kv_heads, keys):
    """The `Mask` of the groups; ``shape`` is that of q."""
    *batch, heads, tokens, _ = shape
    groups = math.prod(batch) * kv_heads
    if not isinstance(window, (int, np.integer)) or not 0 <= window < 1 << 20:
        raise ValueError(f"window is {window!r}: must be 0 (none) to {(1 << 20) - 1}")
    if mask is None:
        if position is None:
            position = keys - tokens
        if not isinstance(position, (int, np.integer)) or not -1 << 23 <= position < 1 << 23:
            raise ValueError(f"position is {position!r}: must be an integer of 24 bits")
        return Mask(bool(is_causal), int(window), [keys] * groups, [int(position)] * groups)
    if is_causal or window or position is not None:
        raise ValueError("mask is given: is_causal, window and position must not be")
    mask = np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask has dtype {mask.dtype}: must be bool, True where a query sees a key")
    try:
        mask = np.broadcast_to(mask, (*batch, heads, tokens, keys))
    except ValueError:
        raise ValueError(f"mask has shape {mask.shape}: must broadcast to "
                         f"{(*batch, heads, tokens, keys)}") from None
    shared = mask.reshape(groups, heads // kv_heads, tokens, keys)
    if (shared != shared[:, :1]).any():
        raise ValueError(UNKNOWN)
    return find_mask(shared[:, 0])


def _scales(name, given, kv_heads, largest):
    """A scale for each KV head: as given, or by ``largest`` from the data."""
    if given is None:
        return np.array([largest(head) for head in range(kv_heads)])
    given = np.asarray(given, np.float64)
    if given.shape not in ((), (kv_heads,)):
        raise ValueError(f"{name} has shape {given.shape}: must be one number or {kv_heads}, one for each KV head")
    return np.array([positive(name, value) for value in np.broadcast_to(given, kv_heads)])


def _quantize(q, k, v, mask, scale, kv_format, o_format, given):
    """The `QuantizedAttention` of checked operands."""
    # The golden model and the quantizer import more than the check of arguments needs.
    from olivine_golden.attention import Group

    from .quantize.heads import head_codes, head_format, head_scale, output_scale, score_scale
    batch, heads, tokens, d = q.shape
    kv_heads, sharing = k.shape[1], heads // k.shape[1]
    by_head = [np.moveaxis(part, 1, 0).reshape(kv_heads, -1, d) for part in (k, v)]
    formats = [head_format(part, FORMATS[kv_format]) for part in by_head]
    q = np.moveaxis(q.reshape(batch, kv_heads, sharing, tokens, d), 3, 2)
    scales = {
        "q": _scales("q_scale", given["q"], kv_heads,
                     lambda head: symmetric_scale(np.abs(q[:, head]).max(), Q_FORMAT)),
        "k": _scales("k_scale", given["k"], kv_heads, lambda head: head_scale(by_head[0][head], formats[0])[0]),
        "v": _scales("v_scale", given["v"], kv_heads, lambda head: head_scale(by_head[1][head], formats[1])[0]),
    }
    codes = [[[head_codes(part[element, head], scales[name][head], fmt) for head in range(kv_heads)]
              for element in range(batch)] for part, name, fmt in ((k, "k", formats[0]), (v, "v", formats[1]))]

    # A mean of values is no larger than the largest of them.
    def reach(head):
        return symmetric_scale(scales["v"][head] * _largest(codes[1], head, formats[1]),
                               RowFormat[o_format.name])

    scales["o"] = _scales("o_scale", given["o"], kv_heads, reach)
    groups = []
    for element in range(batch):
        for head in range(kv_heads):
            index = element * kv_heads + head
            keys = mask.keys[index]
            score_mult, score_shift = score_scale(scales["q"][head], scales["k"][head], scale)
            o_mult, o_shift = output_scale(scales["v"][head], scales["o"][head])
            rows = quantize_rows(q[element, head].reshape(-1, d), scales["q"][head], Q_FORMAT)
            groups.append(Group(rows, codes[0][element][head][:keys], codes[1][element][head][:keys],
                                position=mask.positions[index], score_mult=score_mult, score_shift=score_shift,
                                o_mult=o_mult, o_shift=o_shift))
    options = {"heads": sharing, "causal": mask.causal, "window": mask.window, "key_format": formats[0],
               "value_format": formats[1], "q_format": Q_FORMAT, "o_format": o_format}
    return QuantizedAttention(groups, options, *(scales[name] for name in "qkvo"))


def _largest(codes, head, lane_format):
    """Largest magnitude that the codes of a head stand for, in all batch elements."""
    from olivine.olive.formats import LaneFormat
    from olivine_golden.ovp import decode_codes
    if lane_format is LaneFormat.INT8:
        return max(int(np.abs(part[head].view(np.int8).astype(int)).max()) for part in codes)
    return max(int(np.abs(decode_codes(part[head].T, lane_format)).max()) for part in codes)


def attention(q, k, v, mask=None, *, is_causal=False, window=0, position=None, scale=None, q_scale=None,
              k_scale=None, v_scale=None, o_scale=None, kv_format="int8", o_bits=16, return_lse=False,
              backend="golden", preset="edge", config=None, details=False):
    """Softmax attention as Olivine computes it, with the shapes of
    `torch.nn.functional.scaled_dot_product_attention`.

    Parameters
    ----------
    q : array [..., H, T, d]
        Queries, real and finite.
    k, v : array [..., KV heads, S, d]
        H is a multiple of the KV heads; consecutive query heads share one.
    mask : bool array or None
        Broadcasts to [..., H, T, S], True where a query sees a key. Masks that the hardware has: none, the
        first n keys of a batch element, causal, causal with a window.
    is_causal : bool
        A query sees no key after its own position.
    window : int
        A query sees the latest ``window`` positions up to its own (without ``is_causal``, all after it too);
        0 for no window.
    position : int or None
        Of the first query; key j has position j. None means S - T: the queries are the latest tokens.
        (PyTorch's ``is_causal`` means 0, which is the same where S = T.)
    scale : float or None
        Of the scores; 1/sqrt(d) if None.
    q_scale, k_scale, v_scale, o_scale : float, array [KV heads] or None
        Value of one step of the integers. By default the largest magnitude of ``q``, ``k`` and ``v``, and
        of what their means can reach, just fits, head by head; 4-bit keys and values take the scale of least
        squared error. A deployed model has static scales, from calibration, and should give them.
    kv_format : str
        ``"int8"``, ``"ovp4"`` (the better of its int and flint types) or ``"int4"``.
    o_bits : int
        8, 12 or 16.
    return_lse : bool
        Return the logarithms of the softmax denominators as well.
    backend : str or Backend
        ``"golden"``, ``"verilator"`` or ``"icarus"``: the results are the same bits. Or an object as
        `olivine_host.backends.get_backend` returns.
    preset : str
    config : AcceleratorConfig or None
        Instead of a preset.
    details : bool
        Return more.

    Returns
    -------
    y : float64 [..., H, T, d]
        0 where a query sees no key.
    lse : float64 [..., H, T]
        Only with ``return_lse``: natural logarithms, -inf where a query sees no key.
    result : AttentionResult, quantized : QuantizedAttention
        Only with ``details``: integer results and the job's status, and what was run.

    Raises
    ------
    TypeError, ValueError
        Naming what is wrong: a dtype, a shape, a value that is not finite, an unknown name, a mask that the
        hardware has not, a size that the configuration does not hold.
    """
    q, k, v, shape = _operands(q, k, v)
    o_format = choice("o_bits", o_bits, O_FORMATS)
    choice("kv_format", kv_format, FORMATS)
    tokens, d = shape[-2:]
    batch, kv_heads, keys, _ = k.shape
    sharing = shape[-3] // kv_heads
    backend = chosen_backend(backend, preset, config)
    limits = backend.config
    padded = -(-d // HEAD_DIM_STEP) * HEAD_DIM_STEP
    for name, size, most in (
            ("d", d, limits.max_head_dim), ("S", keys, limits.max_sequence), ("T times heads of a KV head",
             tokens * sharing, MAX_ROWS), ("heads of a KV head", sharing, MAX_HEADS),
            ("batch times KV heads", batch * kv_heads, MAX_GROUPS)):
        if size > most:
            raise ValueError(f"{name} is {size}: {limits.name!r} holds at most {most}")
    found = _mask_of(mask, is_causal, window, position, shape, kv_heads, keys)
    scale = d ** -0.5 if scale is None else positive("scale", scale)
    if padded > d:
        # Zeros add nothing to a score.
        q, k, v = (np.pad(part, ((0, 0),) * 3 + ((0, padded - d),)) for part in (q, k, v))
    quantized = _quantize(q, k, v, found, scale, kv_format, o_format,
                          {"q": q_scale, "k": k_scale, "v": v_scale, "o": o_scale})
    result = backend.run_attention(quantized.groups, **quantized.options, lse=bool(return_lse))

    def by_head(parts):
        """[group][token * sharing, ...] as [..., H, T, ...]."""
        whole = np.stack(parts).reshape(batch, kv_heads, tokens, sharing, *parts[0].shape[1:])
        return np.moveaxis(whole, 3, 2).reshape(*shape[:-1], *parts[0].shape[1:])

    steps = np.tile(quantized.o_scale, batch)
    returned = [by_head([output.y * step for output, step in zip(result.outputs, steps)])[..., :d]]
    if return_lse:
        from olivine_golden.attention import LSE_EMPTY
        returned.append(by_head([np.where(output.lse == LSE_EMPTY, -np.inf, output.lse / 256 * math.log(2))
                                 for output in result.outputs]))
    if details:
        returned += [result, quantized]
    return returned[0] if len(returned) == 1 else tuple(returned)
