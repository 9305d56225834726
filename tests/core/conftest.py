"""Simulated cores for all tests of this folder: a build takes minutes, and they are reset between tests."""

from dataclasses import replace

import pytest
from olivine.config import PRESETS
from olivine_host.simulation.core import SimulatedCore


@pytest.fixture(scope="session")
def core():
    with SimulatedCore(PRESETS["tiny"], hang_cycles=20_000) as running:
        yield running


@pytest.fixture(scope="session")
def parts_core():
    """One whose words come in parts outside the array."""
    with SimulatedCore(replace(PRESETS["tiny"], name="tiny-parts", vector_cycles=2), hang_cycles=20_000) as running:
        yield running


@pytest.fixture(autouse=True)
def _undisturbed(request):
    """Whatever a test did to the bus is over when it ends."""
    yield
    for name in {"core", "parts_core"} & set(request.fixturenames):
        simulated = request.getfixturevalue(name)
        simulated.fail_burst(0)
        simulated.stall(0)
