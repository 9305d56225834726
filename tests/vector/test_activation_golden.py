"""Golden model of the activations: every int16 argument at every fraction, within the stated errors."""

import numpy as np
import pytest
import torch
from olivine.vector.formats import Function
from olivine_golden.vector import activate, gate
from olivine_golden.vector.activation import BASE, SLOPE, _tail, exact, function

ALL = np.arange(-32768, 32768)
BOUND = {Function.IDENTITY: 0, Function.RELU: 0, Function.GELU_TANH: 2.0 ** -10.9, Function.GELU_ERF: 2.0 ** -10.9,
         Function.SILU: 2.0 ** -11.4}


@pytest.mark.parametrize("fraction", range(8, 13))
@pytest.mark.parametrize("kind", Function, ids=lambda kind: kind.name.lower())
def test_every_argument_is_within_its_bound(kind, fraction):
    f = function(kind, ALL, fraction)
    assert np.abs(f / 4096 - exact(kind, ALL / 2.0 ** fraction)).max() <= BOUND[kind] <= 2.0 ** -10
    assert f[32768] == 0, "the function of 0 is 0"
    assert f.min() >= -1 << 19 and f.max() < 1 << 19


@pytest.mark.parametrize("kind, reference", [
    (Function.GELU_TANH, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    (Function.GELU_ERF, torch.nn.functional.gelu), (Function.SILU, torch.nn.functional.silu),
    (Function.RELU, torch.relu)])
def test_double_precision_is_torch(kind, reference):
    x = np.linspace(-130, 130, 40_001)
    assert np.abs(exact(kind, x) - reference(torch.from_numpy(x)).numpy()).max() < 1e-12


def test_what_lies_beyond_the_lines():
    assert _tail(Function.GELU_TANH, 8) < 1e-14 and _tail(Function.GELU_ERF, 8) < 1e-14
    assert _tail(Function.SILU, 16) < 2e-6
    for kind in (Function.GELU_TANH, Function.GELU_ERF, Function.SILU):
        assert function(kind, [16 << 8, 127 << 8, -16 << 8, -128 << 8], 8).tolist() == [16 << 12, 127 << 12, 0, 0]


def test_lines_fit_their_words_and_are_far_from_ties():
    assert BASE.min() >= 0 and BASE.max() < 1 << 15 and -1 << 11 <= SLOPE.min() and SLOPE.max() < 1 << 11


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_requantization(bits):
    y, saturated = activate(Function.SILU, ALL, 12, 40_000, 20, bits)
    expected = exact(Function.SILU, ALL / 4096) * 4096 * 40_000 / 2 ** 20
    limit = 1 << bits - 1
    inside = ~saturated
    assert np.abs(y - expected)[inside].max() < 0.5 + 2.0 ** -10 * 4096 * 40_000 / 2 ** 20
    assert (y[saturated] == limit - 1).all() and saturated.any() == (bits == 8)


def test_by_hand():
    assert activate(Function.IDENTITY, [-32768, 32767, 3, -3], 11, 1, 2, 16).y.tolist() == [-16384, 16384, 2, -1]
    assert activate(Function.RELU, [-5, 5, 300], 12, 65535, 16, 8).y.tolist() == [0, 5, 127]
    assert gate([-32768, -32768, 3, 3, 100], [-32768, 32767, 1, -1, 300], 1, 12).y.tolist() == \
        [2047, -2048, 2, -1, 2047]
    assert gate([-32768], [-32768], 30, 12).y.tolist() == [1]


def test_refusals():
    with pytest.raises(ValueError, match="fraction is 7: allowed is 8 to 12"):
        function(Function.RELU, [0], 7)
    with pytest.raises(ValueError, match="must be int16"):
        function(Function.RELU, [32768], 8)
