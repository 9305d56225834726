"""From an Amaranth component to Verilog that others can use, and its list of ports.

A plain component keeps Amaranth's names: ``clk``, ``rst`` and ``i__payload``. A component with an
`AXI4` member gets the interface that Verilog tools recognise: ``aclk``, ``aresetn`` (synchronous,
active low), ``m_axi_*`` with the constants that the component does not carry, and streams as
``job_valid``, ``job_ready``, ``job_payload``; an `AXI4Lite` slave is ``s_axil_*``.

The text is the same bytes every time: no source locations, no dates, and always the Yosys that
Amaranth brings along.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, is_dataclass

from amaranth.back import rtlil, verilog
from amaranth.hdl import Cat, ClockDomain, Const, Elaboratable, Module, Shape, Signal, Value, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import data, enum, wiring

from . import __version__
from .memory.axi import AXI4
from .program.axi_lite import AXI4Lite

__all__ = ["Design", "design"]

# Another Yosys on PATH would write other bytes.
os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")

INCR, NORMAL_BUFFERABLE = 0b01, 0b0011
"""AxBURST and AxCACHE of every burst (AXI4, A3.4.1 and A4.4)."""

_AXI_MEANING = {
    "id": "identifier", "addr": "address of the first byte", "len": "beats minus one",
    "size": "bytes of a beat, log2: constant", "burst": "INCR: constant", "lock": "normal access: constant",
    "cache": "normal, non-cacheable, bufferable: constant", "prot": "unprivileged, secure data: constant",
    "data": "one beat of data", "strb": "bytes of the beat that are written", "resp": "response",
    "last": "last beat of the burst", "valid": "the sender offers", "ready": "the receiver takes",
}

_MEANING = {
    "clk": "clock, rising edge", "rst": "synchronous reset, active high",
    "aclk": "clock, rising edge", "aresetn": "synchronous reset, active low, joint with the interconnect",
    "windows": "memory that the host opened; hold constant while a job runs",
    "bus_timeout": "silent cycles on the bus after which a job ends with a timeout; 0 is never",
    "activity": "what the unit does this cycle, for traces",
    "job": "job descriptors", "done": "what each job ended with",
    "irq": "a program ended, while the interrupt is enabled",
}


@dataclass(frozen=True)
class Design:
    """A component turned into Verilog.

    Parameters
    ----------
    name : str
        Name of the top module.
    text : str
        Verilog-2005 of the whole design, or RTLIL.
    ports : list of dict
        In order: ``name``, ``direction`` (``"input"`` or ``"output"``), ``width`` in bits; where
        known ``meaning``; for structured ports ``fields``, a list of ``name``, ``offset``, ``width``.
    """

    name: str
    text: str
    ports: list

    def ports_json(self):
        return json.dumps({"module": self.name, "ports": self.ports}, indent=2) + "\n"


def design(component, name=None, header=None, platform=None, language="verilog"):
    """Convert a component.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Name of the top module; the class name in lower case if None.
    header : dict or str
        What the comment at the top says about the configuration: a dict is written as ``key = value``
        lines. ``component.config`` if None and there is one.
    platform : object
        What components are elaborated for: `olivine.olive.ecp5.TARGET` has cells of ECP5 in the text, which the reader
        of it must know; None has plain Verilog only.
    language : str
        ``"verilog"``, or ``"rtlil"``: what Yosys reads without loss, with no comment at the top.
    """
    if language not in ("verilog", "rtlil"):
        raise ValueError(f"language is {language!r}: allowed are 'verilog' and 'rtlil'")
    if not isinstance(component, wiring.Component):
        raise TypeError(f"component must be a wiring.Component, not {component!r}")
    name = type(component).__name__.lower() if name is None else name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"name is {name!r}: allowed are letters, digits and underscores, no digit first")
    if header is None:
        header = getattr(component, "config", None)
    top = _AXITop(component) if _axi_members(component.signature) else _PlainTop(component)
    ports = {port["name"]: (value, PortDirection.Input if port["direction"] == "input" else
                            PortDirection.Output) for port, value in top.ports}
    if language == "rtlil":
        text = rtlil.convert(top.elaboratable, name, platform, ports=ports, emit_src=False)
    else:
        text = verilog.convert(top.elaboratable, name, platform, ports=ports, emit_src=False,
                               strip_internal_attrs=True)
        text = _awake(_without_empty_wires(text))
    described = [port for port, _ in top.ports]
    if isinstance(top, _PlainTop):
        # Amaranth adds clock and reset by itself, and only where they are used.
        described = _implicit_ports(text, name, language) + described
    return Design(name, text if language == "rtlil" else _comment(name, header) + text, described)


def _axi_members(signature):
    """Masters; the slaves among a unit's ports are plain streams."""
    return _members(signature, AXI4, wiring.Out)


def _members(signature, kind, flow):
    return [name for name, member in signature.members.items()
            if member.is_signature and isinstance(member.signature, kind) and not member.dimensions
            and member.flow == flow]


def _comment(name, header):
    lines = [f"Olivine {__version__}: {name}"]
    if is_dataclass(header):
        header = asdict(header)
    if isinstance(header, dict):
        header = "\n".join(f"{key} = {json.dumps(value)}" for key, value in header.items())
    if header:
        lines += ["", *header.splitlines()]
    return "".join(f"// {line}".rstrip() + "\n" for line in lines) + "\n"


def _without_empty_wires(text):
    """Drop declarations of signals of no bits: nothing uses them, and Verilog's ``[-1:0]`` has two."""
    return re.sub(r"^ *(?:wire|reg) \[-1:0\] \S+ *;\n", "", text, flags=re.MULTILINE)


def _awake(text):
    """Make every ``always @*`` run at time zero, in every simulator.

    One that reads nothing never runs, and one whose inputs never change need not: Verilog leaves open
    whether a variable's initial value counts as a change (Icarus says no from 2012 on), and outputs
    stay X. Yosys has each block read a dummy for that; here the dummy changes for certain, and the
    short blocks read it too.
    """
    modules = re.split(r"(?<=^endmodule\n)", text, flags=re.MULTILINE)
    for index, module in enumerate(modules):
        dummy = re.search(r"^ *reg (\S+verilog_backend\S+)  = 0;\n", module, re.MULTILINE)
        block = re.search(r"^ *always @\*\n", module, re.MULTILINE)
        if dummy:
            name, position = dummy.group(1), dummy.start()
            module = module.replace(dummy.group(), "", 1)
        elif block:
            name, position = r"\wake_up", block.start()
        else:
            continue
        module = f"{module[:position]}  reg {name} ;\n  initial {name}  <= 0;\n{module[position:]}"
        longer = r"\1 begin\n\2if ({name} ) begin end\n\2\3\n  end\n".replace(
            "{name}", name.replace("\\", r"\\"))
        modules[index] = re.sub(r"^( *always @\*)\n( *)([^;]*;)\n", longer, module, flags=re.MULTILINE)
    return "".join(modules)


def _implicit_ports(text, name, language):
    # Only the top module's own declarations: the text from its head to its end.
    module, declaration = {
        "verilog": (rf"^module {name}\(.*?^endmodule", r"^\s*input {port};"),
        "rtlil": (rf"^module \\{name}$.*?^end$", r"^\s*wire width 1 input \d+ \\{port}$"),
    }[language]
    body = re.search(module, text, re.MULTILINE | re.DOTALL).group()
    return [_port(port, "input", 1, _MEANING[port]) for port in ("clk", "rst")
            if re.search(declaration.format(port=port), body, re.MULTILINE)]


# --- Descriptions of ports ----------------------------------------------------------------------------

def _fields(shape, prefix="", offset=0):
    """Leaves of a layout, in order."""
    if isinstance(shape, data.StructLayout | data.ArrayLayout):
        for key, field in shape:
            name = f"{prefix}[{key}]" if isinstance(key, int) else f"{prefix}.{key}" if prefix else str(key)
            yield from _fields(field.shape, name, offset + field.offset)
    else:
        leaf = {"name": prefix, "offset": offset, "width": Shape.cast(shape).width}
        if isinstance(shape, enum.EnumType):
            leaf["values"] = {member.name: int(member.value) for member in shape}
        yield leaf


def _port(name, direction, width, meaning=None, shape=None):
    port = {"name": name, "direction": direction, "width": width}
    if meaning:
        port["meaning"] = meaning
    if isinstance(shape, data.Layout):
        port["fields"] = list(_fields(shape))
    return port


def _direction(flow):
    return "input" if flow == wiring.In else "output"


def _flatten(component, separator, skip=()):
    """(description, value) of every port of a component that has bits."""
    for path, member, value in component.signature.flatten(component):
        if path[0] in skip:
            continue
        value = value.as_value() if isinstance(value, ValueCastable) else Value.cast(value)
        if not len(value):
            continue
        meaning = _MEANING.get(path[0]) if len(path) == 1 or path[-1] == "payload" else \
            _AXI_MEANING.get(path[-1])
        yield _port(separator.join(map(str, path)), _direction(member.flow), len(value), meaning,
                    member.shape), value


# --- Tops ---------------------------------------------------------------------------------------------

class _PlainTop:
    """A component as it is."""

    def __init__(self, component):
        self.elaboratable = component
        self.ports = list(_flatten(component, "__"))


class _AXITop(Elaboratable):
    """A component behind standard AXI4 names."""

    def __init__(self, component):
        self.component = component
        self.elaboratable = self
        self._aclk, self._aresetn = Signal(name="aclk"), Signal(name="aresetn")
        self._wires = []
        self.ports = [(_port(name, "input", 1, _MEANING[name]), signal)
                      for name, signal in (("aclk", self._aclk), ("aresetn", self._aresetn))]
        buses = _axi_members(component.signature)
        for bus in buses:
            prefix = "m_axi" if len(buses) == 1 else f"m_axi_{bus}"
            port = getattr(component, bus)
            for channel in ("ar", "r", "aw", "w", "b"):
                self._channel(prefix, channel, getattr(port, channel))
                if channel in ("ar", "aw"):
                    size = (port.signature.bus_bits // 8).bit_length() - 1
                    self._constants(prefix, channel, {"size": Const(size, 3), "burst": Const(INCR, 2),
                                                      "lock": Const(0, 1), "cache": Const(NORMAL_BUFFERABLE, 4),
                                                      "prot": Const(0, 3)})
        slaves = _members(component.signature, AXI4Lite, wiring.In)
        for slave in slaves:
            for channel in ("ar", "r", "aw", "w", "b"):
                self._channel("s_axil", channel, getattr(getattr(component, slave), channel), slave=True)
                if channel in ("ar", "aw"):
                    # Nothing looks at it, but every master drives it.
                    self.ports.append((_port(f"s_axil_{channel}prot", "input", 3, _AXI_MEANING["prot"]),
                                       Signal(3, name=f"s_axil_{channel}prot")))
        self.ports += _flatten(component, "_", skip=(*buses, *slaves))

    def _constants(self, prefix, channel, values):
        for name, value in values.items():
            signal = Signal(len(value), name=f"{prefix}_{channel}{name}")
            self._wires.append(signal.eq(value))
            self.ports.append((_port(f"{prefix}_{channel}{name}", "output", len(value), _AXI_MEANING[name]), signal))

    def _channel(self, prefix, channel, stream, slave=False):
        # AR, AW and W leave the master; R and B enter it, and their ready leaves.
        outward, inward = ("input", "output") if (channel in ("r", "b")) is not slave else ("output", "input")
        layout = stream.payload.shape()

        def add(name, direction, value):
            self.ports.append((_port(f"{prefix}_{channel}{name}", direction, len(value),
                                     _AXI_MEANING[name]), value))

        fields = []
        for name, field in layout:
            # The response's bits, whatever enum they are: ports are plain vectors.
            signal = Signal(Shape.cast(field.shape).width, name=f"{prefix}_{channel}{name}")
            fields.append(signal)
            add(name, outward, signal)
        packed = Cat(*fields)
        self._wires.append(stream.payload.as_value().eq(packed) if outward == "input"
                           else packed.eq(stream.payload.as_value()))
        add("valid", outward, stream.valid)
        add("ready", inward, stream.ready)

    def elaborate(self, platform):
        m = Module()
        domain = ClockDomain("sync")
        # The pin itself is the clock: a copy would lag by a delta cycle behind the data beside it.
        domain.clk = self._aclk
        m.domains += domain
        m.d.comb += [domain.rst.eq(~self._aresetn), *self._wires]
        m.submodules.unit = self.component
        return m
