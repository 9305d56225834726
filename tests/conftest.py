"""Options of the regression, and what is common to all tests."""

import pytest

from tests import simulate


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true",
                     help="run the slow tests as well: large designs, long random runs, the longer formal proofs")
    parser.addoption("--waves", action="store_true",
                     help="record waveforms of every simulation, in build/runs")


def pytest_configure(config):
    simulate.waves_wanted = config.getoption("--waves")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
