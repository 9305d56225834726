import pytest
from olivine.memory.watchdog import Watchdog

from tests.simulate import run


def test_watchdog():
    run(Watchdog(bits=6), "tb.memory.watchdog", expected=4)


@pytest.mark.parametrize("bits, error, message", [
    (0, ValueError, "bits is 0: allowed is 1 to 32"), (2.5, TypeError, "bits must be an integer, not 2.5")])
def test_refuses(bits, error, message):
    with pytest.raises(error, match=message):
        Watchdog(bits)
