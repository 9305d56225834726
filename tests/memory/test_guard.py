import pytest
from olivine.memory.guard import AddressGuard

from tests.simulate import run


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_guard(write):
    name = "guard_write" if write else "guard_read"
    run(AddressGuard(16, 3, write), "tb.memory.guard", name=name, expected=32)


@pytest.mark.parametrize("arguments, error, message", [
    ((16, 0, True), ValueError, "windows is 0: allowed is 1 to 64"),
    ((8, 1, True), ValueError, "addr_width is 8: allowed is 13 to 64"),
    ((16, 1, 1), TypeError, "write must be True or False, not 1"),
    ((16, "2", True), TypeError, "windows must be an integer, not '2'"),
    ((16, 2, True, 17), ValueError, "window_width is 17: allowed is 13 to 16"),
])
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        AddressGuard(*arguments)
