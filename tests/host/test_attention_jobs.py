"""Attention jobs in memory: read back element by element, by the text of the layouts."""

import numpy as np
import pytest
from olivine.attention.descriptor import (
    OPCODE_ATTENTION,
    OPCODE_MERGE,
    AttentionDescriptor,
    AttentionGroup,
    OutputFormat,
)
from olivine.config import PRESETS, AcceleratorConfig
from olivine.linear.descriptor import RowFormat
from olivine.olive.formats import LaneFormat
from olivine.units import UNITS
from olivine_golden.attention import Group, Partial, attend, finish
from olivine_host.attention_jobs import (
    POISON,
    AttentionJob,
    GroupOutput,
    MergeJob,
    pack_keys,
    pack_partial,
    pack_values,
    same_outputs,
    unpack_partial,
)
from olivine_host.jobs import pack_rows
from olivine_host.simulation.backend import SimulatedBackend

TINY = PRESETS["tiny"]
WIDE = AcceleratorConfig("wide", 4, 16, 128, 2, 64, 512, 512)
INT8, OVP = LaneFormat.INT8, LaneFormat.OVP4_INT


def fields(layout, value):
    """Fields of a word, as plain numbers."""
    found = {}
    for name, field in layout:
        number = value >> field.offset & (1 << field.width) - 1
        shape = field.shape
        if getattr(shape, "signed", False) and number >> field.width - 1:
            number -= 1 << field.width
        found[name] = number
    return found


def random_codes(rng, shape, lane_format):
    return rng.integers(0, 1 << lane_format.bits, shape, np.uint8)


def group(rng, rows, keys, d, key_format=INT8, value_format=INT8, **scales):
    scales = {"score_mult": 40_000, "score_shift": 26, **scales}
    return Group(rng.integers(-2048, 2048, (rows, d)), random_codes(rng, (keys, d), key_format),
                 random_codes(rng, (keys, d), value_format), position=scales.pop("position", keys - rows), **scales)


class Memory:
    """A job's regions, byte by byte."""

    def __init__(self, job):
        self.bytes = {}
        for address, content in job.regions:
            for offset, byte in enumerate(content):
                assert address + offset not in self.bytes, "two regions overlap"
                self.bytes[address + offset] = byte

    def word(self, address, size):
        return sum(self.bytes[address + i] << 8 * i for i in range(size))

    def key(self, page, lanes, bus, d, key, dim, lane_format):
        """``[L/B][d][B keys]`` in 8 bit, ``[L/B][d/2][B keys]`` in 4 bit, the first dim in the high nibble."""
        block, within = divmod(key, bus)
        if lane_format is INT8:
            return self.bytes[page + (block * d + dim) * bus + within]
        byte = self.bytes[page + (block * (d // 2) + dim // 2) * bus + within]
        return byte & 15 if dim % 2 else byte >> 4

    def value(self, values, lanes, bus, d, key, dim, lane_format):
        """For each L dims in turn ``[L keys][those dims]``, each key in whole beats."""
        at = values
        first = 0
        while True:
            dims = min(lanes, d - first)
            size = dims if lane_format is INT8 else dims // 2
            beats = (size + bus - 1) // bus
            if dim < first + dims:
                break
            at += lanes * beats * bus
            first += dims
        at += key * beats * bus
        if lane_format is INT8:
            return self.bytes[at + dim - first]
        byte = self.bytes[at + (dim - first) // 2]
        return byte & 15 if dim % 2 else byte >> 4


@pytest.mark.parametrize("config, d, key_format, value_format, options", [
    (TINY, 8, INT8, INT8, {}),
    (TINY, 24, OVP, INT8, {"seed": 3, "page_offset": 1024}),
    (TINY, 32, INT8, OVP, {"align": 512, "skew": 3, "seed": 2}),
    (WIDE, 40, OVP, LaneFormat.INT4, {"page_offset": 16, "q_format": RowFormat.INT8}),
    (WIDE, 64, INT8, OVP, {"skew": 1}),
])
def test_memory_holds_what_the_layouts_say(config, d, key_format, value_format, options):
    rng = np.random.default_rng(d)
    groups = [group(rng, rows, keys, d, key_format, value_format, position=position, o_mult=o_mult)
              for rows, keys, position, o_mult in ((1, config.lanes, 9, 0), (7, 2 * config.lanes + 3, -4, 77))]
    if options.get("q_format") is RowFormat.INT8:
        groups = [Group(part.q // 16, part.k_codes, part.v_codes, part.position, part.score_mult,
                        part.score_shift) for part in groups]
    job = AttentionJob(config, groups, heads=2, causal=True, window=5, key_format=key_format,
                       value_format=value_format, lse=True, **options)
    memory = Memory(job)
    told = fields(AttentionDescriptor, job.descriptor)
    q_format = options.get("q_format", RowFormat.INT12)
    assert told == {"opcode": OPCODE_ATTENTION, "key_format": key_format.value, "value_format": value_format.value,
                    "q_format": q_format.value, "o_format": OutputFormat.INT16.value, "causal": 1, "lse": 1,
                    "head_dim": d, "heads": 2, "window": 5, "groups": 2, "table": told["table"], "reserved": 0,
                    **dict.fromkeys(("cached", "tree", "cells", "hitters"), 0)}
    assert told["table"] % 64 == 0
    lanes, bus, rows = config.lanes, config.bus_bytes, config.rows
    bases = []
    for index, part in enumerate(groups):
        entry = fields(AttentionGroup, memory.word(told["table"] + 64 * index, 64))
        assert entry | {"q": 0, "o": 0, "lse": 0, "bases": 0} == dict.fromkeys(entry, 0) | {
            "score_mult": part.score_mult, "score_shift": part.score_shift, "o_mult": part.o_mult,
            "o_shift": part.o_shift, "rows": len(part.q), "keys": len(part.k_codes), "position": part.position,
            "page_offset": options.get("page_offset", 0)}
        for row, dim in np.ndindex(part.q.shape):
            start, within = row // rows * rows, row % rows
            width = min(rows, len(part.q) - start)
            at = entry["q"] + (start * d + dim * width + within) * q_format.bytes
            word = memory.word(at, q_format.bytes)
            assert (word - part.q[row, dim]) % (1 << 8 * q_format.bytes) == 0
        assert entry["bases"] % 8 == 0
        for key, dim in np.ndindex(part.k_codes.shape):
            base = memory.word(entry["bases"] + 8 * (key // lanes), 8)
            page = base + entry["page_offset"]
            assert page % bus == 0
            within = key % lanes
            values = page + lanes * d * key_format.bits // 8
            assert memory.key(page, lanes, bus, d, within, dim, key_format) == part.k_codes[key, dim]
            assert memory.value(values, lanes, bus, d, within, dim, value_format) == part.v_codes[key, dim]
        bases += [memory.word(entry["bases"] + 8 * page, 8) for page in range(-(-len(part.k_codes) // lanes))]
    assert len(set(bases)) == 4 and (bases == sorted(bases)) == ("seed" not in options)
    assert all(base % options.get("align", 4096) == 0 for base in bases)


def test_unused_cells_are_poisoned():
    codes = np.zeros((9, 24), np.uint8)
    keys, values = pack_keys(codes, 8, 4, OVP), pack_values(codes, 8, 4, OVP)
    assert keys.shape == (2, 8 * 12) and (keys[0] == 0).all()
    # Key 8 is the first of 4 in the first beats of the second page.
    assert (keys[1, :48:4] == 0).all() and np.count_nonzero(keys[1] == POISON) == 96 - 12
    # 24 dims are three blocks of 8, a key's dims of a block fill a beat of 4 bytes.
    assert values.shape == (2, 3 * 8 * 4) and np.count_nonzero(values[1] == POISON) == 3 * 7 * 4
    # 8 dims in 4 bit are 4 of a beat's 16 bytes.
    padded = pack_values(np.zeros((16, 8), np.uint8), 16, 16, OVP)
    assert padded.shape == (1, 16 * 16) and np.count_nonzero(padded == POISON) == 16 * 12


@pytest.mark.parametrize("o_format", OutputFormat)
@pytest.mark.parametrize("skew", [0, 1])
def test_results_are_found_in_the_output(o_format, skew):
    rng = np.random.default_rng(4)
    groups = [group(rng, rows, 5, 8) for rows in (1, 5, 2)]
    partial = o_format is OutputFormat.PARTIAL
    job = AttentionJob(TINY, groups, o_format=o_format, lse=not partial, skew=skew)
    expected, _ = job.golden()
    address, size = job.output
    image = bytearray(b"\xa5" * size)

    def put(at, content):
        assert set(image[at - address:at - address + len(content)]) == {0xa5}, "results overlap"
        image[at - address:at - address + len(content)] = content

    narrow = RowFormat.INT8 if o_format is OutputFormat.INT8 else RowFormat.INT16
    for entry, output in zip(job.entries, expected):
        put(entry["o"], pack_partial(output.partial, 2) if partial else pack_rows(output.y, 2, narrow))
        if not partial:
            assert entry["lse"] % 4 == 0
            put(entry["lse"], output.lse.astype("<i4").tobytes())
    # Up to three bytes before the log-sum-exp are nobody's.
    assert image.count(0xa5) < 64
    assert same_outputs(job.unpack(bytes(image)), expected)
    image[0] ^= 1
    assert not same_outputs(job.unpack(bytes(image)), expected)


def test_partial_results_survive_memory():
    rng = np.random.default_rng(5)
    partial = Partial(rng.integers(-128, 129, 5), rng.integers(0, 1 << 32, 5),
                      rng.integers(-1 << 39, 1 << 39, (5, 8)))
    image = pack_partial(partial, 2)
    assert len(image) == 5 * 2 * (3 + 3 * 8)
    # Second row group, second row: words lie P apart.
    words = np.frombuffer(image, "<i2")[2 * 27:4 * 27].reshape(27, 2)[:, 1].astype(int)
    assert words[0] == partial.m[3] and words[1] & 0xffff | (words[2] & 0xffff) << 16 == partial.l[3]
    assert words[6] & 0xffff | (words[7] & 0xffff) << 16 | words[8] << 32 == partial.o[3, 1]
    assert all(map(np.array_equal, unpack_partial(image, 5, 8, 2), partial))
    broken = bytearray(image)
    broken[-1] ^= 0x40
    with pytest.raises(ValueError, match="must be 8 bits, sign-extended"):
        unpack_partial(bytes(broken), 5, 8, 2)


def test_merge_job_names_partial_results():
    rng = np.random.default_rng(6)
    whole = group(rng, 3, 20, 8, position=30)
    options = {"lanes": 8, "key_format": INT8, "value_format": INT8, "heads": 1, "causal": False, "window": 0}
    parts = [attend(Group(whole.q, whole.k_codes[keys], whole.v_codes[keys], 0, 40_000, 26), **options)[0]
             for keys in (slice(0, 8), slice(8, 20))]
    job = MergeJob(TINY, [parts], [(1000, 20)], o_format=OutputFormat.INT12, lse=True, seed=1, page_offset=8)
    memory = Memory(job)
    told = fields(AttentionDescriptor, job.descriptor)
    assert (told["opcode"], told["o_format"], told["groups"]) == (OPCODE_MERGE, 1, 1)
    entry = fields(AttentionGroup, memory.word(told["table"], 64))
    assert (entry["rows"], entry["keys"], entry["o_mult"], entry["o_shift"]) == (3, 2, 1000, 20)
    for index, part in enumerate(parts):
        base = memory.word(entry["bases"] + 8 * index, 8) + 8
        image = bytes(memory.bytes[base + i] for i in range(3 * 2 * 27))
        assert all(map(np.array_equal, unpack_partial(image, 3, 8, 2), part))
    # Pages end where the parts do, so that the merged result is the whole one.
    (output,), tallies = job.golden()
    partial, _ = attend(whole, **options)
    y, lse, saturated = finish(partial, 1000, 20, OutputFormat.INT12)
    assert np.array_equal(output.lse, lse) and np.abs(output.y - y).max() <= 1
    assert set(tallies) == {"sat_output"} and output.y.any()


def test_golden_adds_up_tallies():
    rng = np.random.default_rng(7)
    parts = [group(rng, 9, 5, 8, OVP, OVP) for _ in range(2)]
    for part in parts:
        part.k_codes[:, :2], part.q[0, 0] = 8, 5000
    chunks = -(-9 // (TINY.rows * TINY.attention_contexts(8)))
    job = AttentionJob(TINY, parts, key_format=OVP, value_format=OVP)
    _, tallies = job.golden()
    _, one = AttentionJob(TINY, parts[:1], key_format=OVP, value_format=OVP).golden()
    assert tallies["sat_row"] == 2 and chunks == 2
    assert tallies["illegal"] >= 2 * chunks * 5 and tallies["illegal"] > one["illegal"] >= chunks * 5


@pytest.mark.parametrize("message, change", [
    ("there is no group", {"groups": []}),
    ("the head dimension is 40: preset 'tiny' holds at most 32", {"d": 40}),
    ("group 0 has 513 keys: preset 'tiny' holds 1 to 512", {"keys": 513}),
    ("align is 6 and page_offset 0: pages start at whole beats of 4 bytes", {"align": 6}),
    ("page_offset 2: pages start at whole beats", {"page_offset": 2}),
    ("rows hold .* an int8 container holds -128 to 127", {"q_format": RowFormat.INT8}),
])
def test_bad_jobs_are_refused(message, change):
    rng = np.random.default_rng(8)
    groups = change.pop("groups", None)
    if groups is None:
        groups = [group(rng, 2, change.pop("keys", 5), change.pop("d", 8))]
    with pytest.raises(ValueError, match=message):
        AttentionJob(TINY, groups, **change)


def test_codes_beyond_their_format_are_refused():
    with pytest.raises(ValueError, match="codes range from 16 to 16: OVP4_INT has 0 to 15"):
        pack_keys(np.full((1, 8), 16), 8, 4, OVP)


def test_outputs_differ_by_what_they_hold():
    y = np.ones((2, 3))
    assert same_outputs([GroupOutput(y)], [GroupOutput(y.copy())])
    assert not same_outputs([GroupOutput(y)], [GroupOutput(y), GroupOutput(y)])
    assert not same_outputs([GroupOutput(y)], [GroupOutput(y, np.ones(2))])


@pytest.mark.skipif("attention" not in UNITS, reason="the attention engine is not there yet")
def test_jobs_on_the_engine():
    """Scattered, skewed pages and poison in their unused cells; then its partial results, merged."""
    rng = np.random.default_rng(9)
    groups = [group(rng, rows, keys, 24, OVP, INT8, position=position)
              for rows, keys, position in ((9, 21, 5), (1, 8, -3), (3, 3, 0))]
    backend = SimulatedBackend("icarus", TINY)
    for o_format in (OutputFormat.INT8, OutputFormat.PARTIAL):
        job = AttentionJob(TINY, groups, heads=2, causal=True, window=6, key_format=OVP, o_format=o_format,
                           lse=o_format is OutputFormat.INT8, align=512, page_offset=8, seed=3, skew=1)
        result = backend.run(job)
        assert job.matches(result.output, result.status)
    partials = [output.partial for output in job.unpack(result.output)]
    merge = MergeJob(TINY, [[partials[0]] * 2, [partials[2]]], [(1000, 20), (0, 25)], lse=True, seed=4, skew=1)
    result = backend.run(merge)
    assert merge.matches(result.output, result.status)
    result.status["sat_output"] += 1
    assert not merge.matches(result.output, result.status)
