"""Tables that a step's instructions read: indices, rows, groups, segments."""

import numpy as np
from olivine.attention.descriptor import CachedGroup, Segment
from olivine.kvcache.append.descriptor import AppendRow
from olivine.kvcache.descriptor import CachePolicy
from olivine.vector.descriptor import NO_INDEX

__all__ = ["Tables", "append_runs", "AttentionGroups"]


def _bytes(layout, **fields):
    return layout.const(fields).as_value().value.to_bytes(layout.size // 8, "little")


class Tables:
    """The contents of the area for tables.

    Parameters
    ----------
    place : Place

    Attributes
    ----------
    content : bytearray
    """

    ALIGNMENT = 64

    def __init__(self, place):
        self.place, self.content = place, bytearray()

    def add(self, content):
        """Append a table; returns its address."""
        at = len(self.content)
        self.content += content + bytes(-len(content) % self.ALIGNMENT)
        if len(self.content) > self.place.size:
            raise ValueError(f"the tables of the step take {len(self.content)} bytes: there is room for "
                             f"{self.place.size}")
        return self.place.address + at

    def indices(self, placed, groups, rows, value):
        """A list of uint32 [row] for `GATHER`; ``value`` gives a part's numbers, rows without a token gather zeros."""
        indices = np.full(groups * rows, NO_INDEX, "<u4")
        for place in placed:
            indices[place.row:place.row + len(place.rows)] = value(place.part)
        return self.add(indices.tobytes())


def append_runs(placed, rows):
    """Rows that follow each other without a gap, from the start of a row group: (first row, [(part, offset), ...])."""
    taken = {row: (place.part, offset) for place in placed for offset, row in enumerate(place.rows)}
    runs = []
    for row in sorted(taken):
        if runs and runs[-1][0] + len(runs[-1][1]) == row:
            runs[-1][1].append(taken[row])
        else:
            assert row % rows == 0, "a gap ends at a row group"
            runs.append((row, [taken[row]]))
    return runs


def append_table(run):
    """`AppendRow` entries of a run."""
    return b"".join(_bytes(AppendRow, slot=part.handle[0], generation=part.handle[1], offset=offset)
                    for part, offset in run)


class AttentionGroups:
    """The attention jobs of a step: what is the same in all layers.

    Groups that a job can hold together have the same policy and query heads. Each is one KV head of a part, or, where
    several tokens meet several query heads of a KV head, or these have scales of their own, one query head.

    Parameters
    ----------
    config : AcceleratorConfig
    decoder : QuantizedDecoder
    placed : list of Placed
    tables : Tables
    """

    def __init__(self, config, decoder, placed, tables):
        self.config, self.sizes = config, decoder.config
        sizes, scales = decoder.config, [layer.attention for layer in decoder.layers]
        shared = sizes.group <= config.rows and all(
            (values.reshape(-1, sizes.group) == values.reshape(-1, sizes.group)[:, :1]).all()
            for one in scales for values in (one.score_mult, one.score_shift, one.o_mult, one.o_shift))
        self.jobs = {}
        self.hitters = any(place.part.policy.kind is CachePolicy.HEAVY for place in placed)
        for place in placed:
            part = place.part
            hitters = part.policy.kind is CachePolicy.HEAVY
            heads = sizes.group if len(part.tokens) == 1 and shared else 1
            end = part.cells if hitters else part.start + len(part.tokens)
            segments = tables.add(_bytes(Segment, slot=part.handle[0], generation=part.handle[1], end=end,
                                         rows=(1 << 64) - 1))
            masks = tables.add(np.array(part.tree, "<u8").tobytes()) if part.tree is not None else 0
            window = part.policy.window if part.policy.kind is CachePolicy.WINDOW else 0
            key = heads, window, hitters, part.tree is not None
            self.jobs.setdefault(key, []).append((place, segments, masks))

    def fields(self, key):
        """Of the descriptor, but for the table."""
        heads, window, hitters, tree = key
        return {"cached": 1, "causal": 1, "heads": heads, "window": window, "cells": int(hitters),
                "hitters": int(hitters), "tree": int(tree)}

    def scores_apart(self, key):
        """Heavy hitters of more rows than P: probabilities are added up by a job of their own, from the log-sum-exp."""
        return key[2] and any(len(place.part.tokens) * key[0] > self.config.rows for place, *_ in self.jobs[key])

    def entries(self, key, layer, scales, q, o, lse=0):
        """The table of a job in one layer, and its groups.

        Parameters
        ----------
        scales : AttentionScales
        q, o : callable
            From a row group and a query head to the address of its words, and the words of a row group.
        lse : int
            Address of the groups' log-sum-exp, `chunk_rows` int32 for each.
        """
        heads, content = key[0], []
        sizes, rows = self.sizes, self.config.rows
        for place, segments, masks in self.jobs[key]:
            group, lane = divmod(place.row, rows)
            for query_head in range(0, sizes.heads, heads):
                kv_head = query_head // sizes.group
                content.append(_bytes(
                    CachedGroup, q=q(group, query_head)[0], o=o(group, query_head)[0],
                    q_words=q(group, query_head)[1], o_words=o(group, query_head)[1], batch=1, lane=lane,
                    score_mult=int(scales.score_mult[query_head]), score_shift=int(scales.score_shift[query_head]),
                    o_mult=int(scales.o_mult[query_head]), o_shift=int(scales.o_shift[query_head]),
                    segments=segments, head=layer * sizes.kv_heads + kv_head,
                    lse=lse + 4 * self.config.chunk_rows * len(content) if lse else 0,
                    rows=len(place.part.tokens) * heads, count=1, position=place.part.start, tree=masks))
        return b"".join(content), len(content)
