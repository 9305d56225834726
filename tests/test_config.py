"""The configuration: what it derives, and everything that it refuses."""

from dataclasses import FrozenInstanceError, replace

import pytest
from olivine import config
from olivine.config import PRESETS, AcceleratorConfig, ConfigError, load_config

TINY = PRESETS["tiny"]


@pytest.mark.parametrize("name, rows, lanes, bus, contexts, head, sequence, reduction", [
    ("tiny", 2, 8, 32, 4, 32, 512, 512),
    ("ecp5", 4, 32, 64, 8, 64, 2_048, 2_048),
    ("edge", 8, 64, 128, 8, 128, 32_768, 4_096),
])
def test_presets(name, rows, lanes, bus, contexts, head, sequence, reduction):
    got = load_config(name)
    assert (got.name, got.rows, got.lanes, got.bus_bits) == (name, rows, lanes, bus)
    assert (got.contexts, got.max_head_dim, got.max_sequence, got.max_reduction) == \
        (contexts, head, sequence, reduction)


def test_derived_sizes():
    edge = PRESETS["edge"]
    assert (edge.bus_bytes, edge.word_beats, edge.multipliers, edge.chunk_rows) == (16, 4, 512, 64)
    assert edge.tile_bytes == 4 * 128 * 64
    assert edge.tile_words == 512
    assert edge.row_words == 8 * 4_096


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        TINY.rows = 4


@pytest.mark.parametrize("changes, message", [
    ({"rows": 3}, "rows is 3: allowed are powers of two from 2 to 32"),
    ({"rows": 1}, "rows is 1: allowed are powers of two"),
    ({"rows": 64}, "rows is 64: allowed are powers of two"),
    ({"lanes": 12}, "lanes is 12: allowed are powers of two from 4 to 256"),
    ({"lanes": 512}, "lanes is 512: allowed are powers of two"),
    ({"bus_bits": 48}, "bus_bits is 48: allowed are powers of two from 32 to 512"),
    ({"bus_bits": 16}, "bus_bits is 16: allowed are powers of two"),
    ({"bus_bits": 128}, "bus_bits is 128: a beat of 16 bytes must divide a word of 8 lanes"),
    ({"contexts": 0}, "contexts is 0: allowed is 1 to 64"),
    ({"contexts": 65}, "contexts is 65: allowed is 1 to 64"),
    ({"windows": 0}, "windows is 0: allowed is 1 to 16"),
    ({"windows": 17}, "windows is 17: allowed is 1 to 16"),
    ({"addr_width": 15}, "addr_width is 15: allowed is 16 to 48"),
    ({"addr_width": 49}, "addr_width is 49: allowed is 16 to 48"),
    ({"drain_columns": 3}, "drain_columns is 3: allowed is 1 to 2"),
    ({"drain_columns": 0}, "drain_columns is 0: allowed is 1 to 2"),
    ({"max_head_dim": 4}, "max_head_dim is 4: allowed is 8 to 256"),
    ({"max_head_dim": 264}, "max_head_dim is 264: allowed is 8 to 256"),
    ({"max_head_dim": 36}, "max_head_dim is 36: allowed are multiples of 8"),
    ({"max_sequence": 0}, "max_sequence is 0: allowed is 1 to"),
    ({"max_sequence": 1 << 21}, "max_sequence is 2097152: allowed is 1 to"),
    ({"max_sequence": 65_569},
     "max_sequence is 65569: the 32-bit softmax denominator holds at most 65568 keys"),
    ({"max_sequence": 43_713}, "max_sequence is 43713: weighted values of 40 bits hold at most 43712 keys"),
    ({"max_reduction": 1}, "max_reduction is 1: allowed is 2 to 65535"),
    ({"max_reduction": 65_536}, "max_reduction is 65536: allowed is 2 to 65535"),
    ({"max_reduction": 5_484}, "max_reduction is 5484: partial sums of 40 bits hold at most 5482 steps"),
    ({"element": "squared"}, "element is 'squared': allowed are 'folded' and 'exponent'"),
    ({"tile_bytes": 3_000}, "tile_bytes is 3000: allowed are powers of two"),
    ({"tile_bytes": 512}, "tile_bytes is 512: a replayed tile of 1024 bytes .* does not fit"),
    ({"tile_bytes": 1_024, "max_head_dim": 256}, "tile_bytes is 1024: a replayed tile of 2048 bytes"),
])
def test_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


@pytest.mark.parametrize("changes", [
    {"rows": 32}, {"lanes": 4}, {"lanes": 256}, {"bus_bits": 64}, {"contexts": 64}, {"windows": 16},
    {"addr_width": 48}, {"drain_columns": 2}, {"max_head_dim": 8}, {"max_sequence": 43_712},
    {"max_reduction": 5_482}, {"element": "exponent"}, {"tile_bytes": 1_024},
])
def test_border_is_allowed(changes):
    # A changed number of lanes derives its own tile buffer.
    got = replace(TINY, **{"tile_bytes": 0, **changes})
    assert all(getattr(got, name) == value for name, value in changes.items())


def test_bounds_by_their_reasons():
    """The two derived limits follow from the largest operands, not from a table."""
    step = config.LANE_MAX * (1 << (config.ROW_BITS - 1))
    assert 5_482 * step * 255 < 1 << 39 <= 5_483 * step * 255
    assert 65_568 * (2_047 << 5) < 1 << 32 <= 65_569 * (2_047 << 5)


def test_accumulator_too_narrow(monkeypatch):
    monkeypatch.setattr(config, "ACCUMULATOR_BITS", 26)
    with pytest.raises(ConfigError, match="a run of 128 steps overflows 26-bit accumulators"):
        replace(TINY)


@pytest.mark.parametrize("changes, message", [
    ({"rows": 2.0}, "rows must be int, not 2.0"),
    ({"rows": True}, "rows must be int, not True"),
    ({"element": 1}, "element must be str, not 1"),
])
def test_wrong_type(changes, message):
    with pytest.raises(TypeError, match=message):
        replace(TINY, **changes)


def test_unknown_preset():
    with pytest.raises(ConfigError, match="preset is 'huge': allowed are 'tiny', 'ecp5', 'edge'"):
        load_config("huge")


def _file(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def test_file_changes_its_base(tmp_path):
    got = load_config("edge", _file(tmp_path, 'preset = "tiny"\nlanes = 16\nelement = "exponent"\n'))
    assert got == AcceleratorConfig("mine", 2, 16, 32, 4, 32, 512, 512, element="exponent")
    assert got.tile_bytes == 2 * 128 * 16, "the tile buffer follows the lanes"


def test_file_without_a_base_changes_the_preset(tmp_path):
    got = load_config("ecp5", _file(tmp_path, "contexts = 2\n"))
    assert got == replace(PRESETS["ecp5"], name="mine", contexts=2)


def test_file_may_name_itself_and_its_tile_buffer(tmp_path):
    got = load_config("tiny", _file(tmp_path, 'name = "roomy"\ntile_bytes = 8192\n'))
    assert (got.name, got.tile_bytes) == ("roomy", 8_192)


@pytest.mark.parametrize("text, message", [
    ("columns = 4\n", "mine.toml sets 'columns': allowed are addr_width, blocks, bus_bits, cells, contexts"),
    ('preset = "huge"\n', "preset is 'huge'"),
    ("rows = 5\n", "rows is 5"),
])
def test_file_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config("tiny", _file(tmp_path, text))


def test_file_with_a_wrong_type(tmp_path):
    with pytest.raises(TypeError, match="rows must be int, not '4'"):
        load_config("tiny", _file(tmp_path, 'rows = "4"\n'))


@pytest.mark.parametrize(("changes", "head_dim", "contexts"), [
    ({}, 64, 8), ({}, 8, 8), ({}, 80, 6), ({}, 96, 5), ({}, 128, 4),
    ({"contexts": 1, "max_head_dim": 256, "tile_bytes": 1 << 14}, 256, 1),
])
def test_attention_contexts(changes, head_dim, contexts):
    """The largest head dimension always has room for one context."""
    assert replace(PRESETS["edge"], **changes).attention_contexts(head_dim) == contexts
