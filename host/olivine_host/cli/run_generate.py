"""``olivine run``: a generation from the options to the tables."""

from dataclasses import dataclass
from pathlib import Path

import click
from olivine.config import PRESETS, ConfigError

from ..simulation.run import SimulationError
from .board import PATIENCE, SERIAL, told
from .eval import policy_of, refuse_meaningless, source_of

__all__ = ["DEFAULT_PROMPT", "Wish", "run_generate"]

DEFAULT_PROMPT = "And the LORD said unto"

WINDOWS = 4
"""Windows of the held-out text for a quick perplexity."""


@dataclass(frozen=True)
class Wish:
    """The options of a generation, as `olivine_host.cli.run` describes them."""

    prompts: tuple
    tokens: int
    model_path: Path | None
    calibration_path: Path | None
    backend: str
    baud: int
    batch: int
    weight_format: str | None
    group: str | None
    method: str | None
    cache: str
    eviction: str
    temperature: float
    top_k: int
    top_p: float
    seed: int
    trace: Path | None
    listing: Path | None
    compare: bool
    waves: bool

    def __post_init__(self):
        if self.backend == "golden":
            for name, what in (("trace", "activity"), ("waves", "waveforms")):
                if getattr(self, name):
                    raise click.UsageError(f"--{name}: the golden model has no {what}")
        if self.on_board:
            for name in ("trace", "waves"):
                if getattr(self, name):
                    raise click.UsageError(f"--{name}: a board records none")
        if not self.prompts and self.model_path is not None:
            raise click.UsageError("give a --prompt: only the default model has one of its own")

    @property
    def on_board(self):
        return self.backend.startswith(SERIAL)

    @property
    def sampling(self):
        return {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "seed")}


def run_generate(context, config, wish):
    """Generate, check, show."""
    policy = policy_of(wish.eviction, config)
    source = source_of(wish.model_path, wish.weight_format)
    refuse_meaningless(context, source)
    # After the options are checked: these take a second to import.
    from ..device import Device
    from ..generate.measure import differences, generate, phases
    from ..generate.view import View
    view = View()
    lm, model, folder = source.load(view, None, wish.calibration_path, wish.group, wish.method, None, None)
    prompts = [prompt for prompt in wish.prompts or (DEFAULT_PROMPT,) for _ in range(wish.batch)]
    view.say(f"{wish.model_path or 'default model'}: {lm.info.get('recipe', 'quantized')}, cache {wish.cache}; preset "
             f"{config.name}, {config.rows} x {config.lanes} multipliers; {wish.backend}")
    options = {"max_new_tokens": wish.tokens, "policy": policy, **wish.sampling}
    _check_fits(config, lm, wish.cache)
    expected, simulated = None, wish.backend != "golden"
    if simulated:
        # First: it is quick, and finds what is wrong with a prompt before anything is built.
        with view.working("the golden model generates what the core must"), Device("golden", config=config) as golden:
            expected = generate(golden.load(lm, wish.cache), prompts, **options)
    try:
        serial = {"baud": wish.baud, "patience": PATIENCE, "loading": view.loading} if wish.on_board else {}
        with told(), Device(wish.backend, config=config, trace=bool(wish.trace), waves=wish.waves,
                            progress=view.progress, **serial) as device:
            with view.working(_preparing(wish.backend)):
                device.load(lm, wish.cache)
            with view.text(prompts, len(prompts) * wish.tokens) as stream:
                made = generate(device, prompts, stream=stream, **options)
            if len(prompts) > 1:
                view.texts(prompts, made.completions)
            wrong = differences(made, expected) if simulated else []
            _show(view, config, device, made, phases, wrong, wish)
            _show_perplexity(view, config, lm, model, folder, wish, policy)
            if wish.listing:
                _write_listing(view, wish.listing, device, made)
            if wish.compare:
                wrong += _compare(view, device, lm.with_cache(wish.cache), prompts[0], model)
            core = device.engine.core if simulated else None
    except SimulationError as error:
        raise click.ClickException(str(error)) from None
    # A log is complete when the simulation has ended.
    if wish.trace:
        from ..generate.trace import read_core_activity, write_trace
        write_trace(wish.trace, read_core_activity(core.activity), f"olivine run, {config.name}")
        view.say(f"{wish.trace}: what the core did, for https://ui.perfetto.dev")
    if wish.waves:
        view.say(f"waveforms: {core.waves}")
    if wrong:
        raise click.ClickException(f"the {'board' if wish.on_board else 'RTL'}'s results differ from the golden "
                                   f"model's: {'; '.join(wrong)}")


def _preparing(backend):
    if backend == "golden":
        return "preparing the golden model"
    if backend.startswith(SERIAL):
        return f"loading the model into the board on {backend.removeprefix(SERIAL)}"
    return f"preparing {backend}: the core is built the first time, which takes some minutes (about 10 for edge)"


def _check_fits(config, lm, cache):
    """Refuse a configuration that is too small for the model, and name presets that are not."""
    from ..compiler.model import CompiledModel
    try:
        CompiledModel(config, lm.with_cache(cache))
    except ConfigError as error:
        fits = [name for name, preset in PRESETS.items() if preset != config and _fits(preset, lm, cache)]
        raise ValueError(f"{error}; " + (f"choose preset {' or '.join(fits)}" if fits else
                                         "no preset holds this model")) from error


def _fits(config, lm, cache):
    from ..compiler.model import CompiledModel
    try:
        CompiledModel(config, lm.with_cache(cache))
    except ConfigError:
        return False
    return True


def _show(view, config, device, made, phases, wrong, wish):
    prompt_tokens = sum(len(completion.prompt) for completion in made.completions)
    ended = {completion.finished for completion in made.completions}
    view.say(f"\n{made.tokens:,} tokens generated from {prompt_tokens:,} of {len(made.completions)} prompt(s)"
             f"{', until the context was full' if ended == {'context'} else ''}.")
    if wish.backend == "golden":
        view.say(f"The golden integer model ran in place of the Verilog: {made.seconds:.1f} s, no cycles.")
        return
    found = phases(config, device.decoder, made.costs)
    view.cycles(found)
    view.speed(made, found, simulated=not wish.on_board)
    if not wrong:
        logits = "logits" if made.completions[0].logits.indices is None else "8 largest logits"
        view.say(f"{'Board' if wish.on_board else 'RTL'} = golden: all {made.tokens:,} tokens and the last {logits} of "
                 "every continuation are equal.")


def _show_perplexity(view, config, lm, model, folder, wish, policy):
    """Of a few windows of the model's held-out text, if there is one."""
    text = None if folder is None else folder / "held_out.txt"
    if model is None or text is None or not text.is_file():
        return
    from olivine_golden.decoder.forward import Decoder
    from tokenizers import Tokenizer

    from ..lm.evaluate import BATCH, HITTER_BATCH, Windows, float_logits, integer_logits, score
    ids = Tokenizer.from_str(lm.tokenizer).encode(text.read_text(encoding="utf-8")).ids
    windows = Windows(ids, lm.config.context, WINDOWS, last=wish.eviction != "none")
    decoder = lm.with_cache(wish.cache)
    whole = score(float_logits(model), windows, BATCH)
    ours = score(integer_logits(Decoder(decoder, config.lanes), decoder.logits_scale, policy), windows,
                 HITTER_BATCH if wish.eviction.startswith("heavy") else BATCH)
    view.say(f"Perplexity of {whole.scored:,} tokens of the held-out text ({len(windows.parts)} windows; `olivine "
             f"eval` takes all): {whole.perplexity:.3f} in float, {ours.perplexity:.3f} in the core's integers, "
             f"computed by the golden model.")


def _write_listing(view, path, device, made):
    from ..compiler.model import CompiledModel
    from ..compiler.step import StepCompiler
    from ..generate.listing import listing
    model = getattr(device.engine, "model", None) or CompiledModel(device.config, device.decoder)
    parts = made.costs[-1][0]
    step = StepCompiler(model, made.completions[-1].logits.indices is not None).step(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(listing(model, step))
    view.say(f"{path}: the last step's {len(step.program)} instructions, and the memory map")


def _compare(view, device, decoder, prompt, model):
    from ..generate.comparison import GoldenMachine, compare_stages
    engine = GoldenMachine(device.config, decoder) if device.backend == "golden" else device.engine
    ids = device.tokenizer.encode(prompt).ids
    with view.working("comparing stage by stage"):
        results = compare_stages(engine, decoder, ids, model)
    view.say(f"One step of the first {min(len(ids), device.config.rows)} tokens of the prompt, its program cut behind "
             "each stage. Rows of the core beside those of the golden model, and golden's beside float:")
    view.stages(results, "RTL" if device.backend != "golden" else "program")
    return [f"layer {result.layer} {result.stage}" for result in results if result.differ][:1]
