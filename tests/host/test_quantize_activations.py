"""Static scales of activations."""

import numpy as np
import pytest
from olivine_host.quantize import activation_scale


def test_max_covers_everything():
    x = np.array([[1.0, -4.0], [2.0, 3.0]])
    assert activation_scale(x, 12) == 4.0 / 2047
    assert activation_scale(-x, 8, "max") == 4.0 / 127
    assert activation_scale(np.zeros(5), 8) == 1.0


@pytest.mark.parametrize("bits, size", [(4, 20_000), (8, 20_000), (12, 20_000), (6, 1_500_000)])
def test_mse_is_the_best_clip(bits, size):
    x = np.random.default_rng(0).laplace(size=size)
    top = (1 << bits - 1) - 1

    def error(scale):
        return np.square(np.clip(np.rint(x / scale), -top, top) * scale - x).sum()

    scale = activation_scale(x, bits, "mse")
    tried = [error(activation_scale(x, bits) * fraction / 50) for fraction in range(1, 51)]
    # Many samples are thinned where rounding is measured.
    assert error(scale) == pytest.approx(min(tried), rel=1e-6 if size < 100_000 else 2e-3)
    assert scale <= activation_scale(x, bits)
    assert bits > 8 or scale < 0.95 * activation_scale(x, bits)


@pytest.mark.parametrize("channels", [4, 16, 384])
def test_mse_keeps_a_channel_that_reaches_far(channels):
    """One channel carries the signal; a sample taken by strides would miss it."""
    x = np.random.default_rng(1).standard_normal((2_000_000 // channels, channels)).astype(np.float32)
    x[:, 1] += 100
    assert activation_scale(x, 12, "mse") > 0.9 * activation_scale(x, 12)


@pytest.mark.parametrize("samples, bits, method, message", [
    ([1.0], 12, "best", "method is 'best': allowed are 'max', 'mse'"),
    ([1.0], 17, "max", "bits is 17: allowed are 2 to 16"),
    ([], 8, "max", "samples is empty"),
    ([1.0, np.inf], 8, "max", "samples has a value that is not finite"),
    ([1.0, np.nan], 8, "mse", "samples has a value that is not finite"),
])
def test_refuses(samples, bits, method, message):
    with pytest.raises(ValueError, match=message):
        activation_scale(samples, bits, method)
