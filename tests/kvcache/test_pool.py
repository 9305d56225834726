"""The block pool: golden by its own rules, and the gateware against golden."""

import gc

import pytest
from olivine.kvcache.formats import PoolOp, PoolStatus
from olivine.kvcache.pool import BlockPool
from olivine_golden import block_pool as golden

from tests.simulate import run

# What a constructor refuses is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def _run(blocks, counts_bits, simulator="icarus", room=None):
    component = BlockPool(room or blocks, counts_bits)
    run(component, "tb.kvcache.pool", simulator=simulator, expected=10,
        parameters={"blocks": blocks, "counts_bits": counts_bits, "latency": component.latency,
                    "interval": component.interval})


@pytest.mark.parametrize("blocks, counts_bits", [(6, 2), *(pytest.param(*case, marks=pytest.mark.slow)
                                                   for case in ((2, 1), (16, 3)))])
def test_gateware_equals_golden(blocks, counts_bits):
    _run(blocks, counts_bits)


def test_fewer_blocks_than_there_is_room_for():
    _run(5, 2, room=8)


@pytest.mark.slow
@pytest.mark.parametrize("blocks, counts_bits", [(3, 1), (17, 3)])
def test_on_verilator(blocks, counts_bits):
    _run(blocks, counts_bits, simulator="verilator")


def test_golden_hands_out_what_has_been_free_the_longest():
    pool = golden.BlockPool(3, 2)
    assert [pool.alloc().block for _ in range(2)] == [0, 1]
    assert pool.release(1) == (PoolStatus.OK, 1, 1)
    assert pool.release(0) == (PoolStatus.OK, 0, 1)
    assert pool.free == 3
    assert [pool.alloc().block for _ in range(3)] == [2, 1, 0]
    assert pool.alloc() == (PoolStatus.NO_BLOCK, 0, 0)


def test_golden_counts_users():
    pool = golden.BlockPool(2, 2)
    pool.alloc()
    assert [pool.retain(0).status for _ in range(3)] == [PoolStatus.OK, PoolStatus.OK, PoolStatus.COUNT_FULL]
    assert [pool.release(0)[::2] for _ in range(4)] == [
        (PoolStatus.OK, 0), (PoolStatus.OK, 0), (PoolStatus.OK, 1), (PoolStatus.NOT_HELD, 0)]
    assert pool.retain(0).status is PoolStatus.NOT_HELD
    assert {pool.do(op, 2).status for op in (PoolOp.RETAIN, PoolOp.RELEASE)} == {PoolStatus.BAD_BLOCK}
    assert (pool.counts, pool.free) == ([0, 0], 2)


@pytest.mark.parametrize("arguments, error, message", [
    ((1, 4), ValueError, "blocks is 1: allowed is 2 to 65536"),
    ((65537, 4), ValueError, "blocks is 65537: allowed is 2 to 65536"),
    ((8, 0), ValueError, "counts_bits is 0: allowed is 1 to 16"),
    ((8, 17), ValueError, "counts_bits is 17: allowed is 1 to 16"),
    ((8.0, 4), TypeError, "blocks must be an integer, not 8.0"),
])
def test_refusals(arguments, error, message):
    with pytest.raises(error, match=message):
        BlockPool(*arguments)
    gc.collect()    # what was refused goes here, and not in another test
