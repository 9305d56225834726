"""``olivine run --layer``, ``--layers all`` and ``--cache-demo``: parts of MiniLM, an encoder."""

import time

import click
from olivine.config import PRESETS

from ..backends import GoldenBackend, get_backend
from ..recipe import Recipe
from ..simulation.native import BuildError
from ..simulation.run import JobFailed, SimulationError
from ..text import DEFAULT, calibration_text
from .run_view import View

__all__ = ["run_layers", "run_cache_demo"]

NOTICE = ("MiniLM's linear layers and attention run on the units of Olivine, job by job; its layer norms, GELU and "
          "embedding run as the float reference on the host: MiniLM is an encoder, no model of the core's compiler.")

CACHE_NOTICE = ("One layer's attention by the golden integer model, token by token under a causal mask (MiniLM was "
                "trained without one); the rest of the model runs in float.")

CACHE_LAYER = 2
"""Of --cache-demo; in the first layer attention is spread so wide that no choice of keys is good."""


def run_layers(config, backend_name, layer, all_layers, texts, weight_format, group, method, waves):
    """An encoder layer, or all."""
    view = View()
    view.say(NOTICE)
    recipe = Recipe(weight_format or "int8", group, method)
    backend = get_backend(backend_name, config, waves=waves, progress=view.progress)
    try:
        _run(view, recipe, backend, layer or 0, all_layers, texts or DEFAULT)
    except (BuildError, SimulationError, JobFailed) as error:
        raise click.ClickException(str(error)) from None


def run_cache_demo(config, layer, texts, text_file, share, picture):
    """Which keys survive in small caches of one layer."""
    if texts and text_file:
        raise click.UsageError("--text and --text-file exclude each other")
    text = text_file.read_text() if text_file else " ".join(texts) or None
    _run_cache(View(), config, CACHE_LAYER if layer is None else layer, text, share, picture)


def _run(view, recipe, backend, layer, all_layers, texts):
    began = time.monotonic()
    # After the options are checked: PyTorch takes seconds to import.
    view.say("loading PyTorch and MiniLM")
    from ..minilm.model import STAGES, load
    from ..minilm.pipeline import run_model, stage_macs
    from ..minilm.quantized import QuantizedMiniLM
    config = backend.config
    model = load()
    count = len(model.linears)
    if layer >= count:
        raise ValueError(f"layer is {layer}: the model has layers 0 to {count - 1}")
    layers = range(count) if all_layers else range(layer, layer + 1)
    _check_fits(config, model)
    batch = model.tokenize(texts)
    quantized = QuantizedMiniLM(model, recipe, calibration_text(), report=view.say)
    for index in layers:
        quantized.layer(index)

    if hasattr(backend, "build"):
        view.say(f"preparing {backend.name}; it is built the first time, which takes some minutes")
        backend.build(("linear", "attention"))
    view.say(f"{_layers(layers)}; sentences: {len(batch.lengths)}, tokens: {len(batch.ids)}; {recipe}; "
             f"preset {config.name}, {config.rows} x {config.lanes} multipliers; {backend.name}")
    macs = sum(stage_macs(model, index, stage, batch) for index in layers for stage in STAGES)
    with view.running(macs, STAGES):
        reports, cosines = run_model(model, layers, quantized, backend, batch, view)
    view.table(reports, config)
    if cosines is not None:
        view.sentences(texts, cosines)
    if getattr(backend, "last_waves", None):
        view.say(f"waveforms of the last stage: {backend.last_waves}")
    view.summary(reports, cosines, macs, backend.name, time.monotonic() - began)
    wrong = [f"layer {stage.layer} {STAGES[stage.stage]}" for report in reports for stage in report.stages
             if stage.exact is False]
    if wrong:
        raise click.ClickException(f"the RTL's results differ from the golden model's: {', '.join(wrong)}")


def _run_cache(view, config, index, text, share, picture):
    began = time.monotonic()
    view.say(CACHE_NOTICE)
    view.say("loading PyTorch and MiniLM")
    from ..cache_demo.data import TEXT, causal_layer
    from ..cache_demo.demo import compare
    from ..cache_demo.picture import write_picture
    from ..cache_demo.policies import LAST, budget
    from ..cache_demo.table import favourites, policy_table, survivor_lines
    from ..minilm.model import load
    from ..simulation.build import build_root

    layer = causal_layer(load(), TEXT if text is None else text, index)
    tokens = len(layer.tokens)
    heavy, recent = budget(tokens, share)
    view.say(f"layer {index}, {layer.heads} heads; tokens: {tokens}{'' if layer.whole else ', the first of the text'}; "
             f"caches of {heavy + recent + 1}: heavy {heavy}, recent {recent}, own 1; preset {config.name}")
    with view.counting("heavy hitters", tokens) as advance:
        found = compare(layer, GoldenBackend(config), share, advance)
    kept = found.hitters.attention_kept(found.mass)[:, -LAST:].mean(axis=1)
    view.say(f"Keys of each head after the last token: heavy hitters (height: how many of a column), then the recent "
             f"ones; share of the last {LAST} tokens' attention that the kept keys hold")
    for line in survivor_lines(found.hitters, kept, view.console.width):
        view.console.print(line)
    view.say("Heavy hitters in most heads: " + ", ".join(
        f"{token!r} {heads}" for token, heads in favourites(found.hitters, layer.tokens)))
    view.console.print(policy_table(found.runs, layer.context, found.mass))
    path = picture or build_root() / "cache-survivors.png"
    write_picture(path, found.hitters, found.mass,
                  f"MiniLM, layer {index}, {tokens} tokens, {heavy} heavy and {recent} recent keys")
    view.say(f"{path}: which keys survive")
    steps, same = found.victims()
    view.say(f"H2O in float, from the same sums, drops the same key in {same:,} of {steps:,} steps. "
             f"{time.monotonic() - began:.0f} s in all.")


def _layers(layers):
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"


def _check_fits(config, model):
    """Refuse a configuration that is too small for the model, and name presets that are not."""
    needed = max(linear.weight.shape[1] for stages in model.linears for linear in stages.values())
    if needed > config.max_reduction:
        fits = [name for name, preset in PRESETS.items() if preset.max_reduction >= needed]
        raise ValueError(f"{config.name!r} holds reductions of at most {config.max_reduction} and the "
                         f"model's second feed-forward layer has {needed}: choose preset {' or '.join(fits)}")
    head_dim = model.linears[0]["attention_output"].weight.shape[1] // model.heads
    if head_dim > config.max_head_dim:
        raise ValueError(f"{config.name!r} holds head dimensions of at most {config.max_head_dim} and the model has "
                         f"{head_dim}")
