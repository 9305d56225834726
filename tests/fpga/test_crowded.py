"""How crowded designs are routed: what the router aims at, and the targets that the report keeps."""

from olivine_host.fpga.crowded import CROWDED, ROUTING, aims, is_crowded, keep_targets, route_by_sharing

LOG = """
Info: Max frequency for clock '$glbnet$clocks.pin': 700.00 MHz (PASS at 62.50 MHz)
Info: Max frequency for clock     '$glbnet$clocks.dram': 60.00 MHz (FAIL at 62.50 MHz)
Info: Max frequency for clock     '$glbnet$clocks.core': 70.00 MHz (FAIL at 75.00 MHz)
Info: Max frequency for clock     '$glbnet$clocks.far': 50.00 MHz (FAIL at 75.00 MHz)
"""


def test_aims_are_more_than_the_estimate():
    """At most twice the target: more is of no use, and may keep the router busy for ever, as would a target that is
    far away. One that is near is aimed at."""
    assert aims(LOG).splitlines() == ['FREQUENCY NET "$glbnet$clocks.pin" 125.00 MHZ;',
                                      'FREQUENCY NET "$glbnet$clocks.dram" 62.50 MHZ;',
                                      'FREQUENCY NET "$glbnet$clocks.core" 75.00 MHZ;',
                                      'FREQUENCY NET "$glbnet$clocks.far" 57.50 MHZ;']
    assert aims("") == ""


def test_targets_are_those_of_the_placement():
    report = {"fmax": {"$glbnet$clocks.core": {"achieved": 51.0, "constraint": 52.0}}}
    keep_targets(report, LOG)
    assert report["fmax"]["$glbnet$clocks.core"] == {"achieved": 51.0, "constraint": 75.0}


def test_settings_are_added():
    placed = {"modules": {"top": {"settings": {"seed": "0", "router": "router1"}}}}
    route_by_sharing(placed)
    assert placed["modules"]["top"]["settings"] == {"seed": "0", **ROUTING}


def test_crowded_by_block_rams():
    assert not is_crowded({"DP16KD": 100 * CROWDED}, {"DP16KD": 100})
    assert is_crowded({"DP16KD": 100 * CROWDED + 1}, {"DP16KD": 100})
