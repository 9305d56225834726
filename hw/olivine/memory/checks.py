"""Validation of constructor parameters, shared by the units of this folder."""

__all__ = ["check_integer", "check_power_of_two"]


def check_integer(name, value, low, high):
    """Return ``value`` if it is an integer from ``low`` to ``high``.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter, its value and what is allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}: allowed is {low} to {high}")
    return value


def check_power_of_two(name, value, low, high):
    """Return ``value`` if it is a power of two from ``low`` to ``high``; raises like `check_integer`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value & (value - 1) or not low <= value <= high:
        raise ValueError(f"{name} is {value}: allowed are powers of two from {low} to {high}")
    return value
