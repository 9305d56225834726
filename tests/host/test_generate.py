"""`olivine run` as it generates text: figures, trace, comparison, listing, and what the command shows and refuses."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from olivine.config import PRESETS
from olivine.control.instruction import Unit
from olivine.control.job import Stall
from olivine.control.registers import PROGRAM_COUNTERS
from olivine.core.activity import CoreActivity
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_golden.kv_sequence import Policy, heavy, window
from olivine_host.bench.model_limits import step_limit
from olivine_host.cli import olivine
from olivine_host.compiler.batch import Part
from olivine_host.compiler.model import CompiledModel
from olivine_host.compiler.step import StepCompiler
from olivine_host.device import Completion, Device
from olivine_host.device import device as device_module
from olivine_host.device.engines import GoldenEngine, ProgramFailed, StepCost
from olivine_host.device.sampling import Logits
from olivine_host.generate.comparison import GoldenMachine, compare_stages
from olivine_host.generate.listing import listing
from olivine_host.generate.measure import STATES, Generation, differences, phases
from olivine_host.generate.trace import read_core_activity, trace_events, write_trace
from olivine_host.generate.view import View
from olivine_host.kjv.paths import MODEL, quantized_file
from olivine_host.lm.file import load
from rich.console import Console

CONFIG = PRESETS["tiny"]
DECODER = random_decoder(DecoderConfig(layers=2, d_model=24, heads=2, kv_heads=2, head_dim=16, hidden=40, context=40,
                                       vocab=50, function=Function.GELU_TANH), 5)


# --- Figures ------------------------------------------------------------------------------------------

def cost(cycles):
    """Of cycles a step that uses the array in half of them and waits evenly in the others."""
    counters = dict.fromkeys(PROGRAM_COUNTERS, 0) | {"cycles": cycles, "beats_read": cycles // 4, "array_busy":
                                                     cycles // 2}
    return StepCost(cycles, counters | {name: cycles // 12 for name in STATES if name.startswith("stall_")})


def test_phases():
    costs = [([Part((0, 0), 0, (1,) * 6), Part((1, 0), 9, (4,))], cost(12000)),
             ([Part((0, 0), 6, (1,)), Part((1, 0), 10, (4,))], cost(2400)), ([Part((0, 0), 7, (1,))], cost(1200))]
    prefill, decode = phases(CONFIG, DECODER, costs)
    assert (prefill.name, prefill.steps, prefill.tokens, prefill.cycles) == ("prefill", 1, 7, 12000)
    assert (decode.name, decode.steps, decode.tokens, decode.cycles) == ("decode", 2, 3, 3600)
    limits = [step_limit(CONFIG, DECODER, [(6, 1), (10, 1)], 2), step_limit(CONFIG, DECODER, [(7, 1)], 1)]
    assert decode.limit == sum(limit.cycles for limit in limits) and decode.ratio == decode.limit / 3600
    assert decode.counters["beats_read"] == 900
    assert sum(decode.shares().values()) == pytest.approx(1)


def test_limits_know_what_a_small_cache_keeps():
    def limit(part):
        return phases(CONFIG, DECODER, [([part], cost(1000))])[0].limit

    near = limit(Part((0, 0), 30, (1,), policy=window(9)))
    assert near == step_limit(CONFIG, DECODER, [(8, 1)], 1).cycles < limit(Part((0, 0), 30, (1,)))
    kept = limit(Part((0, 0), 30, (1,), policy=heavy(3, 4, 2), cells=9))
    assert kept == step_limit(CONFIG, DECODER, [(7, 1)], 1).cycles
    assert limit(Part((0, 0), 0, (1,) * 10, policy=window(9))) is None, "a sliding window is not described"


def test_differences():
    def made(tokens, values=(4, 3), indices=(1, 2)):
        last = Logits(np.array(values), None if indices is None else np.array(indices))
        return Generation([Completion([1], list(tokens), logits=last)], [], 1.0)

    assert differences(made([5, 6]), made([5, 6])) == []
    assert differences(made([5, 6, 7]), made([5, 8, 7])) == ["token 1 of continuation 0 differs"]
    assert differences(made([5, 6]), made([5])) == ["token 1 of continuation 0 differs"]
    for other in (made([5], values=(4, 2)), made([5], indices=(1, 3)), made([5], indices=None)):
        assert differences(made([5]), other) == ["the last logits of continuation 0 differ"]


# --- Trace --------------------------------------------------------------------------------------------

def activity(**fields):
    return CoreActivity.const(fields).as_value().value


LOG = [("10", activity(running=1, units=1 << Unit.LINEAR.value)),
       ("12", activity(running=1, units=1 << Unit.LINEAR.value, ready=1 << Unit.LINEAR.value, step=1, read_beat=1)),
       ("20", activity(running=1, units=1 << Unit.VECTOR.value, stall=Stall.ROW, read_beat=1)), ("25", 0),
       ("mark", 30), ("33", activity(running=1, step=1, attends=1, write_beat=1)), ("40", 0)]


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "activity"
    path.write_text("".join(f"{word} {value if word == 'mark' else format(value, 'x')}\n" for word, value in LOG))
    return read_core_activity(path)


def test_trace(trace, tmp_path):
    events = trace_events(trace, "title")
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    slices = [(tracks[event["tid"]], event["name"], event["ts"], event["dur"]) for event in events
              if event["ph"] == "X"]
    assert sorted(slices) == sorted([
        ("programs", "other program", 10, 15), ("programs", "step 0", 33, 7),
        ("linear", "waits for rows", 10, 2), ("linear", "at work", 12, 8), ("vector", "waits for rows", 20, 5),
        ("array", "linear", 12, 8), ("array", "no rows", 20, 5), ("array", "attention", 33, 7),
        ("read bus", "beats", 12, 13), ("write bus", "beats", 33, 7)])
    curve = [event["args"]["share"] for event in events if event["name"] == "array in use"]
    assert sum(curve) == pytest.approx(8 + 7), "a point a cycle"
    write_trace(tmp_path / "new" / "trace.json", trace, "title")
    assert json.loads((tmp_path / "new" / "trace.json").read_text())["traceEvents"] == events


def test_empty_trace(tmp_path):
    (tmp_path / "activity").write_text("")
    assert all(event["ph"] == "M" for event in trace_events(read_core_activity(tmp_path / "activity"), "title"))


# --- Comparison and listing ---------------------------------------------------------------------------

@pytest.mark.parametrize("scratchpad_words", [CONFIG.scratchpad_words, 256])
def test_every_stage_of_the_compiled_program_is_golden_s(scratchpad_words):
    machine = GoldenMachine(replace(CONFIG, scratchpad_words=scratchpad_words), DECODER)
    done = []
    found = compare_stages(machine, DECODER, [4, 9, 7], advance=lambda: done.append(1))
    assert len(found) == len(done) == 2 * 10 + 3
    assert [result.stage for result in found[:4]] == ["embedding", "norm1", "qkv", "attention"]
    assert found[-1].stage == "head" and found[-1].total == CONFIG.rows * 50
    assert not any(result.differ for result in found)
    # And again, on the same machine: everything was closed.
    assert compare_stages(machine, DECODER, [4, 9, 7]) == found


def test_the_stage_that_goes_wrong_is_found():
    wrong = random_decoder(DECODER.config, 5)
    wrong.layers[1].up.bias[3] += 1 << 20
    found = compare_stages(GoldenMachine(CONFIG, wrong), DECODER, [4, 9])
    first = next(result for result in found if result.differ)
    assert (first.layer, first.stage, first.differ) == (1, "up", 2), "one channel of two rows"


def test_listing():
    model = CompiledModel(CONFIG, DECODER)
    step = StepCompiler(model, True).step([Part((3, 1), 0, (5, 6, 7)), Part((4, 0), 8, (1,))])
    text = listing(model, step)
    assert "rows 0 to 2: sequence 3, tokens 0 to 2" in text and "rows 3 to 3: sequence 4, tokens 8 to 8" in text
    assert f"{model.layers[1].up.address:#010x}" in text and "layer 1 up" in text
    lines = text.partition("Program:")[2].splitlines()[1:]
    assert len([line for line in lines if not line.startswith(";")]) == len(step.program)
    assert lines.index("; layer 0 qkv") < lines.index("; layer 0 attention") < lines.index("; largest logits")


# --- The command --------------------------------------------------------------------------------------

def invoke(*arguments):
    return CliRunner().invoke(olivine, ["run", *map(str, arguments)])


class Stand(GoldenEngine):
    """Stands in for the core: the golden model's bits, and made-up counters."""

    wrong = None
    fails = False
    core = None

    def step(self, parts, wants_largest=False):
        if self.fails:
            raise ProgramFailed("instruction 3, layer 0 qkv: READ_SLVERR at 0x1234")
        found, _ = super().step(parts, wants_largest)
        if self.wrong == "token":
            found = [Logits(logits.values[::-1], logits.indices[::-1]) for logits in found]
        elif self.wrong == "logits":
            found = [Logits(logits.values - 1, logits.indices) for logits in found]
        return found, cost(24000 * len(parts))


@pytest.fixture
def core(monkeypatch):
    """Puts the stand-in where the core is."""
    make = device_module.make_engine

    def install(name, config, decoder, **options):
        return make(name, config, decoder) if name == "golden" else Stand(config, decoder)

    monkeypatch.setattr(device_module, "make_engine", install)
    monkeypatch.setattr(Stand, "wrong", None)
    monkeypatch.setattr(Stand, "fails", False)


def expected(prompt, count, **options):
    with Device("golden") as device:
        return device.load(quantized_file("ovp4-tuned")).generate(prompt, count, **options)


def test_golden_run():
    result = invoke("--backend", "golden", "--tokens", 6)
    assert result.exit_code == 0, result.output
    assert "And the LORD said unto" + expected("And the LORD said unto", 6).text in result.output
    assert "6 tokens generated from 5 of 1 prompt(s)." in result.output
    assert "The golden integer model ran in place of the Verilog" in result.output
    assert "of the held-out text (4 windows; `olivine eval` takes all)" in result.output
    assert "RTL" not in result.output and "cycles a" not in result.output


@pytest.mark.usefixtures("core")
def test_simulated_run():
    result = invoke("--tokens", 6, "--prompt", "In the beginning")
    assert result.exit_code == 0, result.output
    text = expected("In the beginning", 6).text
    assert "In the beginning" + text in result.output
    lines = [line.split() for line in result.output.splitlines()]
    prefill, decode = (next(line for line in lines if line[:1] == [name]) for name in ("prefill", "decode"))
    assert prefill[1:4] == ["1", "7", "24,000"] and decode[1:5] == ["5", "5", "120,000", "24,000"]
    assert decode[-1] == "read" and float(decode[-3]) > 10
    assert "array takes a step 50.0 % 50.0 %" in " ".join(sum(lines, []))
    assert "read bus, of all cycles 25.0 % 25.0 %" in " ".join(sum(lines, []))
    # 5 tokens in 120,000 cycles, 6 in 144,000.
    assert "4,167 tokens/s in decode, 4,167 generated tokens/s with the prompt" in result.output
    assert "RTL = golden: all 6 tokens and the last 8 largest logits of every continuation are equal." in result.output


@pytest.mark.usefixtures("core")
def test_batch():
    result = invoke("--tokens", 3, "--prompt", "In the", "--prompt", "And he", "--batch", 2, "--temperature", 1,
                    "--seed", 7)
    assert result.exit_code == 0, result.output
    whole = expected(["In the", "In the", "And he", "And he"], 3, temperature=1, seed=7)
    assert whole[0].tokens != whole[1].tokens
    for number, (prompt, one) in enumerate(zip(["In the", "In the", "And he", "And he"], whole)):
        assert f"--- {number}\n{prompt}{one.text}\n" in result.output
    assert "the last logits of every continuation are equal" in result.output


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("wrong, message", [
    ("token", "token 0 of continuation 0 differs"), ("logits", "the last logits of continuation 0 differ")])
def test_a_wrong_core_is_an_error(monkeypatch, wrong, message):
    monkeypatch.setattr(Stand, "wrong", wrong)
    result = invoke("--tokens", 2)
    assert result.exit_code == 1
    assert f"the RTL's results differ from the golden model's: {message}" in result.output
    assert "are equal" not in result.output


@pytest.mark.usefixtures("core")
def test_a_fault_is_an_error(monkeypatch):
    monkeypatch.setattr(Stand, "fails", True)
    result = invoke("--tokens", 2)
    assert result.exit_code == 1 and "READ_SLVERR at 0x1234" in result.output


def test_comparison_and_listing_on_golden(tmp_path):
    result = invoke("--backend", "golden", "--tokens", 2, "--preset", "ecp5", "--compare", "--listing",
                    tmp_path / "new" / "program.txt")
    assert result.exit_code == 0, result.output
    assert "the first 4 tokens of the prompt" in result.output
    rows = [line.split() for line in result.output.splitlines()]
    found = [row[-2] for row in rows if len(row) >= 3 and row[-2] in ("yes", "NO")]
    assert found == ["yes"] * 43
    text = (tmp_path / "new" / "program.txt").read_text()
    assert "; layer 3 down\n" in text and "; largest logits\n" in text and "key-value blocks" in text


def test_small_caches_and_files(tmp_path):
    result = invoke("--backend", "golden", "--tokens", 2, "--model", quantized_file("int8"), "--prompt", "And",
                    "--cache", "ovp4", "--eviction", "window:20")
    assert result.exit_code == 0, result.output
    with Device("golden") as device:
        made = device.load(quantized_file("int8"), "ovp4").generate("And", 2, policy=window(20))
    assert f"And{made.text}" in result.output
    assert "held-out" not in result.output, "a file has no text"


@pytest.mark.parametrize("message, arguments", [
    ("choose preset ecp5 or edge", ("--preset", "tiny", "--backend", "golden")),
    ("head_dim is 64: preset 'tiny' has at most 32", ("--preset", "tiny")),
    ("prompt 0 has 300 tokens: allowed is 1 to 256", ("--prompt", "\n" * 300)),
    ("prompt 0 has 0 tokens", ("--prompt", "", "--backend", "golden")),
    ("'nowhere' does not exist", ("--model", "nowhere")),
    ("give a --prompt", ("--model", str(quantized_file("int8")))),
    ("is no quantized language model", ("--model", str(MODEL / "model.safetensors"), "--prompt", "x")),
    ("--format means nothing for a quantized file",
     ("--model", str(quantized_file("int8")), "--prompt", "x", "--format", "int8")),
    ("a folder needs --calibration", ("--model", str(MODEL), "--prompt", "x")),
    ("--calibration means nothing for the default model", ("--calibration", __file__)),
    ("the default model has no format int4", ("--format", "int4")),
    ("--trace: the golden model has no activity", ("--backend", "golden", "--trace", "x.json")),
    ("--waves: the golden model has no waveforms", ("--backend", "golden", "--waves")),
    ("'forget' is none of none, window:N, heavy:N", ("--eviction", "forget")),
    ("--text means nothing for a generation", ("--text", "x")),
    ("--picture means nothing for a generation", ("--picture", "x.png")),
    ("0 is not in the range", ("--tokens", "0")),
    ("0.0 is not in the range", ("--top-p", "0")),
])
def test_wrong_options(message, arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


# --- On a terminal ------------------------------------------------------------------------------------

def terminal():
    return View(Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False))


def test_a_terminal_streams_text():
    view = terminal()
    with view.working("building"):
        view.progress(1234)
    with view.text(["In the"], 2) as stream:
        stream(0, 5, " be")
        stream(0, 6, "gin")
    output = view.console.file.getvalue()
    assert "In the" in output and output.endswith(" begin\n"), output


def test_a_terminal_counts_several():
    view = terminal()
    with view.text(["a", "b"], 8) as stream:
        stream(0, 5, "x")
        stream(1, 5, "y")
        assert view._prefix == "2 of at most 8 tokens"


def test_formats_of_the_cache_reach_the_core():
    """--cache ovp4 changes what is generated or at least its logits."""
    lm = load(quantized_file("ovp4-tuned"))
    assert lm.with_cache("ovp4").key_format is not LaneFormat.INT8
    with Device("golden") as device:
        one = device.load(lm, "int8").generate("And the LORD", 3)
        other = device.load(lm, "ovp4").generate("And the LORD", 3, policy=Policy())
    assert not np.array_equal(one.logits.values, other.logits.values)
