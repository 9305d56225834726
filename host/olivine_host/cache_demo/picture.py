"""Which keys survive in each head, as a picture."""

from pathlib import Path

import numpy as np

__all__ = ["write_picture"]

SMALLEST = 1e-2
"""Sums below look alike: less than a hundredth of one query's attention."""


def write_picture(path, run, mass, title):
    """Draw the keys that heavy hitters kept, and below the attention that every key got where all are kept.

    Rows are heads, columns positions. The ending of ``path`` names the kind of picture.

    Parameters
    ----------
    path : str or Path
    run : policies.Run
        Of heavy hitters.
    mass : float64 [heads, T, T]
        As `policies.full` gives it.
    title : str
    """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    sums = np.maximum(run.sums, SMALLEST)
    everything = np.maximum(mass.sum(axis=1), SMALLEST)
    heads, tokens = sums.shape
    norm = LogNorm(SMALLEST, everything.max())
    recent = np.arange(tokens) >= tokens - run.recent
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(12, 6), layout="constrained")
    for axes in (above, below):
        axes.set(ylabel="head", yticks=range(heads))
        axes.set_facecolor("#eeeeee")
    layers = (("heavy", "Oranges", ~recent), ("recent", "Blues", recent))
    for name, colours, shown in layers:
        image = above.imshow(np.where(shown, sums, np.nan), norm=norm, cmap=colours, aspect="auto",
                             interpolation="nearest")
        figure.colorbar(image, ax=above, pad=.005, fraction=.03, label=f"{name}: attention so far")
    image = below.imshow(everything, norm=norm, cmap="Greys", aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=below, pad=.005, fraction=.06, label="attention with all keys")
    above.set(title=f"{title}: kept after the last token (grey: dropped)")
    below.set(title="all keys: attention that each got", xlabel="position")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
