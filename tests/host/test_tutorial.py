"""The code in docs/tutorial-linear.md runs, on the golden model in place of the simulator."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-linear.md"


def test_every_example_runs(capsys, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 5
    # Counters are the simulator's alone: the golden model has none to print.
    program = "\n".join(blocks).replace('backend="verilator"', 'backend="golden"')
    program = program.replace('print(result.status["cycles"], result.status["beats_read"])\n', "")
    values = {}
    exec(program, values)
    error, saturated = map(float, capsys.readouterr().out.split())
    assert error == pytest.approx(0.005, abs=0.002), "the page says about 0.005"
    assert saturated == 0
    assert values["y"].shape == (64, 256) and np.isfinite(values["y"]).all()
