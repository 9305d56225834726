"""Attention jobs as memory images: table, page lists, queries and pages as `olivine.attention.descriptor` says."""

from dataclasses import dataclass

import numpy as np
from olivine.attention.descriptor import (
    BASE_BYTES,
    ENTRY_BYTES,
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    PARTIAL_HEADER,
    PARTIAL_PLANES,
    AttentionDescriptor,
    AttentionGroup,
    OutputFormat,
    partial_words,
)
from olivine.kvcache.page import page_bytes, value_blocks
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat

from .bench.limits import Limit, attention_limit
from .jobs import ALIGNMENT, pack_rows, unpack_rows

__all__ = ["POISON", "GroupOutput", "pack_keys", "pack_values", "pack_partial", "unpack_partial", "AttentionJob",
           "MergeJob"]

POISON = 0x88
"""What cells of a page hold that belong to no key or dim: an illegal pair in the outlier-victim formats."""


@dataclass(frozen=True)
class GroupOutput:
    """What a job gave for one group.

    Parameters
    ----------
    y : int64 [R, d] or None
        None where the job wrote partial results.
    lse : int64 [R] or None
        None where the job did not write it.
    partial : olivine_golden.attention.Partial or None
    """

    y: np.ndarray | None
    lse: np.ndarray | None = None
    partial: object = None


def _cells(codes, lanes, lane_format):
    """Codes [S, d] as bytes [page, lane, byte of a key], the last page filled up with `POISON`."""
    codes = np.asarray(codes)
    top = 255 if lane_format is LaneFormat.INT8 else 15
    if codes.size and (codes.min() < 0 or codes.max() > top):
        raise ValueError(f"codes range from {codes.min()} to {codes.max()}: {lane_format.name} has 0 to {top}")
    codes = codes.astype(np.uint8)
    if lane_format is not LaneFormat.INT8:
        codes = codes[:, 0::2] << 4 | codes[:, 1::2]
    pages = -(-len(codes) // lanes)
    filled = np.full((pages * lanes, codes.shape[1]), POISON, np.uint8)
    filled[:len(codes)] = codes
    return filled.reshape(pages, lanes, -1)


def pack_keys(codes, lanes, bus_bytes, key_format):
    """Keys [S, d] as the first part of pages: uint8 [page, bytes].

    A code is a byte in INT8, else a nibble; pairs lie along d.
    """
    cells = _cells(codes, lanes, LaneFormat(key_format))
    blocks = cells.reshape(len(cells), lanes // bus_bytes, bus_bytes, -1)
    return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2)).reshape(len(cells), -1)


def pack_values(codes, lanes, bus_bytes, value_format):
    """Values [S, d] as the second part of pages: uint8 [page, bytes]."""
    value_format = LaneFormat(value_format)
    cells = _cells(codes, lanes, value_format)
    parts, first = [], 0
    for dims, beats in value_blocks(lanes, bus_bytes, np.shape(codes)[1], value_format):
        size = dims * value_format.bits // 8
        block = np.full((len(cells), lanes, beats * bus_bytes), POISON, np.uint8)
        block[:, :, :size] = cells[:, :, first:first + size]
        parts.append(block.reshape(len(cells), -1))
        first += size
    return np.concatenate(parts, axis=1)


def pack_partial(partial, rows):
    """A `Partial` as memory holds it: ``[row group][3 + 3 d][rows]`` int16."""
    m, l, o = (np.asarray(part, np.int64) for part in (partial.m, partial.l, partial.o))  # noqa: E741
    planes = np.stack([o & 0xffff, o >> 16 & 0xffff, o >> 32], axis=2).reshape(len(m), -1)
    words = np.concatenate([m[:, None], (l & 0xffff)[:, None], (l >> 16)[:, None], planes], axis=1)
    # As signed words; O's highest are already.
    return pack_rows((words + 0x8000 & 0xffff) - 0x8000, rows, RowFormat.INT16)


def unpack_partial(image, count, head_dim, rows):
    """Inverse of `pack_partial` for ``count`` rows.

    Raises ValueError if the highest words of O are not sign-extended.
    """
    from olivine_golden.attention import Partial
    words = unpack_rows(image, count, partial_words(head_dim), rows, RowFormat.INT16)
    low = words & 0xffff
    planes = low[:, PARTIAL_HEADER:].reshape(count, head_dim, PARTIAL_PLANES)
    high = words[:, PARTIAL_HEADER + 2::PARTIAL_PLANES]
    if high.size and (high.min() < -128 or high.max() > 127):
        raise ValueError(f"bits 32 to 47 of O hold {high.min()} to {high.max()}: must be 8 bits, sign-extended")
    return Partial(words[:, 0], low[:, 1] | low[:, 2] << 16, planes[:, :, 0] | planes[:, :, 1] << 16 | high << 32)


class _TableJob:
    """What attention and merge jobs share: a table, lists of blocks, and where everything lies.

    In order: table, lists, queries, blocks, results; each part starts at a multiple of 4 KiB.
    """

    unit = "attention"

    def _lay_out(self, config, fields, entries, queries, blocks, *, align, page_offset, seed, skew):
        """``entries`` (fields of `AttentionGroup` but for addresses), ``queries`` (bytes or None) and ``blocks``
        (list of bytes) by group."""
        self.config = config
        self.page_offset = page_offset
        if align % config.bus_bytes or page_offset % config.bus_bytes:
            raise ValueError(f"align is {align} and page_offset {page_offset}: pages start at whole beats of "
                             f"{config.bus_bytes} bytes")
        narrow = self.o_format is OutputFormat.INT8
        lists = self._align(len(entries) * ENTRY_BYTES)
        at = self._align(lists + sum(map(len, blocks)) * BASE_BYTES) + skew * RowFormat(self.q_format).bytes
        self.regions = []
        self._place(entries, "q", at, [len(part) for part in queries])
        if any(queries):
            self.regions.append((at, b"".join(queries)))
        at = self._place_blocks(self._align(at + sum(map(len, queries))), blocks, align, seed)
        bases, first = [], lists
        for entry, places in zip(entries, self.bases):
            entry.update(bases=first, page_offset=page_offset)
            first += len(places) * BASE_BYTES
            bases += places
        self.regions.append((lists, np.array(bases, "<u8").tobytes()))
        start = at + skew * (1 if narrow else 2)
        end = self._place(entries, "o", start, self._sizes)
        if self.lse:
            end = self._place(entries, "lse", -(-end // 4) * 4, [4 * rows for rows in self._rows])
        self.entries = entries
        self.output = (start, end - start)
        self.memory_bytes = self._align(end)
        if self.memory_bytes > 1 << config.addr_width:
            raise ValueError(f"the job ends at byte {self.memory_bytes}: addresses have {config.addr_width} bits")
        self.regions.insert(0, (0, b"".join(
            AttentionGroup.const(entry).as_value().value.to_bytes(ENTRY_BYTES, "little") for entry in entries)))
        self.descriptor = AttentionDescriptor.const({
            **fields, "o_format": self.o_format, "lse": int(self.lse), "head_dim": self.head_dim,
            "groups": len(entries), "table": 0}).as_value().value

    def _place_blocks(self, start, blocks, align, seed):
        """Give every block a base of its own; returns the first address behind them."""
        room = max((-(-(self.page_offset + len(block)) // align) * align for group in blocks for block in group),
                   default=0)
        order = np.arange(sum(map(len, blocks)))
        if seed is not None:
            order = np.random.default_rng(seed).permutation(order)
        bases = [start + int(index) * room for index in order]
        self.bases = []
        for group in blocks:
            self.bases.append(bases[:len(group)])
            bases = bases[len(group):]
            self.regions += [(base + self.page_offset, bytes(block)) for base, block in zip(self.bases[-1], group)]
        return self._align(start + len(order) * room)

    @staticmethod
    def _place(entries, name, at, sizes):
        for entry, size in zip(entries, sizes, strict=True):
            entry[name] = at
            at += size
        return at

    @staticmethod
    def _align(address):
        return -(-address // ALIGNMENT) * ALIGNMENT

    @property
    def _sizes(self):
        """Bytes of the results of each group."""
        partial = self.o_format is OutputFormat.PARTIAL
        row = 2 * partial_words(self.head_dim) if partial else self.head_dim * self.o_format.bytes
        return [rows * row for rows in self._rows]

    def unpack(self, image):
        """A `GroupOutput` for each group from the bytes of the output region."""
        outputs = []
        for entry, rows, size in zip(self.entries, self._rows, self._sizes):
            def part(address, size):
                return image[address - self.output[0]:address - self.output[0] + size]
            y = lse = partial = None
            if self.o_format is OutputFormat.PARTIAL:
                partial = unpack_partial(part(entry["o"], size), rows, self.head_dim, self.config.rows)
            else:
                narrow = self.o_format is OutputFormat.INT8
                y = unpack_rows(part(entry["o"], size), rows, self.head_dim, self.config.rows,
                                RowFormat.INT8 if narrow else RowFormat.INT16)
            if self.lse:
                lse = np.frombuffer(part(entry["lse"], 4 * rows), "<i4").astype(np.int64)
            outputs.append(GroupOutput(y, lse, partial))
        return outputs

    def matches(self, image, status):
        """Whether results and tallies are the golden model's."""
        expected, tallies = self.golden()
        return same_outputs(self.unpack(image), expected) and all(
            status[name] == count for name, count in tallies.items())


def same_outputs(found, expected):
    """Whether two lists of `GroupOutput` hold the same numbers."""
    def flat(output):
        partial = output.partial
        return [output.y, output.lse, *((partial.m, partial.l, partial.o) if partial is not None else ())]

    return len(found) == len(expected) and all(
        len(flat(a)) == len(flat(b)) and all(
            x is y or x is not None and y is not None and np.array_equal(x, y) for x, y in zip(flat(a), flat(b)))
        for a, b in zip(found, expected))


class AttentionJob(_TableJob):
    """Attention of several groups laid out in memory.

    Parameters
    ----------
    config : AcceleratorConfig
    groups : list of olivine_golden.attention.Group
        All of one head dimension.
    heads : int
        Query heads that share a KV head.
    causal : bool
    window : int
        0 for no window.
    key_format, value_format : LaneFormat
    q_format : RowFormat
    o_format : OutputFormat
    lse : bool
        Write the log-sum-exp as well, behind the results.
    align : int
        Block bases are multiples of this many bytes from one another.
    page_offset : int
        Where a page lies in its block.
    seed : int or None
        Scatters the blocks; None lays them one after the other.
    skew : int
        Containers by which queries and results start past a multiple of 4 KiB.

    Attributes
    ----------
    regions, output, descriptor, memory_bytes
        As of `olivine_host.jobs.LinearJob`; ``output`` spans results and log-sum-exp of all groups.
    entries : list of dict
        The table's fields by name.
    bases : list of list of int
        Block bases of each group.
    """

    def __init__(self, config, groups, *, heads=1, causal=False, window=0, key_format=LaneFormat.INT8,
                 value_format=LaneFormat.INT8, q_format=RowFormat.INT12, o_format=OutputFormat.INT16, lse=False,
                 align=ALIGNMENT, page_offset=0, seed=None, skew=0):
        self.groups = list(groups)
        self.heads, self.causal, self.window = heads, bool(causal), window
        self.key_format, self.value_format = LaneFormat(key_format), LaneFormat(value_format)
        self.q_format, self.o_format, self.lse = RowFormat(q_format), OutputFormat(o_format), bool(lse)
        self._check(config)
        lanes, beat = config.lanes, config.bus_bytes
        entries, queries, blocks = [], [], []
        for group in self.groups:
            entries.append({name: int(getattr(group, name)) for name in
                            ("score_mult", "score_shift", "o_mult", "o_shift", "position")}
                           | {"rows": len(group.q), "keys": len(group.k_codes)})
            queries.append(pack_rows(group.q, config.rows, self.q_format))
            pages = np.concatenate([pack_keys(group.k_codes, lanes, beat, self.key_format),
                                    pack_values(group.v_codes, lanes, beat, self.value_format)], axis=1)
            assert pages.shape[1] == page_bytes(lanes, beat, self.head_dim, self.key_format, self.value_format)
            blocks.append([page.tobytes() for page in pages])
        self._lay_out(config, {
            "opcode": OPCODE_ATTENTION, "key_format": self.key_format, "value_format": self.value_format,
            "q_format": self.q_format.value, "causal": int(self.causal), "heads": heads, "window": window,
        }, entries, queries, blocks, align=align, page_offset=page_offset, seed=seed, skew=skew)

    def _check(self, config):
        if not self.groups:
            raise ValueError("there is no group: a job has at least one")
        self.head_dim = self.groups[0].q.shape[1]
        if self.head_dim > config.max_head_dim:
            raise ValueError(f"the head dimension is {self.head_dim}: preset {config.name!r} holds at most "
                             f"{config.max_head_dim}")
        for index, group in enumerate(self.groups):
            shapes = group.q.shape[1], group.k_codes.shape[1], group.v_codes.shape[1]
            if shapes != (self.head_dim,) * 3 or len(group.k_codes) != len(group.v_codes):
                raise ValueError(f"group {index} has q {group.q.shape}, k {group.k_codes.shape} and v "
                                 f"{group.v_codes.shape}: must be [R, {self.head_dim}] and [S, {self.head_dim}]")
            if not 1 <= len(group.k_codes) <= config.max_sequence:
                raise ValueError(f"group {index} has {len(group.k_codes)} keys: preset {config.name!r} holds 1 to "
                                 f"{config.max_sequence}")

    @property
    def _rows(self):
        return [len(group.q) for group in self.groups]

    def limit(self):
        """The fewest cycles of any machine, see `olivine_host.bench.limits`."""
        return attention_limit(self.config, [(len(group.q), len(group.k_codes), group.position)
                                             for group in self.groups],
                               self.head_dim, self.key_format, self.value_format, self.q_format, self.o_format,
                               heads=self.heads, causal=self.causal, window=self.window, lse=self.lse)

    def golden(self):
        """What the golden model gives: a list of `GroupOutput`, and the tallies of the job."""
        from olivine_golden.attention import attention
        outputs, tallies = [], {}
        for group in self.groups:
            made = attention(group, lanes=self.config.lanes,
                             chunk_rows=self.config.rows * self.config.attention_contexts(self.head_dim),
                             key_format=self.key_format, value_format=self.value_format, heads=self.heads,
                             causal=self.causal, window=self.window, o_format=self.o_format)
            partial = self.o_format is OutputFormat.PARTIAL
            outputs.append(GroupOutput(None if partial else made["y"], made["lse"] if self.lse else None,
                                       made["partial"] if partial else None))
            for name, count in made["tallies"].items():
                tallies[name] = tallies.get(name, 0) + int(count)
        return outputs, tallies


class MergeJob(_TableJob):
    """Partial results of the same rows over different keys, merged.

    Parameters
    ----------
    config : AcceleratorConfig
    groups : list of list of olivine_golden.attention.Partial
        The partial results of each group, in order.
    scales : list of (int, int)
        ``o_mult`` and ``o_shift`` of each group; divides by l at 7 fractional bits by default.
    o_format, lse, align, page_offset, seed, skew
        As of `AttentionJob`; a block is a partial result.

    Attributes
    ----------
    As of `AttentionJob`.
    """

    q_format = RowFormat.INT8
    """There are no queries."""

    def __init__(self, config, groups, scales=None, *, o_format=OutputFormat.INT16, lse=False, align=ALIGNMENT,
                 page_offset=0, seed=None, skew=0):
        self.groups = [list(partials) for partials in groups]
        if not self.groups or not all(self.groups):
            raise ValueError("there is no partial result: every group has at least one")
        self.scales = [(0, 25)] * len(self.groups) if scales is None else list(scales)
        self.o_format, self.lse = OutputFormat(o_format), bool(lse)
        self.head_dim = self.groups[0][0].o.shape[1]
        entries = [{"rows": len(partials[0].m), "keys": len(partials), "o_mult": mult, "o_shift": shift}
                   for partials, (mult, shift) in zip(self.groups, self.scales, strict=True)]
        blocks = [[pack_partial(partial, config.rows) for partial in partials] for partials in self.groups]
        self._lay_out(config, {"opcode": OPCODE_MERGE, "heads": 1}, entries, [b""] * len(entries), blocks,
                      align=align, page_offset=page_offset, seed=seed, skew=skew)

    @property
    def _rows(self):
        return [len(partials[0].m) for partials in self.groups]

    def limit(self):
        """The fewest cycles of any machine: partial results are read once, results written once."""
        read = sum(len(partials) * rows * 2 * partial_words(self.head_dim)
                   for partials, rows in zip(self.groups, self._rows))
        written = sum(self._sizes) + (4 * sum(self._rows) if self.lse else 0)
        return Limit(read, written, 0, self.config.bus_bytes, self.config.multipliers)

    def golden(self):
        """What the golden model gives: a list of `GroupOutput`, and the tallies of the job."""
        from olivine_golden.attention import finish, merge
        outputs, saturated = [], 0
        for partials, (mult, shift) in zip(self.groups, self.scales):
            merged = merge(partials)
            if self.o_format is OutputFormat.PARTIAL:
                outputs.append(GroupOutput(None, None, merged))
                continue
            y, lse, count = finish(merged, mult, shift, self.o_format)
            saturated += int(np.sum(count))
            outputs.append(GroupOutput(y, lse if self.lse else None))
        return outputs, {"sat_output": saturated}
