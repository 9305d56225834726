"""Imports point one way."""

import pytest

from tests.imports import complaint, imports, modules


def test_imports_point_one_way():
    wrong = []
    count = 0
    for name, path in modules():
        for target in imports(name, path.read_text(), path.name == "__init__.py"):
            count += 1
            if why := complaint(name, target):
                wrong.append(f"{path}: imports {target}: {why}")
    assert count > 100, "hardly any import was found: is the tree where it is looked for?"
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name, source, why", [
    ("olivine.memory.reader", "import torch", "only Amaranth"),
    ("olivine.memory.reader", "import numpy as np", "only Amaranth"),
    ("olivine.memory.reader", "from olivine_golden import linear", "only Amaranth"),
    ("olivine.memory.reader", "def f():\n    import olivine_host.jobs", "only Amaranth"),
    ("olivine.memory.reader", "from tb import streams", "nothing imports tb"),
    ("olivine.memory.reader", "from ..linear.descriptor import FIELDS", "linear is not"),
    ("olivine.memory.reader", "from .. import linear", "linear is not"),
    ("olivine.stream.queue", "from ..numerics import rounding", "numerics is not"),
    ("olivine.control.job", "from olivine.memory.axi import AXI4", "memory is not"),
    ("olivine.linear.engine", "from ..verilog import design", "verilog is not"),
    ("olivine.linear.engine", "from ..elsewhere import x", "has no place"),
    ("olivine_golden.linear", "from olivine.numerics.rounding import rsh", "only definitions"),
    ("olivine_golden.linear", "from olivine.linear import engine", "only definitions"),
    ("olivine_golden.linear", "import olivine_host", "golden does not import host"),
    ("olivine_host.jobs", "from tests import simulate", "nothing imports tests"),
    ("tb.streams", "from tests import simulate", "nothing imports tests"),
])
def test_wrong_import_is_seen(name, source, why):
    found = [complaint(name, target) for target in imports(name, source)]
    assert any(why in (text or "") for text in found), found


@pytest.mark.parametrize("name, source", [
    ("olivine.linear.engine", "from ..memory.axi import AXI4\nfrom ..control.job import Activity"),
    ("olivine.linear.engine", "from .descriptor import FIELDS\nfrom . import descriptor\nimport math"),
    ("olivine_golden.linear", "from olivine.linear.descriptor import Group\nimport numpy"),
    ("olivine_golden.linear",
     "from olivine.control.job import TALLIES\nfrom olivine.linear import descriptor"),
    ("olivine_host.jobs", "import torch, olivine_golden.linear\nfrom olivine.verilog import design"),
    ("tests.linear.test_engine", "from tb import streams\nfrom tests import simulate"),
])
def test_right_import_passes(name, source):
    assert [complaint(name, target) for target in imports(name, source)] == \
        [None] * len(list(imports(name, source)))
