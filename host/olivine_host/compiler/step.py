"""One step of a batch as a program.

Several row groups are worked on in two halves where each half alone keeps the array busy for as long as its weights
take: vector work of one half then runs beside the array's work on the other. For the same reason a program of several
steps begins the next one before the last results of this one are added up.
"""

from dataclasses import dataclass

from olivine.kvcache.descriptor import CacheOp
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine.vector.descriptor import VectorOp

from .batch import place
from .program import Program, Region
from .tables import AttentionGroups, Tables, append_runs, append_table

__all__ = ["Step", "StepCompiler", "halves"]

INT12, INT16 = RowFormat.INT12.value, RowFormat.INT16.value


@dataclass(frozen=True)
class Step:
    """What the core is given for a step, and where its results lie.

    Parameters
    ----------
    program : Program
    regions : list of (int, bytes)
        Program and tables.
    placed : list of Placed
    groups : int
        Row groups.
    logits : dict of int to int
        For a row of `placed`, the row of the logits that belongs to it.
    logits_groups : int
        Row groups of logits.
    """

    program: Program
    regions: list
    placed: list
    groups: int
    logits: dict
    logits_groups: int


def halves(config, groups, lane_format):
    """(first, count) of the row groups that are worked on together."""
    beats_a_step = -(-config.lanes * LaneFormat(lane_format).bits // (8 * config.bus_bytes))
    half = groups // 2
    if half < beats_a_step:
        return [(0, groups)]
    return [(0, groups - half), (groups - half, half)]


class StepCompiler:
    """Writes the programs of a `CompiledModel`.

    Parameters
    ----------
    model : CompiledModel
    largest : bool
        Reduce the logits to the eight largest of each row.
    embeds, head : bool
        Without embeddings a step begins with the residual stream that lies in memory; without a head it ends with it.
    """

    def __init__(self, model, largest=False, embeds=True, head=True):
        self.model, self.config, self.sizes = model, model.config, model.decoder.config
        self.largest, self.embeds, self.head = largest, embeds, head

    def step(self, parts, *, reserve=True):
        """A step that appends the parts' tokens.

        Parameters
        ----------
        parts : list of Part
        reserve : bool
            The program reserves places first and commits them at its end. Trees never commit: the host does, when it
            has chosen a path.

        Returns
        -------
        Step
        """
        return self.steps([parts], reserve=reserve)[-1]

    def steps(self, batches, *, reserve=True):
        """Several steps in one program; neighbours take turns with the `CompiledModel.sets` of rows.

        Returns
        -------
        list of Step
            Of each batch; program and regions are the same.

        Raises
        ------
        ValueError
            If a batch before the last wants logits: the next one's first rows are made where its last ones would be.
        """
        if self.head and any(part.logits for parts in batches[:-1] for part in parts):
            raise ValueError("logits are wanted of a step that is not the program's last: run it as a program of its "
                             "own")
        program, tables = Program(), Tables(self.model.tables)
        writers = []
        for number, parts in enumerate(batches):
            placed, groups = place(parts, self.config.rows, self.config.chunk_rows)
            writers.append(_Writer(self, program, tables, placed, groups, number))
        logits, before = [], None
        writers[0].begin()
        for writer, following in zip(writers, [*writers[1:], None]):
            for layer in range(self.sizes.layers):
                last = layer == self.sizes.layers - 1
                if layer == 0 and reserve:
                    if before:
                        before.operations("commit", CacheOp.COMMIT)
                    writer.operations("reserve", CacheOp.APPEND)
                if not writer.layer(layer, following.begin if last and following else None):
                    break
            logits.append(writer.logits())
            before = writer
        if reserve:
            before.operations("commit", CacheOp.COMMIT)
        regions = [(self.model.program.address, program.pack())]
        if tables.content:
            regions.append((tables.place.address, bytes(tables.content)))
        return [Step(program, regions, writer.placed, writer.groups, *found)
                for writer, found in zip(writers, logits)]


class _Writer:
    """The instructions of one step, in the order in which units shall take them up."""

    def __init__(self, compiler, program, tables, placed, groups, number):
        self.compiler = compiler
        self.model, self.config, self.sizes = compiler.model, compiler.config, compiler.sizes
        self.program, self.tables, self.placed, self.groups = program, tables, placed, groups
        self.wanted = [] if not compiler.head else [
            row for place_ in placed if place_.part.logits
            for row in (place_.rows if place_.part.tree is not None else place_.rows[-1:])]
        self.rows = self.model.small if groups == 1 else self.model.large[number % len(self.model.large)]
        self.halves = halves(self.config, groups, self.model.decoder.layers[0].up.format)
        self.runs = [(first, tables.add(append_table(run)), len(run)) for first, run in append_runs(
            placed, self.config.rows)]
        self.attention = AttentionGroups(self.config, self.model.decoder, placed, tables)

    # Instructions

    def _vector(self, op, label, half, reads, writes, **fields):
        first, count = half
        addresses = {name: self.rows[rows].at(first) for name, rows in fields.items() if rows in self.rows}
        self.program.add("vector", {"op": op, "groups": count, **fields, **addresses},
                         [self.rows[name].region(first, count) for name in reads],
                         [self.rows[name].region(first, count) for name in writes], label)

    def _add_norm(self, label, half, source, add, norm, fresh=0):
        """Add what a linear layer gave, if it did, and normalise, if there is a norm."""
        fields, reads, writes = {"r": "residual"}, [] if fresh else ["residual"], []
        if source is not None:
            fields |= {"add": 1, "fresh": fresh, "x": source, "mult": add.mult, "shift": add.shift}
            reads.append(source)
            writes.append("residual")
        if norm is not None:
            fields |= {**norm.fields, "t": norm.address, "y": "normalised"}
            writes.append("normalised")
        self._vector(VectorOp.RESIDUAL, label, half, reads, writes, channels=self.sizes.d_model, **fields)

    def _linear(self, label, half, weights, x, y, panels=None):
        """``panels``: (first, count) of the output channels' panels; all by default."""
        first, count = half
        lanes = self.config.lanes
        start, n = (0, weights.n) if panels is None else (panels[0] * lanes, min(panels[1] * lanes,
                                                                               weights.n - panels[0] * lanes))
        self.program.add("linear", {
            **weights.fields, "x_format": INT12, "y_format": INT16, "m": count * self.config.rows, "k": weights.k,
            "n": n, "x": x[0], "w": weights.address + start // lanes * weights.panel_bytes, "y": y[0]}, [x[1]], [y[1]],
            label)

    def _rows_of(self, name, half):
        """(address, region) of the rows of a half."""
        return self.rows[name].at(half[0]), self.rows[name].region(*half)

    # Parts of a step

    def operations(self, label, op):
        for place_ in self.placed:
            slot, generation = place_.part.handle
            self.program.add("cache", {"op": op, "slot": slot, "generation": generation,
                                       "count": len(place_.part.tokens)}, label=label)

    def begin(self):
        """To the first layer's rows."""
        norm, source, add = self.model.layers[0].norm1, None, None
        if self.compiler.embeds:
            self._embed()
            source, add = "embedding", self.model.decoder.position.add
        for half in self.halves:
            self._add_norm("layer 0 norm 1", half, source, add, norm)

    def _embed(self):
        config = self.config
        model = self.model
        words = {"token": self.tables.indices(self.placed, self.groups, config.rows, lambda part: part.tokens),
                 "position": self.tables.indices(self.placed, self.groups, config.rows, lambda part: part.positions)}
        for half in self.halves:
            for name, base, rows in (("token", model.token, "result"), ("position", model.position, "embedding")):
                self._vector(VectorOp.GATHER, f"{name} embedding", half, [], [rows], x=base,
                             t=words[name] + 4 * half[0] * config.rows, y=rows, channels=self.sizes.d_model)
            self._add_norm("embedding", half, "result", model.decoder.token.add, None, fresh=1)

    def layer(self, index, before_last=None):
        """A layer, and the next one's rows; ``before_last`` is called before the last linear layer.

        Returns whether there is more: nobody needs what follows the last layer's keys and values if no logits are
        wanted.
        """
        places, layer = self.model.layers[index], self.model.decoder.layers[index]
        last = index == self.sizes.layers - 1
        kept = last and self.compiler.head and not self.wanted and not self.attention.hitters
        self._queries_keys_values(index, places, kept)
        if kept:
            if before_last:
                before_last()
            return False
        self._attend(index, layer)
        for half in self.halves:
            self._linear(f"layer {index} proj", half, places.proj, self._rows_of("attention", half),
                         self._rows_of("result", half))
        for half in self.halves:
            self._add_norm(f"layer {index} norm 2", half, "result", layer.proj_add, places.norm2)
        for half in self.halves:
            self._linear(f"layer {index} up", half, places.up, self._rows_of("normalised", half),
                         self._rows_of("hidden", half))
            activation = layer.activation
            self._vector(VectorOp.ACTIVATE, f"layer {index} activation", half, ["hidden"], ["activated"], x="hidden",
                         y="activated", channels=self.sizes.hidden, function=self.sizes.function.value, format=INT12,
                         fraction=activation.fraction, mult=activation.mult, shift=activation.shift)
        if before_last:
            before_last()
        for half in self.halves:
            self._linear(f"layer {index} down", half, places.down, self._rows_of("activated", half),
                         self._rows_of("result", half))
        norm = self.model.layers[index + 1].norm1 if not last else self.model.norm if self.wanted else None
        for half in self.halves:
            self._add_norm("last norm" if last else f"layer {index + 1} norm 1", half, "result", layer.down_add, norm)
        return True

    def _queries_keys_values(self, index, places, kept):
        """Where there are halves, keys and values first: append then works beside the queries' linear layer.
        ``kept``: only what the cache keeps."""
        sizes, lanes = self.sizes, self.config.lanes
        split = len(self.halves) > 1 and sizes.key_channel % lanes == 0
        word, rows = self.config.bus_bytes, self.rows["qkv"]
        panels = -(-sizes.qkv_channels // lanes)
        queries = sizes.key_channel // lanes
        # Of all row groups the keys and values lie behind the queries.
        self.q_words, self.kv_words = (sizes.key_channel, sizes.qkv_channels - sizes.key_channel) if split else (
            sizes.qkv_channels,) * 2
        self.q_at = rows.at(0)
        self.k_at = rows.at(0) + (self.groups * self.q_words * word if split else sizes.key_channel * word)
        self.v_at = self.k_at + (sizes.value_channel - sizes.key_channel) * word
        parts = [("kv", self.k_at, self.kv_words, (queries, panels - queries)),
                 ("q", self.q_at, self.q_words, (0, queries))] if split else [("qkv", self.q_at, self.q_words, None)]
        for name, base, words, chosen in parts:
            if name == "q" and kept:
                continue
            for half in self.halves:
                at = base + half[0] * words * word
                self._linear(f"layer {index} {name}", half, places.qkv, self._rows_of("normalised", half),
                             (at, Region(at, half[1] * words * word)), chosen)
            if name != "q":
                self._append(index, places)

    def _append(self, index, places):
        sizes, config = self.sizes, self.config
        group_bytes = self.kv_words * config.bus_bytes
        for first, table, count in self.runs:
            at = first // config.rows * group_bytes
            touched = -(-count // config.rows) * group_bytes
            self.program.add("append", {
                "format": INT16, "heads": sizes.kv_heads, "first_head": index * sizes.kv_heads, "rows": count,
                "keys": self.k_at + at, "values": self.v_at + at, "table": table, "scales": places.scales,
                "channels": self.kv_words, "full": 1}, [Region(self.k_at + at, touched)],
                [Region(index, 1, "keys and values")], f"layer {index} append")

    def _attend(self, index, layer):
        sizes, word = self.sizes, self.config.bus_bytes
        o_words = sizes.heads * sizes.head_dim

        def q(group, head):
            return self.q_at + (group * self.q_words + head * sizes.head_dim) * word, self.q_words

        def o(group, head):
            return self.rows["attention"].at(group) + head * sizes.head_dim * word, o_words

        everything = 0, self.groups
        q_region, kv = Region(self.q_at, self.groups * self.q_words * word), Region(index, 1, "keys and values")
        for key in self.attention.jobs:
            apart = self.attention.scores_apart(key)
            lse = self.model.lse.address if apart else 0
            content, count = self.attention.entries(key, index, layer.attention, q, o, lse)
            lse_region = Region(lse, count * self.config.chunk_rows * 4, "memory" if apart else "nothing")
            fields = {
                **self.attention.fields(key), "key_format": self.model.geometry["key_format"],
                "value_format": self.model.geometry["value_format"], "q_format": INT12, "o_format": INT12,
                "head_dim": sizes.head_dim, "groups": count, "table": self.tables.add(content)}
            if apart:
                fields |= {"lse": 1, "hitters": 0}
            self.program.add("attention", fields, [q_region, kv],
                             [self.rows["attention"].region(*everything), lse_region], f"layer {index} attention")
            if apart:
                self.program.add("score", {**fields, "hitters": 1, "lse": 0}, [q_region, kv, lse_region], [kv],
                                 f"layer {index} heavy hitters")

    def logits(self):
        """The rows that are wanted: (row of the batch -> row of the logits, row groups of logits)."""
        sizes, config, model, wanted = self.sizes, self.config, self.model, self.wanted
        source = "normalised"
        if not wanted:
            return {}, 0
        groups = -(-len(wanted) // config.rows)
        found = {row: row for row in wanted}
        rows = self.rows
        if groups < self.groups:
            source, found = "picked", {row: index for index, row in enumerate(wanted)}
            for row, index in found.items():
                lane, from_, to = index % config.rows, row // config.rows, index // config.rows
                self.program.add("vector", {
                    "op": VectorOp.LANES, "groups": 1, "channels": sizes.d_model, "x": rows["normalised"].at(from_),
                    "y": rows["picked"].at(to), "rotation": (lane - row) % config.rows, "first_lane": lane,
                    "last_lane": lane}, [rows["normalised"].region(from_, 1)], [rows["picked"].region(to, 1)],
                    "row for the head")
        else:
            groups = self.groups
        y = model.logits.at(0), model.logits.region(0, groups)
        self._linear("head", (0, groups), model.head, self._rows_of(source, (0, groups)), y)
        if self.compiler.largest:
            self.program.add("vector", {"op": VectorOp.LARGEST, "groups": groups, "channels": sizes.vocab, "x": y[0],
                                        "y": model.largest.address}, [y[1]],
                             [Region(model.largest.address, groups * config.rows * 64)], "largest logits")
        return found, groups
