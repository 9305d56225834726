"""Golden model of rotary positions against exact rotation, in both pairings; the other dimensions stay."""

import numpy as np
import pytest
from olivine_golden.vector.rotary import Pairing, angles, pairs, rotate


@pytest.mark.parametrize("pairing", Pairing)
def test_rotation_is_within_its_bound(pairing):
    rng = np.random.default_rng(1)
    positions, frequencies = rng.integers(0, 4096, 50), 10000.0 ** (-np.arange(16) / 16)
    x = rng.integers(-20000, 20000, (50, 40))
    y, saturated = rotate(x, *angles(positions, frequencies), pairing)
    turned = np.exp(1j * np.outer(positions, frequencies))
    for pair, (first, second) in enumerate(pairs(32, pairing)):
        exact = (x[:, first] + 1j * x[:, second]) * turned[:, pair]
        bound = 0.5 + (abs(x[:, first]) + abs(x[:, second])) * 2.0 ** -15 + 1e-6
        assert (abs(y[:, first] - exact.real) <= bound).all() and (abs(y[:, second] - exact.imag) <= bound).all()
    assert (y[:, 32:] == x[:, 32:]).all() and not saturated.any()
