import gc

import pytest
from olivine.memory.upsizer import AxiUpsizer

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("narrow, wide, bursts", [
    (64, 128, 16), (32, 128, 16), (32, 64, 1), pytest.param(16, 256, 3, marks=pytest.mark.slow)])
def test_upsizer(narrow, wide, bursts):
    run(AxiUpsizer(32, narrow, wide, 3, bursts), "tb.memory.upsizer", expected=5,
        parameters={"narrow": narrow, "ratio": wide // narrow, "bursts": bursts})


@pytest.mark.parametrize("arguments, message", [
    ((12, 32, 64), "addr_width is 12: allowed is 13 to 64"),
    ((32, 48, 128), "narrow_bits is 48: allowed are powers of two from 8 to 512"),
    ((32, 64, 64), "wide_bits is 64: allowed are powers of two from 128 to 1024"),
    ((32, 32, 64, 0), "id_width is 0: allowed is 1 to 16"),
    ((32, 32, 64, 1, 0), "bursts is 0: allowed is 1 to 256"),
])
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        AxiUpsizer(*arguments)
    gc.collect()    # what was refused goes here, and not in another test
