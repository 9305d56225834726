"""Olivine on the host: quantizer, memory images, simulators, command line."""

__all__ = ["attention", "linear"]


def __getattr__(name):
    # Imported when asked for: the command line must start without the quantizer.
    if name == "linear":
        from .functional import linear
        return linear
    if name == "attention":
        from .attention_functional import attention
        return attention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
