"""What constructors refuse, and what they say."""

import pytest
from olivine.memory.burst import BurstSplitter
from olivine.memory.credits import CreditCounter
from olivine.memory.reader import BurstReader
from olivine.memory.realign import Packer
from olivine.memory.writer import BurstWriter


@pytest.mark.parametrize("unit, arguments, error, message", [
    (BurstReader, {"bus_bytes": 12}, ValueError, "bus_bytes is 12: allowed are powers of two from 2 to 128"),
    (BurstReader, {"bus_bytes": "4"}, TypeError, "bus_bytes must be an integer, not '4'"),
    (BurstReader, {"addr_width": 12}, ValueError, "addr_width is 12: allowed is 13 to 64"),
    (BurstReader, {"depth_beats": 31}, ValueError, "depth_beats is 31: allowed is 32 to"),
    (BurstReader, {"max_burst_beats": 512}, ValueError, "max_burst_beats is 512: allowed are powers of two"),
    (BurstReader, {"id": 2}, ValueError, "id is 2: allowed is 0 to 1"),
    (BurstReader, {"max_outstanding": 3}, ValueError, "max_outstanding is 3: allowed is 4 to"),
    (BurstReader, {"realign": 1}, TypeError, "realign must be True or False, not 1"),
    (BurstWriter, {"bus_bytes": 1}, ValueError, "bus_bytes is 1: allowed are powers of two from 2 to 128"),
    (BurstWriter, {"depth_beats": 31}, ValueError, "depth_beats is 31: allowed is 32 to"),
    (BurstWriter, {"max_outstanding": 7}, ValueError, "max_outstanding is 7: allowed is 8 to"),
    (BurstWriter, {"max_burst_beats": True}, TypeError, "max_burst_beats must be an integer, not True"),
    (BurstSplitter, {"max_burst_beats": 3}, ValueError, "max_burst_beats is 3: allowed are powers of two"),
])
def test_refuses(unit, arguments, error, message):
    sizes = {"addr_width": 32, "bus_bytes": 4, **({"max_burst_beats": 4} if unit is BurstSplitter else {})}
    with pytest.raises(error, match=message):
        unit(**{**sizes, **arguments})


def test_refuses_parts():
    with pytest.raises(ValueError, match="most is 5: allowed is 1 to 4"):
        CreditCounter(4, 5)
    with pytest.raises(ValueError, match="bus_bytes is 3"):
        Packer(3)
