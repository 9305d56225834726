"""A device compared with the golden model: registers, then small models from prompts to tokens and logits."""

from dataclasses import dataclass

from olivine.control.registers import WINDOW_REGISTERS
from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig

from ..device import Device
from ..generate.comparison import compare_stages
from ..generate.measure import differences, generate
from ..lm.model import QuantizedLM
from ..simulation.core import register_offset

__all__ = ["Case", "CASES", "CaseResult", "self_test", "check_registers"]

PATTERNS = (0x0000_0000, 0xFFFF_FFFF, 0x5555_5555, 0xAAAA_AAAA, 0x0123_4567)


@dataclass(frozen=True)
class Case:
    """A random model and what is asked of it.

    Parameters
    ----------
    name : str
    sizes : DecoderConfig
    formats : sequence of LaneFormat
        Of weights, layer by layer in turn.
    groups : sequence of Group
    cache : str
        Format of keys and values, see `olivine_host.lm.model.CACHES`.
    prompts : tuple of tuples of int
    tokens : int
        For each prompt.
    """

    name: str
    sizes: DecoderConfig
    formats: tuple
    groups: tuple
    cache: str
    prompts: tuple
    tokens: int

    def model(self):
        decoder, other = (random_decoder(self.sizes, 5, self.formats, self.groups, cache) for cache in (INT8, OVP4))
        return QuantizedLM(decoder, OVP4, tuple(layer.attention for layer in other.layers))


INT8, OVP4 = (LaneFormat.INT8,) * 2, (LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT)

CASES = (
    Case("one layer, int8", DecoderConfig(layers=1, d_model=16, heads=2, kv_heads=1, head_dim=8, hidden=16, context=16,
                                          vocab=24, function=Function.GELU_TANH),
         INT8, (Group.CHANNEL,), "int8", ((3, 1, 4, 1),), 2),
    Case("two layers, outlier-victim pairs, three sequences",
         DecoderConfig(layers=2, d_model=24, heads=4, kv_heads=2, head_dim=8, hidden=40, context=40, vocab=50,
                       function=Function.GELU_TANH),
         OVP4, (Group.CHANNEL, Group.G64), "ovp4", (tuple(range(17)), (5,), (9, 26, 5)), 4),
)
"""From small to large. Every preset holds them."""


@dataclass(frozen=True)
class CaseResult:
    """What became of a case.

    Parameters
    ----------
    name : str
    tokens : int
        Generated and compared.
    cycles : int
        Of all programs.
    wrong : list of str
        In words; empty if all is equal.
    """

    name: str
    tokens: int
    cycles: int
    wrong: list


def check_registers(core):
    """Sentences about registers that do not hold what is written; of window 0, which is closed again."""
    wrong = []
    for name in ("FIRST_LO", "LAST_LO"):
        offset, low = register_offset(name, 0), _writable(core, name)
        for pattern in PATTERNS:
            core.write_register(offset, pattern)
            if (found := core.read_register(offset)) != pattern & low:
                wrong.append(f"the register at {offset:#x} was written {pattern:#010x} and reads {found:#010x}")
        core.write_register(offset, 0)
    return wrong


def _writable(core, name):
    """Bits of a window's register that it holds."""
    register = next(register for register in WINDOW_REGISTERS if register.name == name)
    kept = sum((1 << field.width) - 1 << field.low for field in register.fields)
    return kept & (1 << core.config.addr_width) - 1


def self_test(backend, config, cases=CASES, *, begin=lambda name: None, **options):
    """Run the cases on a device.

    Parameters
    ----------
    backend : str
        Of `Device`, other than golden.
    config : AcceleratorConfig
    cases : sequence of Case
    begin : callable
        Called with the name of each case before it is run.
    options : dict
        Of `Device`.

    Returns
    -------
    iterator of CaseResult

    Raises
    ------
    LinkError, ProgramFailed
    """
    for case in cases:
        begin(case.name)
        model, asked = case.model(), {"max_new_tokens": case.tokens}
        prompts = [list(prompt) for prompt in case.prompts]
        with Device("golden", config=config) as golden:
            expected = generate(golden.load(model, case.cache), prompts, **asked)
        with Device(backend, config=config, **options) as device:
            made = generate(device.load(model, case.cache), prompts, **asked)
            wrong = differences(made, expected)
            if wrong:
                wrong += _where(device, prompts[0])
        yield CaseResult(case.name, made.tokens, made.cycles, wrong)


def _where(device, prompt):
    """The first stage of a step whose rows are not golden's."""
    stages = compare_stages(device.engine, device.decoder, prompt)
    first = next((stage for stage in stages if stage.differ), None)
    if first is None:
        return ["stage by stage, in a step of the first prompt's first tokens, all is equal"]
    return [f"the first stage that differs is {first.stage} of layer {first.layer}: {first.differ} of {first.total} "
            "values"]
