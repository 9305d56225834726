"""A block memory against a list of bits: both ports at random, collisions among them.

Parameters: OLIVINE_WIDTH_A, OLIVINE_WIDTH_B, OLIVINE_MODE of writing ports, OLIVINE_RESET.
"""

import os
import random

import cocotb
from cocotb.triggers import ReadOnly, RisingEdge, Timer

from tb.streams import start

WIDTHS = {port: int(os.environ[f"OLIVINE_WIDTH_{port.upper()}"]) for port in "ab"}
MODE, ASYNCHRONOUS = os.environ["OLIVINE_MODE"], os.environ["OLIVINE_RESET"] == "ASYNC"
PAIR = 36 in WIDTHS.values()
WORDS = 1 << 10


def places(address, width):
    """(word, bit) of each bit of an access, from the lowest."""
    word = address >> 4
    if width == 36:
        return [(word & ~1 | half, bit) for half in range(2) for bit in range(18)]
    if width == 18:
        return [(word, bit) for bit in range(18)]
    byte, offset = address >> 3 & 1, 0 if width == 9 else address & 7 & ~(width - 1)
    return [(word, 9 * byte + offset + bit) for bit in range(width)]


class Model:
    def __init__(self):
        self.bits = {}
        self.out = {"a": "0" * 18, "b": "0" * 18}

    def written(self, port, access):
        """What a port writes: ``{place: bit}``."""
        if not access["enable"] or not access["write"] or (access["clear"] and not ASYNCHRONOUS) \
                or (PAIR and port == "b"):
            return {}
        width, address = WIDTHS[port], access["address"]
        enables = address if width >= 18 else 0b1111
        return {place: access["data"] >> index & 1 for index, place in enumerate(places(address, width))
                if enables >> index // 9 & 1}

    def clock(self, accesses):
        written = {port: self.written(port, accesses[port]) for port in "ab"}
        for port, other in (("b", "a"),) if PAIR else ("ab", "ba"):
            access, width = accesses[port], WIDTHS[port]
            writes = access["write"] and not PAIR
            if access["clear"]:
                bits = ["0"] * 36
            elif access["enable"] and not (writes and MODE == "NORMAL"):
                bits = [str(written[port][place]) if writes and MODE == "WRITETHROUGH" and place in written[port]
                        else "X" if place in written[other] else str(self.bits.get(place, 0))
                        for place in places(access["address"], width)]
                bits += ["0"] * (36 - len(bits))
            else:
                continue
            self.out[port] = "".join(reversed(bits[:18]))
            if width == 36:
                self.out = {"a": self.out["b"], "b": "".join(reversed(bits[18:]))}
        for port in "ab":
            self.bits |= written[port]


@cocotb.test()
async def both_ports(dut):
    rng, model = random.Random(1), Model()
    shown = ("b",) if PAIR and WIDTHS["b"] != 36 else ("a", "b")
    for port in "ab":
        for name in ("address", "data", "enable", "write", "clear"):
            getattr(dut, f"{name}_{port}").value = 0
    await start(dut)
    for _ in range(1_500):
        accesses = {}
        for port in "ab":
            # Few words, so that they meet.
            access = accesses[port] = {
                "address": rng.choice((0, 1, 5, WORDS - 1)) << 4 | rng.getrandbits(4),
                "data": rng.getrandbits(18), "enable": int(rng.random() < 0.8), "write": rng.getrandbits(1),
                "clear": int(rng.random() < 0.05 and not (PAIR and port == "a"))}
            for name, value in access.items():
                getattr(dut, f"{name}_{port}").value = value
        if WIDTHS["a"] == 36:
            accesses["a"]["data"] |= accesses["b"]["data"] << 18
        both = {port: model.written(port, accesses[port]) for port in "ab"}
        if both["a"].keys() & both["b"].keys():
            # Two writers of one bit: nobody knows.
            dut.enable_b.value = accesses["b"]["enable"] = 0
        if ASYNCHRONOUS:
            for port in "ab":
                if accesses[port]["clear"]:
                    model.out[port] = "0" * 18
                    if WIDTHS["b"] == 36 and port == "b":
                        model.out["a"] = model.out["b"]
        await Timer(1, "ns")
        await ReadOnly()
        for port in shown:
            assert str(getattr(dut, f"out_{port}").value).upper() == model.out[port], (port, accesses)
        await RisingEdge(dut.clk)
        model.clock(accesses)
