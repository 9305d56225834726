"""Static scales of activations: one per tensor, from samples."""

import numpy as np

__all__ = ["ACTIVATION_METHODS", "activation_scale"]

ACTIVATION_METHODS = ("max", "mse")

_FACTORS = np.arange(1.0, 0.0, -0.02)
"""Clipping points that "mse" tries, as fractions of the largest magnitude."""

_SAMPLES = 1 << 18
"""Values on which "mse" measures rounding. What clipping costs is always measured on all: a few channels
that reach far beyond the others carry most of the signal, and a sample may miss them."""


def activation_scale(samples, bits, method="max"):
    """Real value of one step of a symmetric ``bits``-bit integer.

    Parameters
    ----------
    samples : float array
        Activations of the tensor on calibration inputs, any shape.
    bits : int
        2 to 16.
    method : str
        "max" clips nothing seen; "mse" takes the clipping point of least squared error.

    Returns
    -------
    float
        1 where all samples are 0.

    Raises
    ------
    ValueError
        If there are no samples, one is not finite, or a parameter is not as above.
    """
    if method not in ACTIVATION_METHODS:
        raise ValueError(f"method is {method!r}: allowed are {', '.join(map(repr, ACTIVATION_METHODS))}")
    if bits not in range(2, 17):
        raise ValueError(f"bits is {bits!r}: allowed are 2 to 16")
    values = np.abs(np.asarray(samples, dtype=np.float64)).ravel()
    if not values.size:
        raise ValueError("samples is empty: calibration needs at least one value")
    largest = values.max()
    if not np.isfinite(largest):
        raise ValueError("samples has a value that is not finite")
    if largest == 0:
        return 1.0
    top = (1 << bits - 1) - 1
    whole = largest / top
    if method == "max":
        return float(whole)
    sample = values
    if values.size > _SAMPLES:
        sample = values[np.random.default_rng(0).integers(0, values.size, _SAMPLES)]
    errors = []
    # From the lowest clipping point up, so that the values to be clipped only become fewer.
    beyond = values
    for scale in whole * _FACTORS[::-1]:
        beyond = beyond[beyond > top * scale]
        clipped = np.square(beyond - top * scale).sum()
        inside = sample[sample <= top * scale]
        rounded = np.square(inside - np.rint(inside / scale) * scale).sum() * (values.size / sample.size)
        errors.append(clipped + rounded)
    return float(whole * _FACTORS[::-1][int(np.argmin(errors))])
