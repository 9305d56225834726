"""A step's program as text for people, and where everything lies."""

from ..isa import listing as instructions

__all__ = ["listing"]


def listing(model, step):
    """Text: the memory map of a `CompiledModel`, then the instructions of a `Step`, each under what it is for."""
    lines = ["Memory: address, bytes, what\n"]
    lines += [f"{address}  {size:10,}  {name}\n" for address, size, name in model.memory.table()]
    lines.append(f"\nRows: {len(step.placed)} sequences in {step.groups} row group(s)\n")
    lines += [f"rows {place.rows[0]} to {place.rows[-1]}: sequence {place.part.handle[0]}, tokens {place.part.start} "
              f"to {place.part.start + len(place.part.tokens) - 1}\n" for place in step.placed]
    lines.append("\nProgram: number, address, unit and its count, instruction\n")
    texts = instructions(step.program.pack(), model.program.address).splitlines(keepends=True)
    before = None
    for label, text in zip(step.program.labels, texts, strict=True):
        if label != before:
            lines.append(f"; {label}\n")
        lines.append(text)
        before = label
    return "".join(lines)
