"""Which row of a step each token takes."""

from dataclasses import dataclass, field

from olivine_golden.kv_sequence import Policy

__all__ = ["Part", "Placed", "place"]


@dataclass(frozen=True)
class Part:
    """Tokens of one sequence in one step.

    Parameters
    ----------
    handle : (int, int)
        Slot and generation of the sequence.
    start : int
        Tokens that the sequence has before the step.
    tokens : tuple of int
    logits : bool
        Whether the logits after the last token are wanted.
    policy : Policy
        As the sequence was opened with.
    tree : tuple of int or None
        The tokens are a tree behind the sequence: of each the mask of 64 bits of those of the step that it sees, itself
        included. Then logits of all tokens are wanted.
    depths : tuple of int or None
        Of a tree, each token's distance from ``start``: its position.
    cells : int
        Of a heavy-hitter sequence, the cells ever used, this step's included.
    """

    handle: tuple
    start: int
    tokens: tuple
    logits: bool = True
    policy: Policy = field(default_factory=Policy)
    tree: tuple | None = None
    depths: tuple | None = None
    cells: int = 0

    @property
    def positions(self):
        depths = self.depths if self.tree is not None else range(len(self.tokens))
        return [self.start + depth for depth in depths]


@dataclass(frozen=True)
class Placed:
    """A part and its first row. Its tokens take rows one after the other."""

    part: Part
    row: int

    @property
    def rows(self):
        return range(self.row, self.row + len(self.part.tokens))


def place(parts, rows, limit):
    """Rows for all parts, in the order of the parts.

    A part of several tokens starts at a row group; single tokens fill what those leave, and then further rows.

    Parameters
    ----------
    parts : sequence of Part
    rows : int
        P.
    limit : int
        P * C.

    Returns
    -------
    list of Placed, int
        And the number of row groups.

    Raises
    ------
    ValueError
        If they do not fit one step.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("a step has no parts: it must have at least one")
    if any(not part.tokens for part in parts):
        raise ValueError("a part has no tokens: it must have at least one")
    first, end, free = {}, 0, []
    for index, part in enumerate(parts):
        if len(part.tokens) > 1:
            first[index] = end
            taken = end + len(part.tokens)
            end = -(-taken // rows) * rows
            free += range(taken, end)
    for index, part in enumerate(parts):
        if len(part.tokens) == 1:
            if free:
                first[index] = free.pop(0)
            else:
                first[index] = end
                free += range(end + 1, end + rows)
                end += rows
    if end > limit:
        raise ValueError(f"{sum(len(part.tokens) for part in parts)} tokens of {len(parts)} sequences take {end} rows: "
                         f"a step has at most {limit}")
    return [Placed(part, first[index]) for index, part in enumerate(parts)], end // rows
