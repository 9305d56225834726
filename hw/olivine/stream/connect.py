"""Connecting interfaces with a check that Amaranth leaves out."""

from amaranth.hdl import Shape
from amaranth.lib import data, enum, wiring

__all__ = ["connect", "same_shape"]


def same_shape(a, b):
    """Whether two shapes mean the same bits, inner layouts and enumerations included.

    (Amaranth's comparison of layouts takes an inner layout for any number as wide.)
    """
    if isinstance(a, data.Layout) or isinstance(b, data.Layout):
        if not (isinstance(a, data.Layout) and isinstance(b, data.Layout)) or a.size != b.size:
            return False
        a, b = dict(a), dict(b)
        return a.keys() == b.keys() and all(
            a[key].offset == b[key].offset and same_shape(a[key].shape, b[key].shape) for key in a)
    if isinstance(a, enum.EnumType) or isinstance(b, enum.EnumType):
        return a is b
    return Shape.cast(a) == Shape.cast(b)


def connect(m, src, dst):
    """`wiring.connect` of two interfaces whose ports must also agree in shape.

    `wiring.connect` takes any two ports of the same width, so that a struct with its fields in another order
    connects without a word.

    Parameters
    ----------
    m : Module
    src, dst : interface objects
        A stream, or any other interface. As always, a component's own port is passed as
        ``wiring.flipped(self.i)``.

    Raises
    ------
    TypeError
        If the layouts differ; names the ports and both shapes.
    """
    theirs = {path: member.shape for path, member, _ in dst.signature.flatten(dst)}
    for path, member, _ in src.signature.flatten(src):
        # A member that only one side has is reported by wiring.connect.
        if path in theirs and not same_shape(member.shape, theirs[path]):
            name = ".".join(map(str, path))
            raise TypeError(f"cannot connect {name}: shape {member.shape!r} of the source is not "
                            f"shape {theirs[path]!r} of the destination")
    wiring.connect(m, src, dst)
