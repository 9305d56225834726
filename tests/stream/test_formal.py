"""Proofs that streams lose, duplicate, change and reorder nothing, and that valid waits for nobody."""

import pytest
from olivine.stream import Arbiter, Queue, Skid, Spare
from olivine.stream.gearbox import PACKETS

from tests.formal import prove
from tests.stream.gearbox_harness import GearboxHarness, SameQueue
from tests.stream.harness import ArbiterHarness, OrderHarness


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_queue(depth):
    queue = Queue(2, depth)
    prove(OrderHarness(queue, depth, queue.latency), f"queue_{depth}", mode="pdr")


def test_queue_of_payloads_without_bits():
    prove(OrderHarness(Queue(0, 3), 3, 1), "queue_count", mode="pdr")


def test_skid():
    prove(OrderHarness(Skid(2), 2, Skid.latency), "skid", mode="pdr")


def test_spare():
    prove(OrderHarness(Spare(2), 1, Spare.latency), "spare", mode="pdr")


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_arbiter(inputs):
    prove(ArbiterHarness(Arbiter(2, inputs)), f"arbiter_{inputs}", mode="pdr")


@pytest.mark.parametrize("inputs, outputs", [
    (1, 1), (1, 2),
    pytest.param(2, 2, marks=pytest.mark.slow),
    # Four lanes: rotators of two stages. About a minute and a half each.
    pytest.param(3, 2, marks=pytest.mark.slow), pytest.param(2, 3, marks=pytest.mark.slow),
])
def test_gearbox(inputs, outputs):
    prove(GearboxHarness(1, inputs, outputs), f"gearbox_{inputs}_{outputs}", mode="sat", depth=4)


def test_queue_that_stands_in_for_the_real_one():
    """The proofs of the gearbox rest on this one."""
    prove(SameQueue(3, PACKETS), "same_queue", mode="pdr")
