"""Fine-tuning: the fake quantizer rounds as the real one does, and what was trained is what the file holds."""

import numpy as np
import pytest
import torch
from olivine.linear.descriptor import Group, RowFormat
from olivine.olive.formats import LaneFormat
from olivine_golden.linear import decode
from olivine_host.lm.fake import FakeQuantizer
from olivine_host.lm.finetune import FineTuning, finetune
from olivine_host.lm.gpt2 import from_transformers
from olivine_host.lm.quantize import Grid, Pipeline
from olivine_host.lm.recipe import LMRecipe
from olivine_host.quantize import dequantized, quantize_linear
from olivine_host.quantize.codes import codebook

from tests.host.lm_models import tiny_gpt2

IDS = np.random.default_rng(3).integers(0, 60, 2000)


@pytest.mark.parametrize("lane_format", LaneFormat)
def test_values_are_those_of_the_codes(lane_format):
    book = codebook(lane_format)
    quantizer = FakeQuantizer(Grid(lane_format, np.ones((1, 600))), 7, 7)
    rng = np.random.default_rng(1)
    # Multiples of a half are where ties are; all products with 1 are exact in float32.
    q = np.concatenate([rng.integers(-500, 500, (300, 7)) / 4, rng.normal(0, 6, (300, 7))]).astype(np.float32)
    wanted = book.columns(q.T.astype(np.float64))[1].T
    got = quantizer.values(torch.from_numpy(q)).numpy()
    equal = got == wanted
    # In float32 the errors of two kinds of pair can be equal where in float64 they are not.
    assert equal.mean() > 0.999
    if lane_format in (LaneFormat.INT8, LaneFormat.INT4):
        assert equal.all()


@pytest.mark.parametrize("group", Group)
def test_grid_survives_the_quantizer(group):
    w = np.random.default_rng(2).standard_t(4, (20, 200))
    first = quantize_linear(w, None, x_scale=0.01, y_scale=0.02, y_format=RowFormat.INT16, group=group)
    quantizer = FakeQuantizer.of(first)
    rounded = quantizer(torch.from_numpy(w).float()).numpy()
    np.testing.assert_allclose(rounded, dequantized(first.weights, x_scale=0.01, y_scale=0.02), atol=1e-5)
    # With other scales of rows and results: the same codes on the same grid.
    second = quantize_linear(w, None, x_scale=0.03, y_scale=0.01, y_format=RowFormat.INT16, group=group,
                             format=quantizer.grid.format, scales=quantizer.grid.scales)
    assert (second.weights.codes == first.weights.codes).mean() > 0.999
    np.testing.assert_allclose(FakeQuantizer.of(second).grid.scales, quantizer.grid.scales, rtol=2e-5)


def test_gradient_goes_straight_through():
    weight = torch.nn.Parameter(torch.randn(8, 64, generator=torch.Generator().manual_seed(1)))
    quantizer = FakeQuantizer(Grid(LaneFormat.OVP4_INT, np.full((1, 8), 0.3)), 64, 64)
    out = quantizer(weight)
    assert (out != weight).any()
    (out * 3).sum().backward()
    np.testing.assert_allclose(weight.grad, np.full((8, 64), 3.0))


@pytest.mark.parametrize("fields", [{}, {"tie_word_embeddings": False, "n_embd": 30, "n_head": 3}], ids=str)
def test_tuning_learns_what_the_file_holds(fields):
    model = from_transformers(tiny_gpt2(**fields))
    recipe, windows = LMRecipe("ovp4", method="nearest"), IDS[:240].reshape(10, 24)
    start = Pipeline(model, windows, recipe)
    start.run()
    settings, steps = FineTuning(steps=60, batch=16, rate=1e-3, warmup=4), []
    tuned = finetune(model, start.linears, IDS, settings, lambda step, loss: steps.append((step, loss)))
    assert [step for step, _ in steps] == list(range(1, 61)) and [entry["step"] for entry in tuned.log] == [20, 40, 60]
    assert np.mean([loss for _, loss in steps[-5:]]) < 0.75 * np.mean([loss for _, loss in steps[:5]])
    assert (tuned.model.head.weight is tuned.model.token) == (model.head.weight is model.token)
    pipeline = Pipeline(tuned.model, windows, recipe, grids=tuned.grids)
    pipeline.run()
    for name, quantized in pipeline.linears.items():
        weight = tuned.model.head.weight if name[1] == "head" else getattr(tuned.model.layers[name[0]], name[1]).weight
        grid = tuned.grids[name]
        run = -(-weight.shape[1] // len(grid.scales)) if len(grid.scales) == 1 else 64
        scale = np.repeat(grid.scales, run, axis=0)[:weight.shape[1]]
        wanted = codebook(grid.format).columns(weight.T.astype(np.float64) / scale)[1]
        # The hardware's scales have 16 bits: a weight that lies on the edge may fall to the other side.
        assert (decode(quantized.weights) == wanted).mean() > 0.995, name


def test_same_seed_same_model():
    model = from_transformers(tiny_gpt2())
    start, settings = Pipeline(model, IDS[:48].reshape(2, 24), LMRecipe()), FineTuning(steps=3, batch=2, warmup=2)
    start.run()
    first, second = (finetune(model, start.linears, IDS, settings).model.layers[1].up.weight for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="24 tokens"):
        finetune(model, start.linears, IDS[:24], settings)


def test_rate_rises_and_falls():
    settings = FineTuning(steps=100, warmup=10, rate=1.0)
    rates = [settings.rate_at(step) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1.0 and rates.index(1.0) == 9 and rates[-1] < 0.001
