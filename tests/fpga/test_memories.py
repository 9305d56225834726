"""Sites of block RAMs: on placed netlists of a few cells, and that the flow places crowded designs twice."""

import pytest
from olivine_host.fpga import flow
from olivine_host.fpga.boards import BOARDS, harnessed
from olivine_host.fpga.crowded import CROWDED
from olivine_host.fpga.memories import WIDEST, keep_places, memory_places
from olivine_host.fpga.nets import MEMORY

from tests.fpga.test_flow import Many


def placed(cells):
    """``{name: (type, site, {port: net})}`` as nextpnr's JSON of a placement."""
    return {"modules": {"top": {"cells": {
        name: {"type": kind, "attributes": {"NEXTPNR_BEL": site}, "connections": {p: [n] for p, n in ports.items()}}
        for name, (kind, site, ports) in cells.items()}}}}


def logic(name, x, y, **ports):
    return {name: ("TRELLIS_COMB", f"X{x}/Y{y}/SLICEA.K0", ports)}


def memory(name, x, **ports):
    return {name: (MEMORY, f"X{x}/Y10/EBR0", {"CLKA": 1, **ports})}


def test_memories_trade_places():
    """Each of three lies where another should."""
    cells = {}
    for index, (near, at) in enumerate(((5, 60), (30, 5), (62, 30))):
        cells |= memory(f"ram_{index}", at, DOA0=10 + index) | logic(f"reader_{index}", near, 12, A=10 + index)
    assert memory_places(placed(cells)) == {
        "ram_0": "X5/Y10/EBR0", "ram_1": "X30/Y10/EBR0", "ram_2": "X60/Y10/EBR0"}


def test_memories_that_lie_well_stay():
    cells = {}
    for index, at in enumerate((5, 30, 60)):
        cells |= memory(f"ram_{index}", at, DOA0=10 + index) | logic(f"reader_{index}", at + 1, 12, A=10 + index)
    assert memory_places(placed(cells)) == {f"ram_{index}": f"X{at}/Y10/EBR0" for index, at in enumerate((5, 30, 60))}


def test_what_lies_everywhere_and_clocks_do_not_count():
    """A memory joined to something far away by a clock alone, by the widest net that counts, by a wider one."""
    stays, moves = ({"ram_0": f"X{a}/Y10/EBR0", "ram_1": f"X{b}/Y10/EBR0"} for a, b in ((5, 60), (60, 5)))
    far = memory("ram_0", 5) | memory("ram_1", 60) | {"pll": ("EHXPLLL", "X60/Y10/PLL", {"CLKOP": 1})}
    assert memory_places(placed(far)) == stays
    for readers, places in ((WIDEST - 1, moves), (WIDEST, stays)):
        wide = memory("ram_0", 5, DOA0=10) | memory("ram_1", 60)
        for index in range(readers):
            wide |= logic(f"reader_{index}", 60, 10, A=10)
        assert memory_places(placed(wide)) == places


def test_without_memories():
    assert memory_places(placed(logic("alone", 3, 3, A=4))) == {}


def test_places_are_kept():
    netlist = {"modules": {"top": {"cells": {"ram": {"attributes": {"src": "here"}}, "other": {"attributes": {}}}}}}
    keep_places(netlist, {"ram": "X5/Y10/EBR0"})
    cells = netlist["modules"]["top"]["cells"]
    assert cells == {"ram": {"attributes": {"src": "here", "BEL": "X5/Y10/EBR0"}}, "other": {"attributes": {}}}


@pytest.mark.parametrize("crowded", [False, True])
def test_crowded_designs_are_placed_twice(monkeypatch, tmp_path, crowded):
    monkeypatch.setenv("OLIVINE_BUILD", str(tmp_path))
    board, seen = BOARDS["ulx3s-85f"], []

    def last_to_first(netlist):
        cells = netlist["modules"]["top"]["cells"]
        sites = {name: cell["attributes"]["NEXTPNR_BEL"] for name, cell in cells.items() if cell["type"] == MEMORY}
        seen.append(dict(zip(sites, reversed(sites.values()))))
        return seen[-1]

    monkeypatch.setattr(flow, "memory_places", last_to_first)
    count = int(CROWDED * board.capacity[MEMORY]) + crowded
    design = harnessed("crowd", Many(MEMORY, count), board, "", 50.0)
    routed = flow.place_and_route(flow.synthesize(flow.prepare(design)))
    assert len(seen) == crowded and (not crowded or len(seen[0]) == count)
    assert routed.report.cells(MEMORY) == count
    assert not (routed.folder / "placed.json").exists()
    assert [clock.target_mhz for clock in routed.report.clocks] == [50.0], "known after placement only"
