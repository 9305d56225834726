"""``olivine bench``: cycles against the limit, where they went, and what the hardware costs."""

from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource
from olivine.config import ConfigError

from ..backends import SIMULATORS
from ..bench.attention_workload import KV_FORMATS
from ..bench.registry import BENCHMARKS, find
from ..bench.view import View
from ..bench.workload import FORMATS, GROUPS, ROW_FORMATS
from .options import config_options, configuration, waves_option

__all__ = ["command"]

FILE = click.Path(dir_okay=False, path_type=Path)


def _cycles(context, parameter, value):
    from ..bench.timeline import cycle_range
    if value is None:
        return None, None
    try:
        return cycle_range(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("bench")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_options("edge")
@click.option("--simulator", type=click.Choice(SIMULATORS), default="verilator", show_default=True,
              help="What runs the Verilog.")
@click.option("--m", type=click.IntRange(min=1), help="Rows (tokens) of linear layers, in place of the benchmark's.")
@click.option("--k", type=click.IntRange(min=1), help="Reduction (input channels).")
@click.option("--n", type=click.IntRange(min=1), help="Output channels.")
@click.option("--format", "weight_format", type=click.Choice(list(FORMATS)), help="Weights.")
@click.option("--group", type=click.Choice(list(GROUPS)), help="Steps that share a scale.")
@click.option("--x-format", type=click.Choice([name for name in ROW_FORMATS if name != "int16"]),
              help="Inputs.")
@click.option("--y-format", type=click.Choice(list(ROW_FORMATS)), help="Results.")
@click.option("--tokens", type=click.IntRange(min=1), help="Queries of each head (attention).")
@click.option("--keys", type=click.IntRange(min=1), help="Keys of each sequence.")
@click.option("--heads", type=click.IntRange(min=1), help="Query heads.")
@click.option("--kv-heads", type=click.IntRange(min=1), help="KV heads that they share.")
@click.option("--head-dim", type=click.IntRange(min=1), help="Head dimension, a multiple of 8.")
@click.option("--sequences", type=click.IntRange(min=1), help="Sequences of a batch.")
@click.option("--kv-format", type=click.Choice(list(KV_FORMATS)), help="Keys and values.")
@click.option("--causal/--no-causal", default=None, help="Whether a query sees no key after its own position.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random operands.")
@click.option("--json", "json_file", type=FILE, metavar="FILE", help="Write the records.")
@click.option("--compare", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Show what differs from the records of FILE.")
@click.option("--trace", type=FILE, metavar="FILE",
              help="Write where the cycles went, for ui.perfetto.dev; several benchmarks add their names.")
@click.option("--plot", type=FILE, metavar="FILE", help="Write the utilisation over time, as .png or .svg.")
@click.option("--timeline", type=FILE, metavar="FILE", help="Draw what each part does, cycle by cycle (.png, .svg).")
@click.option("--cycles", callback=_cycles, metavar="FIRST:LAST", help="Part of the job that --timeline draws.")
@click.option("--scaling", type=FILE, metavar="FILE",
              help="Measure one attention benchmark with 64, 128, ... 8192 keys instead, and draw cycles over keys; of "
                   "a model's decoding batches of 1 to 64 and contexts of 64 to 4096, under the roofline.")
@waves_option
@click.option("--synth", is_flag=True,
              help="Synthesize for ECP5 instead; NAMEs are units, the preset is ecp5 unless given.")
@click.option("--pnr", is_flag=True,
              help="Place and route for ECP5 instead, --seed being that of the placement; NAMEs are measurements, the "
                   "preset is ecp5 unless given.")
@click.option("--list", "listing", is_flag=True,
              help="List the benchmarks, with --synth the units, with --pnr the measurements.")
@click.pass_context
def command(context, names, preset, config_file, simulator, weight_format, seed, json_file, compare, trace,
            plot, timeline, cycles, scaling, waves, synth, pnr, listing, **shape):
    """Measure NAMEd benchmarks, all if none is named, and check their results against the golden model.

    Options of the shape change it; without a name they choose the benchmarks that have them.
    A benchmark's ratio is the fewest cycles that its shape allows over the cycles that it took. The exit
    status is 1 if a result is not the golden model's.

    \b
    Example:
      olivine bench linear-decode --json build/bench.json --trace build/decode.json
    """
    view = View()
    shape["format"] = weight_format
    if synth and pnr:
        raise click.UsageError("--synth and --pnr are two things: choose one")
    if (synth or pnr) and context.get_parameter_source("preset") is ParameterSource.DEFAULT:
        preset = "ecp5"
    if listing:
        _list(synth, pnr)
        return
    config = configuration(preset, config_file)
    if synth or pnr:
        given = [_flag(name) for name, value in
                 {**shape, "trace": trace, "plot": plot, "timeline": timeline, "scaling": scaling,
                  "waves": waves or None}.items() if value is not None]
        if given:
            raise click.UsageError(f"--{'pnr' if pnr else 'synth'} simulates nothing: leave out {', '.join(given)}")
    if pnr:
        from ..bench.pnr_view import measured
        records = measured(names, config, seed)
    elif synth:
        records = _synthesize(view, config, names)
        view.cells(records)
    else:
        if cycles != (None, None) and not timeline:
            raise click.UsageError("--cycles is of --timeline, which is missing")
        benchmarks = _reshaped(find(names), bool(names), shape)
        if scaling:
            benchmarks = _scaled(benchmarks, config)
        pictures = {"trace": trace, "plot": plot, "timeline": timeline}
        records = _measure(view, config, benchmarks, simulator, seed, waves, pictures, cycles)
        view.records(records, {benchmark.name: benchmark.shape.short for benchmark in benchmarks})
        if scaling:
            _write_scaling(view, scaling, records, config)
    if json_file:
        from ..bench.records import write_records
        write_records(json_file, records)
        view.say(f"{json_file}: {len(records)} records")
    if compare:
        from ..bench.records import read_records
        if pnr:
            from ..bench.pnr import compare as differences
        else:
            from ..bench.records import compare as differences
        view.changes(differences(read_records(compare), records), compare)
    wrong = [record["name"] for record in records if not record.get("bit_exact", True)]
    if wrong:
        raise click.ClickException(f"the results of {', '.join(wrong)} are not the golden model's")


def _flag(name):
    return f"--{name.replace('_', '-')}"


def _reshaped(benchmarks, named, shape):
    """Benchmarks with another shape; of those that were not named only the ones that the changes apply to."""
    changes = {name: value for name, value in shape.items() if value is not None}
    chosen = []
    for benchmark in benchmarks:
        unknown = [_flag(name) for name in changes if name not in benchmark.parameters]
        if not unknown:
            chosen.append(benchmark.reshaped(**changes))
        elif named:
            raise click.UsageError(f"{benchmark.name} has no {', '.join(unknown)}: it has "
                                   f"{', '.join(map(_flag, benchmark.parameters))}")
    if not chosen:
        raise click.UsageError(f"no benchmark has all of {', '.join(map(_flag, changes))}")
    return chosen


def _scaled(benchmarks, config):
    """One benchmark of attention with ever more keys, or of a model with more sequences and longer ones."""
    if len(benchmarks) != 1:
        raise click.UsageError(f"--scaling draws one benchmark, not {len(benchmarks)}: name it")
    if benchmarks[0].engine == "core":
        from ..bench.model_scaling import scaled
        return scaled(benchmarks[0], config)
    from ..bench.scaling import with_keys
    return with_keys(benchmarks[0])


def _write_scaling(view, path, records, config):
    if records[0]["unit"] == "core":
        from ..bench.model_scaling import write_roofline
        write_roofline(path, records, config)
        view.say(f"{path}: batches and contexts under the roofline")
        return
    from ..bench.scaling import write_scaling
    write_scaling(path, records)
    view.say(f"{path}: cycles over keys")


def _list(synth, pnr):
    if pnr:
        from ..bench.pnr import listing
        entries = listing()
    elif synth:
        from ..bench.synthesis_units import SYNTHESIS_UNITS
        entries = {name: unit.what for name, unit in SYNTHESIS_UNITS.items()}
    else:
        entries = {name: f"{entry.what}: {entry.shape}" for name, entry in BENCHMARKS.items()}
    width = max(map(len, entries))
    for name, what in entries.items():
        click.echo(f"{name:{width}}  {what}")


def _named(path, name, several):
    """Where one of several benchmarks writes: FILE with its name before the ending."""
    return path.with_name(f"{path.stem}-{name}{path.suffix}") if several else path


def _writers(cycles):
    """What writes each kind of picture of a trace."""
    from ..bench.perfetto import write_trace
    from ..bench.plot import write_plot
    from ..bench.timeline import write_timeline
    return {"trace": write_trace, "plot": write_plot, "timeline": partial(write_timeline, cycles=cycles)}


def _measure(view, config, benchmarks, simulator, seed, waves, pictures, cycles):
    """Records of benchmarks; ``pictures`` says where to write which picture of their traces, None for nowhere."""
    for benchmark in benchmarks:
        benchmark.shape.check(config)
        if benchmark.engine == "core" and any(pictures.values()):
            raise click.UsageError(f"{benchmark.name} has no trace here: `olivine run --trace` shows what the core "
                                   "does")
    from ..bench.measure import measure
    from ..simulation.backend import SimulatedBackend

    backend = SimulatedBackend(simulator, config, waves=waves, progress=view.progress)
    for unit in dict.fromkeys(benchmark.engine for benchmark in benchmarks):
        with view.working(f"building the {unit} engine of preset {config.name} for {simulator}"):
            backend.build([unit])
    records = []
    for benchmark in benchmarks:
        attention = benchmark.engine == "attention"
        with view.running(f"{benchmark.name}: {benchmark.shape}"):
            record, activity, picture = measure(benchmark, backend, seed=seed, trace=any(pictures.values()))
        records.append(record)
        title = f"{benchmark.name}: {benchmark.shape}, preset {config.name}"
        several = len(benchmarks) > 1
        for what, path in pictures.items():
            if path:
                path = _named(path, benchmark.name, several)
                _writers(cycles)[what](path, activity, title, attention)
                view.say(f"{path}: {what}")
        if picture:
            view.say(f"{picture}: waveforms of {benchmark.name}")
    return records


def _synthesize(view, config, names):
    from ..bench.synthesis import synthesize, with_shares
    from ..bench.synthesis_units import SYNTHESIS_UNITS

    for name in names:
        if name not in SYNTHESIS_UNITS:
            raise ConfigError(f"unit is {name!r}: allowed are {', '.join(SYNTHESIS_UNITS)}")
    records = []
    for name in names or SYNTHESIS_UNITS:
        unit = SYNTHESIS_UNITS[name]
        for dsp in (True, False) if unit.without_dsp else (True,):
            how = "" if dsp else ", multipliers as LUTs"
            with view.working(f"synthesizing {name} of preset {config.name}{how}"):
                records.append(synthesize(name, unit, config, dsp=dsp))
    return with_shares(records)
