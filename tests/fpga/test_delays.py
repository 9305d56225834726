"""Delays after routing: a small file, written out, has known late registers; a routed design agrees with nextpnr."""

import pytest
from olivine_host.fpga.delays import keep_delays, late_registers


def cell(name, *entries):
    return f'  (CELL\n    (CELLTYPE "X")\n    (INSTANCE {name})\n' + "".join(f"    {entry}\n" for entry in entries)


def wire(source, target, ps):
    return f"    (INTERCONNECT {source} {target} ({ps}:{ps}:{ps}) ({ps}:{ps}:{ps}))\n"


def triple(ps):
    return f"({ps - 20}:{ps - 10}:{ps})"


def flip_flop(name):
    return cell(name, f"(IOPATH CLK Q {triple(500)} {triple(500)})",
                f"(SETUPHOLD (posedge DI) (posedge CLK) {triple(100)} (0:0:0))")


def lut(name):
    return cell(name, *(f"(IOPATH {pin} F {triple(200)} {triple(200)})" for pin in "AB"))


@pytest.fixture
def sdf(tmp_path):
    r"""``a`` and ``b`` go through a LUT to ``c``, in another module; ``d``, of another clock, is behind ``b`` too."""
    wires = [wire(r"\$gbuf\$clocks.core/CLKO", f"unit.{name}/CLK", 0) for name in ("x.a", "x.b", r"y.c\$1")]
    wires += [wire(r"\$gbuf\$clocks.slow/CLKO", "unit.y.d/CLK", 0), wire("unit.x.a/Q", "unit.x.lut/A", 1000),
              wire("unit.x.b/Q", "unit.x.lut/B", 3000), wire("unit.x.lut/F", r"unit.y.c\$1/DI", 2000),
              wire("unit.x.b/Q", "unit.y.d/DI", 9000), wire("unit.x.b/Q", "unit.x.a/DI", 4500)]
    text = "".join([cell(""), *wires, *(flip_flop(f"unit.{name}") for name in ("x.a", "x.b", r"y.c\$1", "y.d")),
                    lut("unit.x.lut")])
    file = tmp_path / "top.sdf"
    file.write_text(text)
    return keep_delays(file)


def test_the_later_way_counts(sdf):
    """By ``b``: 0.5 out, 3 and 2 of wires, 0.2 through the LUT, 0.1 of setup; of slow corners."""
    slowest, other = late_registers(sdf, "clocks.core", 0, inner="unit.")
    assert (slowest.ns, slowest.count, str(slowest.start), str(slowest.end)) == (5.8, 1, "x.b", "y.c$1")
    assert (other.ns, other.start.module, other.end.module) == (5.1, "x", "x")


def test_a_limit(sdf):
    group, = late_registers(sdf, "clocks.core", 5.2)
    assert group.ns == 5.8
    assert late_registers(sdf, "clocks.core", 5.8) == []


def test_of_one_clock(sdf):
    """A path of 9.6 ns ends at the other clock's register."""
    group, = late_registers(sdf, "clocks.slow", 0)
    assert (group.ns, group.count) == (9.6, 1)
    assert late_registers(sdf, "clocks.none", 0) == []


def test_the_file_is_replaced(sdf):
    assert sdf.name == "top.sdf.gz" and not sdf.with_name("top.sdf").exists()
