"""What attention keeps on chip, buffer by buffer, from the shapes that the gateware itself uses."""

from amaranth.hdl import Shape
from olivine.attention.descriptor import SEGMENTS
from olivine.attention.engine import CELL_QUEUE_BEATS, PAGE_QUEUE_BEATS, PAGES, QUERY_QUEUE_BEATS, TABLE_QUEUE_BEATS
from olivine.attention.hitters.layout import BANKS
from olivine.attention.hitters.selector import SUM_BITS as CELL_SUM_BITS
from olivine.attention.hitters.stores import score_entry
from olivine.attention.layout import (
    CHUNKS,
    MAXIMUM_BITS,
    O_BITS,
    SCORE_BITS,
    SUM_BITS,
    factors_layout,
    mask_address,
    slots,
    tree_address,
)
from olivine.attention.queries import query_words
from olivine.attention.results import kept_layout
from olivine.attention.segments import kept_layouts
from olivine.attention.steps import probability_words
from olivine.attention.table import fetched_layout, ordered_layout
from olivine.attention.walk import kept_bounds
from olivine.config import PROBABILITY_BITS, ROW_BITS
from olivine.memory.realign import rotated_beats

__all__ = ["attention_buffers", "main"]


def attention_buffers(config):
    """Every buffer of the attention engine with 256 bits or more, but for queues of chunks and bursts, the writer's
    queue and the tables of functions.

    Parameters
    ----------
    config : AcceleratorConfig

    Returns
    -------
    dict of str to (int, int)
        Words and bits of a word, by buffer.
    """
    def width(shape):
        return Shape.cast(shape).width

    rows, lanes, beat = config.rows, config.lanes, width(rotated_beats(config.bus_bytes))
    return {
        "tile buffer": (config.tile_words, 8 * lanes),
        "queries": (query_words(config), ROW_BITS * rows),
        "scores of a page": (2 * lanes, (SCORE_BITS + 1) * rows),
        "probabilities": (probability_words(config), PROBABILITY_BITS * rows),
        "m and l": (config.contexts * rows, MAXIMUM_BITS + SUM_BITS),
        "factors": (slots(config), width(factors_layout(config))),
        "O": (config.state_words, O_BITS * rows),
        "results": (2 * lanes, O_BITS * rows),
        "m, l and LSE to be written": (CHUNKS * config.contexts, width(kept_layout(config))),
        "what rows see": (CHUNKS * config.contexts, width(kept_bounds(config))),
        "pages, for those who fetch them": (PAGES, width(fetched_layout(config))),
        "pages, for the order of steps": (PAGES, width(ordered_layout(config))),
        "beats of pages": (PAGE_QUEUE_BEATS, beat),
        "beats of queries": (QUERY_QUEUE_BEATS, beat),
        "beats of the table": (TABLE_QUEUE_BEATS, beat),
        "segments": (2 * SEGMENTS, max(width(layout) for layout in kept_layouts(config))),
        "which rows see a segment": (1 << mask_address(config).size, rows),
        "token trees": (1 << tree_address(config).size, rows),
        **{f"{name} of cells, bank {bank}": (config.cells, bits) for bank in range(BANKS) for name, bits in (
            ("positions", 17), ("sums", CELL_SUM_BITS), ("scores", width(score_entry(config))))},
        "beats of cells": (CELL_QUEUE_BEATS, beat),
    }


def main():
    """Print the table of docs/attention.md: words x bits, by preset."""
    from olivine.config import PRESETS
    columns = [attention_buffers(config) for config in PRESETS.values()]
    print(f"| buffer | {' | '.join(PRESETS)} |\n|---|{'---|' * len(PRESETS)}")
    for name in columns[0]:
        print(f"| {name} |", " | ".join("{:,} x {}".format(*part[name]) for part in columns), "|")
    totals = (sum(words * bits for words, bits in part.values()) for part in columns)
    print("| bits in all |", " | ".join(f"{total:,}" for total in totals), "|")


if __name__ == "__main__":
    main()
