"""Options that several verbs share, and what they mean."""

import click
from olivine.config import PRESETS, ConfigError, load_config

__all__ = ["config_options", "waves_option", "configuration"]


def config_options(default):
    """``--preset`` and ``--config``, as parameters ``preset`` and ``config_file``."""
    def decorate(function):
        function = click.option("--config", "config_file", metavar="FILE",
                                type=click.Path(exists=True, dir_okay=False),
                                help="TOML file that names its base preset and what it changes.")(function)
        return click.option("--preset", default=default, show_default=True, type=click.Choice(list(PRESETS)),
                            help="Named configuration.")(function)
    return decorate


waves_option = click.option("--waves", is_flag=True, help="Record waveforms of what is simulated.")


def configuration(preset, config_file):
    """The configuration that the two options ask for.

    Raises
    ------
    ConfigError
        If it cannot work.
    """
    try:
        return load_config(preset, config_file)
    except TypeError as error:
        raise ConfigError(f"{config_file}: {error}") from error
