"""`olivine run --layer`: what it shows, what it refuses, and that it fails where the RTL is wrong."""

import io

import pytest
from click.testing import CliRunner
from olivine.control.job import StatusCode
from olivine_host.backends import AttentionResult, GoldenBackend, LinearResult
from olivine_host.cli import olivine, run_layer
from olivine_host.cli.run_view import View
from olivine_host.minilm.model import STAGES
from olivine_host.minilm.pipeline import LayerReport, StageReport
from olivine_host.simulation.run import JobFailed
from olivine_host.text import CALIBRATION, DEFAULT
from rich.console import Console

CYCLES = 4 * 64 * 384 * 384 // 512
"""Made up: the time that 512 multipliers take for four times the attention output's multiplies."""


class Simulator(GoldenBackend):
    """Stands in for a simulator: the golden model's bits and made-up counters.

    ``wrong`` is the number of output channels of the linear layer that gets a wrong bit, or "attention".
    """

    name = "verilator"

    def __init__(self, config, progress, wrong=None, fails=False):
        super().__init__(config)
        self.progress, self.wrong, self.fails = progress, wrong, fails

    def run_linear(self, weights, x_int, x_format, y_format):
        if self.fails:
            raise JobFailed({"code": StatusCode.READ_SLVERR, "detail": 0, "address": 0x1234})
        result = super().run_linear(weights, x_int, x_format, y_format)
        self.progress(0.5)
        y = result.y.copy()
        k, n = weights.codes.shape
        if n == self.wrong:
            y[0, 0] += 1
        return LinearResult(y, {**result.status, "code": StatusCode.OK, "cycles": CYCLES,
                                "array_useful": len(x_int) * k * n, "beats_read": CYCLES // 2}, 0.1)

    def run_attention(self, groups, **options):
        result = super().run_attention(groups, **options)
        if self.wrong == "attention":
            result.outputs[-1].y[-1, -1] ^= 1
        return AttentionResult(result.outputs, {**result.status, "code": StatusCode.OK, "cycles": CYCLES,
                                                "array_useful": CYCLES * 256, "beats_read": 0}, 0.1)


@pytest.fixture
def few_sentences(monkeypatch):
    monkeypatch.setattr(run_layer, "calibration_text", lambda: list(CALIBRATION[:12]))


@pytest.fixture
def simulate(monkeypatch):
    """Puts the stand-in where the simulators are."""
    def install(**options):
        monkeypatch.setattr(run_layer, "get_backend", lambda name, config, waves, progress:
                            Simulator(config, progress, **options))
    return install


def invoke(*arguments):
    return CliRunner().invoke(olivine, ["run", *arguments])


def rows(output):
    """Cells of the table's lines by (layer, stage)."""
    found = {}
    for line in output.splitlines():
        # Longer names first: "attention output" is not "attention".
        for stage in sorted((*STAGES.values(), "layer output"), key=len, reverse=True):
            layer, _, rest = line.strip().partition(" ")
            if layer.isdigit() and rest.strip().startswith(stage):
                found[int(layer), stage] = rest.strip().removeprefix(stage).split()
                break
    return {key: [cell.strip() for cell in cells if cell.strip()] for key, cells in found.items()}


@pytest.mark.usefixtures("few_sentences")
class TestShows:
    def test_golden_run(self):
        result = invoke("--layer", "0", "--backend", "golden")
        assert result.exit_code == 0, result.output
        first = result.output.splitlines()[0]
        assert "MiniLM's linear layers and attention run on the units of Olivine, job by job" in first
        table = rows(result.output)
        assert [stage for _, stage in table] == [*STAGES.values(), "layer output"]
        shape, cosine, *rest = table[0, "ffn down"]
        assert shape == "64x1536x384"
        assert 0.99 < float(cosine) < 1
        assert rest == ["-"] * 4
        assert table[0, "attention"][0] == "64x12x32" and 0.999 < float(table[0, "attention"][1]) < 1
        assert "4 linear layers and the attention of 1 encoder layer(s), 114 million multiplies" in result.output
        assert "The golden integer model ran in place of the Verilog." in result.output
        assert "bit for bit" not in result.output

    def test_simulated_run(self, simulate):
        simulate()
        result = invoke("--layer", "0")
        assert result.exit_code == 0, result.output
        table = rows(result.output)
        # 1 of 4 multiplier cycles was useful in the second, 3 of 4 in the first; a beat in every other cycle.
        assert table[0, "attention output"][2:] == ["yes", str(CYCLES), "0.250", "0.500"]
        assert table[0, "q, k, v"][2:] == ["yes", str(CYCLES), "0.750", "0.500"]
        assert table[0, "attention"][2:] == ["yes", str(CYCLES), "0.500", "0.000"]
        assert "Every result is bit for bit the golden model's." in result.output
        assert f"They took {5 * CYCLES} cycles." in result.output

    def test_all_layers(self):
        result = invoke("--backend", "golden", "--layers", "all")
        assert result.exit_code == 0, result.output
        assert len(rows(result.output)) == 6 * 6
        assert all(sentence in result.output for sentence in DEFAULT)
        assert "Cosine of the sentence vectors to PyTorch: 0.99" in result.output

    def test_own_text_and_layer(self):
        result = invoke("--backend", "golden", "--layer", "1", "--text", "One.", "--text", "And two.")
        assert result.exit_code == 0, result.output
        assert rows(result.output)[1, "q, k, v"][0] == "9x384x1152"
        assert "layer 1; sentences: 2, tokens: 9" in result.output

    def test_formats(self):
        result = invoke("--layer", "0", "--backend", "golden", "--format", "ovp4", "--method", "nearest",
                        "--group", "128")
        assert result.exit_code == 0, result.output
        assert "ovp4 weights in groups of 128, rounded to nearest" in result.output
        assert 0.95 < float(rows(result.output)[0, "layer output"][0]) < 0.9999


@pytest.mark.slow
def test_default_run_on_verilator():
    """The whole of it: preset edge, real calibration text, the generated Verilog."""
    result = invoke("--layer", "0")
    assert result.exit_code == 0, result.output
    assert "Every result is bit for bit the golden model's." in result.output
    table = rows(result.output)
    assert all(float(table[0, stage][1]) > 0.998 for stage in STAGES.values())
    assert all(float(table[0, stage][4]) > 0.8 for stage in STAGES.values() if stage != "attention"), \
        "the multipliers stand idle"
    assert float(table[0, "layer output"][0]) > 0.9995


@pytest.mark.usefixtures("few_sentences")
class TestFails:
    def test_where_the_rtl_is_wrong(self, simulate):
        simulate(wrong=1536)
        result = invoke("--layer", "0")
        assert result.exit_code == 1
        assert rows(result.output)[0, "ffn up"][2] == "NO"
        assert rows(result.output)[0, "ffn down"][2] == "yes"
        assert "the RTL's results differ from the golden model's: layer 0 ffn up" in result.output
        assert "bit for bit" not in result.output

    def test_where_the_attention_is_wrong(self, simulate):
        simulate(wrong="attention")
        result = invoke("--layer", "0")
        assert result.exit_code == 1
        assert [rows(result.output)[0, stage][2] for stage in ("attention", "attention output")] == ["NO", "yes"]
        assert "the RTL's results differ from the golden model's: layer 0 attention" in result.output

    def test_where_the_job_failed(self, simulate):
        simulate(fails=True)
        result = invoke("--layer", "0")
        assert result.exit_code == 1
        assert "READ_SLVERR" in result.output and "0x1234" in result.output

    @pytest.mark.parametrize("message, arguments", [
        ("--layer and --layers exclude each other", ("--layer", "1", "--layers", "all")),
        ("layer is 6: the model has layers 0 to 5", ("--layer", "6", "--backend", "golden")),
        ("choose preset ecp5 or edge", ("--layer", "0", "--preset", "tiny", "--backend", "golden")),
        ("holds reductions of at most 512", ("--layer", "0", "--preset", "tiny", "--backend", "golden")),
        ("sentence ' ' is empty", ("--layers", "all", "--text", " ", "--backend", "golden")),
        ("the golden model has no waveforms", ("--layer", "0", "--waves", "--backend", "golden")),
        ("--prompt, --tokens means nothing for --layer and --layers",
         ("--layer", "0", "--tokens", "3", "--prompt", "x")),
        ("ovp4-tuned is a file of the default model", ("--layers", "all", "--format", "ovp4-tuned")),
        ("'int5' is not one of", ("--format", "int5")),
        ("'vcs' is not one of", ("--backend", "vcs")),
        ("-1 is not in the range", ("--layer", "-1")),
    ])
    def test_on_wrong_options(self, message, arguments):
        result = invoke(*arguments)
        assert result.exit_code not in (0, 1), result.output
        assert message in " ".join(result.output.split())
        assert "Traceback" not in result.output


class TestProgress:
    def view(self, terminal):
        return View(Console(file=io.StringIO(), force_terminal=terminal, width=100))

    def run(self, view, status=()):
        seen = []
        with view.running(2 * 8 * 4 * 2, STAGES):
            for stage in ("qkv", "ffn_up"):
                view.start(3, stage, 8 * 4 * 2)
                view.progress(0.25)
                seen.append(view._bar.tasks[0].completed if view._bar else None)
                view.done(StageReport(3, stage, "8x4x2", 1.0, True, dict(status), 0.5))
        return seen, view.console.file.getvalue()

    def test_terminal_gets_a_bar(self):
        seen, output = self.run(self.view(True))
        assert seen == [16, 64 + 16]
        assert "ffn up" in output and "0.5 s" not in output

    def test_saturation_is_named(self):
        stages = [StageReport(0, "qkv", "8x4x2", 1.0, None, {"sat_output": count, "illegal": 0}, 0.5)
                  for count in (3, 4)]
        view = self.view(False)
        view.summary([LayerReport(0, stages, 0.99)], None, 128, "golden", 1.0)
        output = view.console.file.getvalue()
        assert "sat_output is 7 (results outside their format, saturated)." in output
        assert "illegal" not in output

    def test_elsewhere_plain_lines(self):
        seen, output = self.run(self.view(False), {"cycles": 77})
        assert seen == [None, None]
        assert output.splitlines() == ["layer 3, q, k, v: 8x4x2, 77 cycles, 0.5 s",
                                       "layer 3, ffn up: 8x4x2, 77 cycles, 0.5 s"]
