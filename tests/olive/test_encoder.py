"""The encoder in gateware against golden."""

import pytest
from olivine.olive.encoder import PairEncoder, SerialPairEncoder
from olivine.olive.formats import OUTLIER_BIAS, LaneFormat

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def _run(width, first_wins, fmt, span, simulator="icarus"):
    """Every pair of elements within ``span`` half units, and what the testbench adds."""
    component = PairEncoder(width, first_wins)
    run(component, "tb.olive.encoder", simulator=simulator, expected=4,
        parameters={"width": width, "first_wins": int(first_wins), "format": fmt.name, "span": span,
                    "latency": component.latency})


@pytest.mark.parametrize("fmt", [LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT, *(
    pytest.param(fmt, marks=pytest.mark.slow) for fmt in (LaneFormat.INT4, LaneFormat.INT8))])
def test_every_format(fmt):
    # Where there are no outliers, one element does not depend on the other.
    _run(16, False, fmt, 60 if fmt in OUTLIER_BIAS else 20)


@pytest.mark.parametrize("width", [10, pytest.param(17, marks=pytest.mark.slow)])
def test_other_widths(width):
    _run(width, False, LaneFormat.OVP4_FLINT, 22)


def test_first_of_two_outliers_wins():
    _run(12, True, LaneFormat.OVP4_INT, 22)


@pytest.mark.slow
def test_on_verilator():
    _run(16, False, LaneFormat.OVP4_INT, 60, simulator="verilator")


@pytest.mark.parametrize("pairs", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_serial(pairs):
    run(SerialPairEncoder(pairs), "tb.olive.serial_encoder", simulator="verilator", expected=2,
        parameters={"pairs": pairs})


@pytest.mark.parametrize("arguments, error, message", [
    ({"width": 9}, ValueError, "width is 9: allowed is 10 to 32"),
    ({"width": "16"}, TypeError, "width must be int, not '16'"),
    ({"first_wins": 1}, TypeError, "first_wins must be True or False, not 1"),
])
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        PairEncoder(**arguments)
