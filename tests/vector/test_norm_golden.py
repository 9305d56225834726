"""Golden model of the normalisations against exact arithmetic on the same integers: errors are as stated."""

import math

import numpy as np
import pytest
from olivine_golden.vector import NormJob, normalise_rows
from olivine_golden.vector.norm import NormRows, normal, normalise, statistics, sums
from olivine_golden.vector.rsqrt import BASE, SLOPE, rsqrt

LOW, HIGH = -1 << 23, (1 << 23) - 1
EPSILONS = (0, 1e-12, 1e-5)
CHANNELS = (1, 2, 3, 64, 127, 768, 1000, 4095, 4096)


def inputs(channels, rng):
    """Rows that are ordinary, that have an outlier, that hardly vary and that do not."""
    ordinary = rng.normal(0, np.array([[1], [30], [1024], [2e4], [1e6]]), (5, channels)).round()
    outlier = np.zeros((7, channels))
    outlier[0, 0], outlier[1, 0], outlier[2, -1] = 1, HIGH, LOW
    outlier[3], outlier[4] = HIGH - 5, LOW
    outlier[3, 0] -= 1
    outlier[4, 0] += 1
    outlier[5] = rng.normal(0, 1000, channels).round()
    outlier[5, channels // 2] = HIGH
    outlier[6] = rng.integers(LOW, HIGH + 1, channels)
    far = rng.integers(LOW + 9, HIGH - 9, (4, 1))
    tiny = far + rng.integers(-1, 2, (4, channels))
    constant = np.repeat([[0], [1], [HIGH], [LOW], [-777_777]], channels, 1)
    return np.concatenate([np.clip(ordinary, LOW, HIGH), outlier, tiny, constant]).astype(np.int64)


def exact(x, job):
    """Normalised rows, and the deviation of each in steps of the residual."""
    channels = x.shape[1]
    values, deviations = [], []
    for row, total, squares in zip(x, *sums(x)):
        variance = channels * squares - (total ** 2 if job.centred else 0) + job.epsilon
        moved = channels * row.astype(object) - (total if job.centred else 0)
        root = np.sqrt(np.longdouble(variance))
        values.append(moved.astype(np.longdouble) / root if variance else np.zeros(channels))
        deviations.append(root / channels)
    return np.array(values, np.float64), np.array(deviations, np.float64)


@pytest.mark.parametrize("centred", [True, False], ids=["layer", "rms"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_normal_is_within_its_bound(channels, centred):
    x = inputs(channels, np.random.default_rng(channels))
    for eps in EPSILONS:
        job = NormJob.of(channels, eps, centred)
        rows = statistics(job, *sums(x))
        n = normal(x, rows) / 2.0 ** 18
        expected, deviation = exact(x, job)
        error, rms = np.abs(n - expected), np.sqrt((expected ** 2).mean(1))
        # A deviation of 0 is a constant row without epsilon: its n is 0.
        steps = 2.0 ** -18 / np.maximum(deviation, 1e-3)[:, None]
        assert (error <= 2.0 ** -15 * np.abs(expected) + 2.0 ** -16.6 + steps).all()
        assert not n[deviation == 0].any()
        relative = np.sqrt((error ** 2).mean(1)) / np.maximum(rms, 2.0 ** -5)
        assert relative.max() < 2.0 ** -11
        assert np.abs(n).max() <= 64


@pytest.mark.parametrize("centred", [True, False], ids=["layer", "rms"])
def test_result_against_float64(centred):
    """Whole definition in double precision: the error's rms is the bound's 2**-11 and the rounding to output steps."""
    rng = np.random.default_rng(7)
    for channels, spread in ((384, 900), (768, 5000), (4096, 100)):
        x = np.clip(rng.normal(300, spread, (16, channels)), LOW, HIGH).round().astype(np.int64)
        x[3, 17] = 400_000
        gamma = rng.integers(-32768, 32768, channels)
        beta = rng.integers(-4000, 4000, channels)
        real = x / 1024
        moved = real - real.mean(1, keepdims=True) * centred
        plain = moved / np.sqrt((moved ** 2).mean(1, keepdims=True) + 1e-5)
        for bits, shift in ((12, 20), (8, 24)):
            y, saturated = normalise_rows(x, NormJob.of(channels, 1e-5, centred), gamma, beta, shift, bits)
            expected = plain * gamma * 2.0 ** (14 - shift) + beta / 16
            inside = ~saturated.astype(bool)
            error = (y - expected)[inside]
            assert np.abs(error).max() < 0.5 + 1 / 32 + 2.0 ** -11 * np.abs(expected).max()
            assert math.sqrt((error ** 2).mean()) < 0.3 + 2.0 ** -11 * math.sqrt((expected ** 2).mean())
            limit = 1 << bits - 1
            assert (y[~inside] == np.clip(expected.round(), -limit, limit - 1)[~inside]).all()
            assert inside.mean() > 0.4


def test_reciprocal_square_root_is_within_its_bound():
    # Both ends of every line's every step, at both parities; powers of two; the largest.
    steps = [index << 12 | step for index in range(64, 256) for step in (0, 1, 2047, 2048, 4095)]
    values = [step << 52 for step in steps] + [(step + 1 << 52) - 1 for step in steps]
    values += [1 << bit for bit in range(72)] + [(2 << bit) - 1 for bit in range(72)] + list(range(1, 5000))
    for value in values:
        exponent, root = rsqrt(value)
        assert 4 ** exponent <= value < 4 ** (exponent + 1)
        assert 1 << 16 <= root < 1 << 17
        assert abs(root * math.sqrt(value / 4 ** exponent) / 2 ** 17 - 1) < 2.0 ** -15.9
    assert rsqrt(0) == (0, 0)
    with pytest.raises(ValueError, match="allowed is 0 to"):
        rsqrt(1 << 72)


def test_lines_fit_their_words():
    assert len(BASE) == len(SLOPE) == 256 and not BASE[:64].any()
    assert 0 <= BASE.min() and BASE.max() < 1 << 21 and 0 <= SLOPE.min() and SLOPE.max() < 1 << 14


def test_means_of_equal_residuals_are_exact():
    for channels in (*range(1, 600), *range(4000, 4097)):
        job = NormJob.of(channels, 0, True)
        assert job.reciprocal < 1 << 54
        values = [LOW, HIGH, 1, -1, 12345]
        rows = statistics(job, [channels * v for v in values], [channels * v * v for v in values])
        assert rows.mean.tolist() == [v << 18 for v in values]
        assert not rows.factor.any()


def test_by_hand():
    # +-512 about 0: a deviation of 512 steps, so n is +-1.
    x = np.array([[512, -512, 512, -512]])
    job = NormJob.of(4, 0, True)
    rows = statistics(job, *sums(x))
    assert [int(v[0]) for v in rows] == [0, (1 << 16) - 1, 10, 15]
    assert normal(x, rows).tolist() == [[262140, -262140] * 2]
    y, saturated = normalise(x, rows, [100, 100, 32767, 5], [0, 3, 0, 40], 14, 12)
    assert y.tolist() == [[100, -100, 2047, -2]] and saturated.tolist() == [[False, False, True, False]]
    # What no statistics give saturates on the way.
    wide = NormRows(*(np.array([v]) for v in (0, 131071, 0, 4)))
    assert normal([[HIGH, LOW]], wide).tolist() == [[(1 << 24) - 1, -1 << 24]]


def test_refusals():
    with pytest.raises(ValueError, match="channels is 4097: allowed is 1 to 4096"):
        NormJob.of(4097, 0, True)
    with pytest.raises(ValueError, match="eps is 1: 4096 channels allow 0 to 0.000244"):
        NormJob.of(4096, 1, True)
    with pytest.raises(ValueError, match="allowed are 24 bits"):
        sums([[HIGH + 1]])
