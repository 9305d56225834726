"""Error-compensated rounding and the sweeps after it."""

import numpy as np
import pytest
from olivine.olive.formats import LaneFormat
from olivine_host.quantize.codes import PAIRS, codebook
from olivine_host.quantize.descent import descend
from olivine_host.quantize.gptq import compensate, damped
from olivine_host.quantize.search import group_scales

RUN = 64


def problem(k=192, n=24, samples=2000, seed=0):
    """Correlated inputs, heavy-tailed weights."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((k // 4, k)) + 0.3 * rng.standard_normal((1, k))
    x = rng.standard_normal((samples, k // 4)) @ mix
    x += 0.2 * rng.standard_normal((samples, k)) * rng.gamma(1, 1, k)
    return rng.standard_t(4, (k, n)) * 0.05, x


def expand(scales, k):
    return np.repeat(scales, RUN, axis=0)[:k]


def cost(w, values, scales, h):
    error = values * expand(scales, len(w)) - w
    return float(np.einsum("kn,kj,jn->", error, h, error))


def nearest(w, scales, book, pairs="least_error"):
    return book.columns(w / expand(scales, len(w)), pairs=pairs)


@pytest.mark.parametrize("format", list(LaneFormat))
@pytest.mark.parametrize("pairs", PAIRS)
def test_identity_hessian_gives_nearest(format, pairs):
    w, _ = problem()
    book = codebook(format)
    scales = group_scales(w, RUN, book, pairs)
    expected = nearest(w, scales, book, pairs)
    h = damped(np.eye(len(w)), len(w))
    codes, values = compensate(w, scales, RUN, book, h, pairs)
    assert np.array_equal(codes, expected[0]) and np.array_equal(values, expected[1])
    descend(w, codes, values, scales, RUN, book, h, pairs)
    assert np.array_equal(codes, expected[0])


@pytest.mark.parametrize("format, margin", [
    (LaneFormat.OVP4_INT, 0.35), (LaneFormat.OVP4_FLINT, 0.35), (LaneFormat.INT4, 0.35),
    (LaneFormat.INT8, 0.5)])
def test_beats_nearest_on_correlated_inputs(format, margin):
    w, x = problem()
    book = codebook(format)
    scales = group_scales(w, RUN, book)
    h = damped(x.T @ x, len(w))
    _, rounded = nearest(w, scales, book)
    _, values = compensate(w, scales, RUN, book, h)
    fresh = problem(seed=0, samples=500)[1]    # other samples of the same mixing matrix
    fresh_h = fresh.T @ fresh
    assert cost(w, values, scales, fresh_h) < margin * cost(w, rounded, scales, fresh_h)


def test_sweeps_improve_and_never_worsen():
    w, x = problem()
    book = codebook(LaneFormat.OVP4_INT)
    scales = group_scales(w, RUN, book)
    h = damped(x.T @ x, len(w))
    codes, values = compensate(w, scales, RUN, book, h)
    costs = [cost(w, values, scales, h)]
    for _ in range(3):
        descend(w, codes, values, scales, RUN, book, h, sweeps=1)
        costs.append(cost(w, values, scales, h))
    assert costs == sorted(costs, reverse=True) and costs[1] < 0.97 * costs[0]
    decoded = dict(zip(book.normal.codes.tolist(), book.normal.values))
    normal = (codes[0::2] != 8) & (codes[1::2] != 8)
    assert all(decoded[c] == v for c, v in zip(codes[0::2][normal].tolist(), values[0::2][normal]))


def test_two_steps_are_block_elimination():
    """After a pair is fixed, the rest moves as the 2 x 2 block of the inverse Hessian says."""
    rng = np.random.default_rng(5)
    k, n = 6, 8
    w = rng.standard_normal((k, n)) * 4
    x = rng.standard_normal((50, k)) @ rng.standard_normal((k, k))
    # Large inputs first, so that the order of elimination is the natural one.
    x *= np.array([9, 9, 3, 3, 1, 1])
    h = damped(x.T @ x, k)
    book = codebook(LaneFormat.OVP4_INT)
    codes, values = compensate(w, np.ones((1, n)), RUN, book, h)
    work, remaining = w.copy(), np.arange(k)
    for j in range(0, k, 2):
        inverse = np.linalg.inv(h[np.ix_(remaining, remaining)])
        u = np.linalg.cholesky(inverse[:2, :2]).T
        expected, chosen = book.pairs(work[j], work[j + 1], (u[0, 0], u[0, 1], u[1, 1]))
        assert np.array_equal(codes[j:j + 2], expected) and np.array_equal(values[j:j + 2], chosen)
        error = work[j:j + 2] - np.stack(chosen)
        work[j + 2:] -= inverse[2:, :2] @ np.linalg.solve(inverse[:2, :2], error)
        remaining = remaining[2:]


def test_long_reductions_cross_blocks():
    """More steps than one block: the lazy update of the rest equals the plain one."""
    w, x = problem(k=320, n=6)
    book = codebook(LaneFormat.OVP4_INT)
    scales = group_scales(w, RUN, book)
    h = damped(x.T @ x, len(w))
    _, values = compensate(w, scales, RUN, book, h)
    order = 2 * np.argsort(-(np.diagonal(h)[0::2] + np.diagonal(h)[1::2]), kind="stable")
    order = np.stack([order, order + 1], 1).ravel()
    work, inverse = w[order].copy(), np.linalg.inv(h[np.ix_(order, order)])
    for j in range(0, len(w), 2):
        s = expand(scales, len(w))[order[j]]
        u = np.linalg.cholesky(inverse[:2, :2]).T
        _, chosen = book.pairs(work[j] / s, work[j + 1] / s, (u[0, 0], u[0, 1], u[1, 1]))
        assert np.array_equal(values[order[j:j + 2]], chosen), j
        gain = inverse[2:, :2] @ np.linalg.inv(inverse[:2, :2])
        work[j + 2:] -= gain @ (work[j:j + 2] - np.stack(chosen) * s)
        inverse = inverse[2:, 2:] - gain @ inverse[:2, 2:]


@pytest.mark.parametrize("hessian, message", [
    (np.eye(3), r"hessian has shape \(3, 3\): must be \(4, 4\)"),
    (np.zeros((4, 4)), "hessian has a mean diagonal of 0.0: must be above 0"),
    (np.full((4, 4), np.nan), "hessian has a value that is not finite"),
])
def test_refuses(hessian, message):
    with pytest.raises(ValueError, match=message):
        damped(hessian, 4)


def test_inputs_never_seen_are_no_trouble():
    w, x = problem(k=64)
    x[:, 10:20] = 0
    book = codebook(LaneFormat.OVP4_INT)
    scales = group_scales(w, RUN, book)
    _, values = compensate(w, scales, RUN, book, damped(x.T @ x, 64))
    _, rounded = nearest(w, scales, book)
    assert np.array_equal(values[10:20], rounded[10:20])
