"""The array's element in cells of Lattice ECP5, where what Yosys makes of plain Amaranth is too large or too slow.

* `multiply`: MULT18X18D with its own input and output registers. Yosys packs no flip-flop into a multiplier.
* `add_or_load`: ``factor`` or ``total + factor`` in a carry chain and nothing else. Yosys puts a LUT a bit before it.
* `spread`: a register in several copies, each with its share of the readers. Yosys merges equal flip-flops.
* `multiplier_sites`: where on the die the multipliers of the array go, so that each stands beside those that it feeds.

Who elaborates chooses: for an Amaranth platform of family ``"ecp5"`` the array is made of these cells, otherwise of
plain Amaranth. `TARGET` stands for such a platform where there is no board.

The cells are Lattice's (FPGA-TN-02205 for the multiplier); their simulation models are those of Yosys, and of
`tb/netlist/ecp5` for the multiplier.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Signal, Value, signed

__all__ = ["TARGET", "is_target", "multiplier_sites", "MULTIPLIER_BITS", "MULTIPLY_CYCLES", "ADD_OR_LOAD", "multiply",
           "add_or_load", "spread"]

MULTIPLIER_BITS = 18
"""Width of an input of MULT18X18D."""

MULTIPLY_CYCLES = 2
"""Cycles from the operands of `multiply` to the product."""

LEFT = 6
"""Of so many blocks of multipliers the array takes one less, where it has the choice."""

ADD_OR_LOAD = 0xC6CC
"""Table of a CCU2C of `add_or_load`: inputs A total, B factor, C load, D constant 1.

The upper half is what a sum's bit is before the carry: A ^ B, with load B. The carry out is the carry in where that is
1, and otherwise the table's lowest four bits, B: A and B are equal then, or with load B is 0. Without a carry at the
bottom, load thus leaves all carries 0.
"""


class _Target:
    family = "ecp5"


TARGET = _Target()


def is_target(platform):
    """Whether ``platform``, as `elaborate` gets it, asks for cells of ECP5."""
    return getattr(platform, "family", None) == TARGET.family


def multiplier_sites(platform):
    """Names that nextpnr has for the die's multipliers, in the order in which the array's lanes use them; none if the
    die is not known.

    Four stand together in a block; 13 blocks make a row across the die, and there are three rows. The order begins at
    the die's middle and winds through the rows, so that the next element is a neighbour. Every `LEFT`th block comes
    last: the array leaves it to others, which so find one wherever they are. Once it jumps, from the lower left to the
    upper right.
    """
    if getattr(platform, "device", None) != "LFE5U-85F":
        return []
    blocks = [4 + 9 * block if block < 7 else 6 + 9 * block for block in range(13)]
    upper, middle, lower = 58, 34, 10
    order = [*((x, upper) for x in reversed(blocks[:6])), *((x, middle) for x in blocks),
             *((x, lower) for x in reversed(blocks)), *((x, upper) for x in reversed(blocks[6:]))]
    left = order[LEFT - 1::LEFT]
    order = [block for block in order if block not in left] + left
    return [f"X{x + offset}/Y{y}/MULT18_{offset}" for x, y in order for offset in (0, 1, 4, 5)]


def multiply(m, a, b, name, site=None):
    """Product of two signed values of up to 18 bits, `MULTIPLY_CYCLES` after them. One MULT18X18D, no reset; at
    ``site``, one of `multiplier_sites`, if it is given.

    Operands lie in the upper bits of the inputs and the product thus in those of the output: nothing to wire for
    signs. Constants come from LUTs of the multiplier's own: one source for all of them would be wired over the die.
    """
    operands = {"A": Value.cast(a), "B": Value.cast(b)}
    low = sum(MULTIPLIER_BITS - len(operand) for operand in operands.values())
    product = Signal(signed(2 * MULTIPLIER_BITS - low), name=name)
    pins = {f"o_P{low + index}": bit for index, bit in enumerate(product)}
    for port, operand in operands.items():
        wide = Cat(Const(0, MULTIPLIER_BITS - len(operand)), operand)
        pins |= {f"i_{port}{index}": bit for index, bit in enumerate(wide)}
    registers = {f"p_REG_{register}_{pin}": f"{pin}0" for register in ("INPUTA", "INPUTB", "OUTPUT")
                 for pin in ("CLK", "CE", "RST")}
    zero, one = (_constant(m, value, f"{name}_{value}") for value in range(2))
    place = {} if site is None else {"a_BEL": site}
    m.submodules[f"{name}_multiplier"] = Instance(
        "MULT18X18D", **place, **registers, **pins, i_SIGNEDA=one, i_SIGNEDB=one, i_SOURCEA=zero, i_SOURCEB=zero,
        i_CLK0=ClockSignal(), i_CE0=one, i_RST0=zero)
    return product


def _constant(m, value, name):
    """0 or 1 from a LUT."""
    result = Signal(name=name)
    m.submodules[f"{name}_lut"] = Instance("LUT4", p_INIT=Const(0xFFFF * value, 16), i_A=0, i_B=0, i_C=0, i_D=0,
                                           o_Z=result)
    return result


def add_or_load(m, load, total, factor, name):
    """``Mux(load, factor, total + factor)``, as wide as ``total``: a CCU2C for two bits."""
    width = len(total)
    result, carry = Signal(total.shape(), name=f"{name}_next"), Const(0)
    factor = Value.cast(factor)
    factor = Cat(factor, factor[-1].replicate(max(0, width - len(factor))))
    for low in range(0, width, 2):
        pins = {"i_CIN": carry}
        if low + 2 < width:
            carry = Signal(name=f"{name}_carry_{low + 2}")
            pins["o_COUT"] = carry
        for half in range(2):
            if low + half < width:
                pins |= {f"i_A{half}": total[low + half], f"i_B{half}": factor[low + half], f"i_C{half}": load,
                         f"o_S{half}": result[low + half]}
            else:
                pins |= {f"i_{pin}{half}": 0 for pin in "ABC"}
            pins[f"i_D{half}"] = 1
        m.submodules[f"{name}_add_{low}"] = Instance(
            "CCU2C", p_INIT0=Const(ADD_OR_LOAD, 16), p_INIT1=Const(ADD_OR_LOAD, 16), p_INJECT1_0="NO",
            p_INJECT1_1="NO", **pins)
    return result


def spread(m, value, copies, name, enable=1):
    """``value`` a cycle later, if ``enable``, in ``copies`` registers without reset; a list of signals."""
    value = Value.cast(value)
    signals = [Signal(value.shape(), name=f"{name}_{index}") for index in range(copies)]
    for signal in signals:
        for index, (source, bit) in enumerate(zip(value, signal, strict=True)):
            m.submodules[f"{signal.name}_{index}"] = Instance(
                "TRELLIS_FF", p_GSR="AUTO", p_CEMUX="CE", p_CLKMUX="CLK", p_LSRMUX="LSR", p_REGSET="RESET",
                i_CLK=ClockSignal(), i_CE=enable, i_LSR=0, i_DI=source, o_Q=bit)
    return signals
