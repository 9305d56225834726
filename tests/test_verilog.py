"""Generated Verilog: names, ports, the same bytes every time, and clean in other tools' eyes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import olivine
import pytest
from amaranth.hdl import Fragment, Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from olivine.config import PRESETS
from olivine.memory.axi import AXI4
from olivine.units import DEFAULT_UNIT, UNITS, build, unit_design
from olivine.verilog import design
from olivine_host import toolchain

from tests import simulate

ROOT = Path(__file__).parent.parent
WAIVERS = Path(olivine.__file__).with_name("lint.vlt")
LARGE = ("linear", "attention", "attention_engine", "vector", "append", "hitters")
"""Parts of the core, which is looked at as a whole by default."""

EACH_UNIT = [pytest.param(unit, marks=[pytest.mark.slow] if unit in LARGE else []) for unit in UNITS]
PAIR = data.StructLayout({"low": unsigned(3), "high": data.ArrayLayout(2, 2)})


class Delay(wiring.Component):
    """A register between two streams: a plain component."""

    i: In(stream.Signature(PAIR))
    o: Out(stream.Signature(PAIR))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class Inverter(wiring.Component):
    """No clock at all."""

    i: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class Master(wiring.Component):
    """Reads where a job says, and gives the data back: a component with a bus."""

    def __init__(self):
        super().__init__({"job": In(stream.Signature(32)), "done": Out(stream.Signature(64)),
                          "windows": In(data.ArrayLayout(PAIR, 2)), "bus": Out(AXI4(32, 64, id_width=2))})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.bus.ar.payload.id.eq(self.windows[0].low)
        m.d.comb += [
            self.bus.ar.payload.addr.eq(self.job.payload), self.bus.ar.valid.eq(self.job.valid),
            self.job.ready.eq(self.bus.ar.ready), self.done.payload.eq(self.bus.r.payload.data),
            self.done.valid.eq(self.bus.r.valid), self.bus.r.ready.eq(self.done.ready),
            self.bus.b.ready.eq(1),
        ]
        return m


def _ports(made):
    return {port["name"]: (port["direction"], port["width"]) for port in made.ports}


def _in_verilog(made):
    """Ports of the top module as its own text declares them."""
    body = re.search(rf"^module {made.name}\(.*?^endmodule", made.text, re.MULTILINE | re.DOTALL).group()
    declared = re.findall(r"^ +(input|output) (?:\[(\d+):0\] )?\\?(\w+) ?;", body, re.MULTILINE)
    return {name: (direction, int(top or 0) + 1) for direction, top, name in declared}


# --- Ports --------------------------------------------------------------------------------------------

def test_plain_component():
    made = design(Delay(), "delay")
    assert _ports(made) == _in_verilog(made) == {
        "clk": ("input", 1), "rst": ("input", 1),
        "i__payload": ("input", 7), "i__valid": ("input", 1), "i__ready": ("output", 1),
        "o__payload": ("output", 7), "o__valid": ("output", 1), "o__ready": ("input", 1),
    }
    payload = next(port for port in made.ports if port["name"] == "i__payload")
    assert payload["fields"] == [{"name": "low", "offset": 0, "width": 3},
                                 {"name": "high[0]", "offset": 3, "width": 2},
                                 {"name": "high[1]", "offset": 5, "width": 2}]


def test_combinational_component_has_no_clock():
    made = design(Inverter())
    assert made.name == "inverter"
    assert _ports(made) == _in_verilog(made) == {"i": ("input", 4), "o": ("output", 4)}


def test_bus_has_standard_names():
    made = design(Master(), "master")
    assert _ports(made) == _in_verilog(made)
    address = {"id": 2, "addr": 32, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3}
    want = {"aclk": ("input", 1), "aresetn": ("input", 1)}
    for channel in ("ar", "aw"):
        want |= {f"m_axi_{channel}{name}": ("output", width) for name, width in address.items()}
    want |= {f"m_axi_w{name}": ("output", width) for name, width in
             {"data": 64, "strb": 8, "last": 1}.items()}
    want |= {f"m_axi_r{name}": ("input", width) for name, width in
             {"id": 2, "data": 64, "resp": 2, "last": 1}.items()}
    want |= {"m_axi_bid": ("input", 2), "m_axi_bresp": ("input", 2)}
    for channel, outward in {"ar": True, "aw": True, "w": True, "r": False, "b": False}.items():
        want[f"m_axi_{channel}valid"] = ("output" if outward else "input", 1)
        want[f"m_axi_{channel}ready"] = ("input" if outward else "output", 1)
    want |= {"job_payload": ("input", 32), "job_valid": ("input", 1), "job_ready": ("output", 1),
             "done_payload": ("output", 64), "done_valid": ("output", 1), "done_ready": ("input", 1),
             "windows": ("input", 14)}
    assert _ports(made) == want


@pytest.mark.parametrize("name, value", [
    ("arsize", "3'h3"), ("awsize", "3'h3"), ("arburst", "2'h1"), ("awburst", "2'h1"), ("arlock", "1'h0"),
    ("arcache", "4'h3"), ("awcache", "4'h3"), ("arprot", "3'h0"), ("awprot", "3'h0"),
])
def test_bus_constants(name, value):
    assert f"assign m_axi_{name} = {value};" in design(Master(), "master").text


def test_ports_of_a_bus_have_meanings():
    without = [port["name"] for port in design(Master(), "master").ports if not port.get("meaning")]
    assert without == [], without


def test_bus_behaves():
    """Reset, clock and the wires between the component and its standard names."""
    simulate.run(Master(), "tb.selftest.reset", expected=1)


# --- Header and bytes ---------------------------------------------------------------------------------

def test_header_names_version_and_configuration():
    text = design(Delay(), "delay", {"unit": "delay", "rows": 2, "element": "folded"}).text
    assert text.startswith(f"// Olivine {olivine.__version__}: delay\n//\n// unit = \"delay\"\n// rows = 2\n"
                           "// element = \"folded\"\n\n")


def test_header_takes_the_components_configuration():
    component = Delay()
    component.config = PRESETS["tiny"]
    text = design(component, "delay").text
    for line in ('name = "tiny"', "rows = 2", "lanes = 8", "tile_bytes = 2048", 'element = "folded"'):
        assert f"\n// {line}\n" in text


@pytest.mark.parametrize("name", ["2wide", "a-b", "a b", "a[0]", "\u00fcnit"])
def test_bad_name(name):
    component = Delay()
    with pytest.raises(ValueError, match=re.escape(f"name is {name!r}: allowed are letters")):
        design(component, name)
    # A component that is never elaborated is a mistake elsewhere, and Amaranth warns of it.
    Fragment.get(component, None)


def test_not_a_component():
    with pytest.raises(TypeError, match="component must be a wiring.Component, not 'queue'"):
        design("queue")


# --- Every unit in other tools' eyes -------------------------------------------------------------------

@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each unit's Verilog at the smallest preset, made once."""
    made = {}

    def get(unit):
        if unit not in made:
            result = unit_design(unit, PRESETS["tiny"])
            path = tmp_path_factory.mktemp("unit") / f"{result.name}.v"
            path.write_text(result.text)
            made[unit] = result, path
        return made[unit]
    return get


def test_default_unit_exists():
    assert DEFAULT_UNIT in UNITS


def test_unknown_unit():
    with pytest.raises(ValueError, match="unit is 'foo': allowed are core, linear, "):
        build("foo", PRESETS["tiny"])


@pytest.mark.parametrize("unit", EACH_UNIT)
def test_ports_match_the_verilog(written, unit):
    made, _ = written(unit)
    assert _ports(made) == _in_verilog(made)


@pytest.mark.parametrize("unit", EACH_UNIT)
def test_same_bytes_every_time(written, tmp_path, unit):
    """The command, in a process with another hash seed, writes what this process made."""
    made, _ = written(unit)
    target = tmp_path / "unit.v"
    subprocess.run([sys.executable, "-c", "from olivine_host.cli import main; main()", "verilog", "--preset",
                    "tiny", "--unit", unit, "-o", str(target)], check=True, cwd=tmp_path, capture_output=True,
                   env={**os.environ, "PYTHONHASHSEED": "1"})
    text = target.read_text()
    assert text == made.text
    assert target.with_suffix(".ports.json").read_text() == made.ports_json()
    assert json.loads(made.ports_json())["module"] == f"olivine_{unit}"
    assert str(ROOT) not in text and sys.prefix not in text, "a path of this machine is in it"
    assert " src =" not in text


def _lint(path):
    tool = toolchain.verilator()
    return subprocess.run([tool.path, "--lint-only", "-Wall", str(WAIVERS), str(path),
                           "--top-module", path.stem],
                          env=tool.env(), capture_output=True, text=True, check=False)


def _elaborate(path):
    return subprocess.run([toolchain.icarus().path, "-g2005", "-t", "null", "-s", path.stem, str(path)],
                          capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", EACH_UNIT)
def test_verilator_lint(written, unit):
    done = _lint(written(unit)[1])
    assert done.returncode == 0, done.stderr[-4_000:]


@pytest.mark.parametrize("unit", EACH_UNIT)
def test_icarus_elaborates(written, unit):
    done = _elaborate(written(unit)[1])
    assert done.returncode == 0, done.stderr[-4_000:]


def test_lint_finds_faults(tmp_path):
    """The waivers leave enough to complain about."""
    for name, body, rule in (
            ("loop", "wire a, b; assign a = b & i; assign b = a | i; assign o = b;", "UNOPTFLAT"),
            ("undriven", "wire a; assign o = a & i;", "UNDRIVEN"),
            ("latch", "reg a; always @* if (i) a = 1; assign o = a;", "LATCH")):
        path = tmp_path / f"{name}.v"
        path.write_text(f"module {name}(input i, output o); {body} endmodule\n")
        done = _lint(path)
        assert done.returncode and rule in done.stderr, (name, done.stderr)


def test_icarus_finds_faults(tmp_path):
    path = tmp_path / "broken.v"
    path.write_text("module broken(input i, output o); missing m(i, o); endmodule\n")
    assert _elaborate(path).returncode


@pytest.mark.slow
def test_every_waiver_is_needed(written, tmp_path):
    """A waiver that no unit needs hides faults for nothing."""
    waived = set(re.findall(r"^lint_off -rule (\w+)", WAIVERS.read_text(), re.MULTILINE))
    seen = set()
    tool = toolchain.verilator()
    for unit in UNITS:
        path = tmp_path / f"file_of_{unit}.v"
        path.write_text(written(unit)[0].text)
        done = subprocess.run([tool.path, "--lint-only", "-Wall", str(path)], env=tool.env(),
                              capture_output=True, text=True, check=False)
        seen |= set(re.findall(r"%Warning-(\w+)", done.stderr))
    assert waived - seen == set()
