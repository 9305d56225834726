"""What the vector engine's testbenches share: random jobs, and an engine on a memory."""

import numpy as np
from cocotb.triggers import RisingEdge
from olivine.control.job import JobStatus, StatusCode
from olivine.linear.descriptor import RowFormat
from olivine.vector.descriptor import ADD_FIELDS, FIELDS_OF, NO_INDEX, NORM_FIELDS, Norm, VectorDescriptor, VectorOp
from olivine.vector.formats import RESIDUAL_BITS, Function
from olivine_golden.vector.job import bad_field, fields_of, run_vector
from olivine_golden.vector.norm import NormJob

from tb.linear.bench import EngineBench
from tb.streams import pack, unpack

__all__ = ["MEMORY", "Image", "VectorCase", "VectorBench"]

MEMORY = 1 << 17


class Image:
    """Memory as golden sees it."""

    def __init__(self, content):
        self.content = bytearray(content)

    def read(self, address, count):
        assert 0 <= address and address + count <= len(self.content), (address, count)
        return bytes(self.content[address:address + count])

    def write(self, address, content):
        assert 0 <= address and address + len(content) <= len(self.content), (address, len(content))
        self.content[address:address + len(content)] = content


def sized(rng, bits, count):
    """Signed integers of about the same size, the limits among them now and then."""
    values = rng.integers(-(1 << bits - 1), 1 << bits - 1, count) >> int(rng.integers(0, bits - 4))
    limits = rng.choice([-(1 << bits - 1), (1 << bits - 1) - 1], count)
    return np.where(rng.random(count) < rng.choice([0, .01]), limits, values)


class VectorCase:
    """A legal job over random operands.

    Parameters
    ----------
    rng, config
    op : VectorOp
        Random if None.
    most : int
        Channels of a job whose channels are random.
    memory : int
        Bytes.
    fixed
        Fields that are not random; ``add`` and ``norm`` among them.
    """

    def __init__(self, rng, config, op=None, most=None, memory=MEMORY, **fixed):
        self.rng, self.config, self.memory = rng, config, memory
        self.op = op = VectorOp(int(rng.integers(0, len(VectorOp)))) if op is None else op
        rows, groups = config.rows, int(rng.choice([1, 2, rng.integers(1, min(config.contexts, 4) + 1)]))
        most = most or 256 // rows
        channels = int(rng.choice([1, 2, rng.integers(1, 20), rng.integers(1, most), rng.integers(1, most)]))
        norm = Norm(int(rng.integers(0, len(Norm))))
        drawn = {
            "add": int(rng.integers(0, 2)) if norm is not Norm.NONE else 1, "fresh": int(rng.random() < .3),
            "norm": norm,
            "format": int(rng.integers(0, len(RowFormat))), "function": int(rng.integers(0, len(Function))),
            "fraction": int(rng.integers(8, 13)), "interleaved": int(rng.integers(0, 2)), "groups": groups,
            "idle_rows": int(rng.choice([0, rng.integers(0, rows)])), "channels": channels, **fixed}
        channels, groups = drawn["channels"], drawn["groups"]
        if op is VectorOp.ROTATE:
            channels = fixed.get("channels", int(rng.integers(2, min(config.max_head_dim, most) + 1)))
            drawn["channels"] = channels
            drawn["heads"] = fixed.get("heads", int(rng.integers(1, 4)))
            drawn["pairs"] = fixed.get("pairs", int(rng.integers(1, channels // 2 + 1)))
        first = int(rng.integers(0, rows))
        drawn |= {"rotation": int(rng.integers(0, rows)), "first_lane": first,
                  "last_lane": int(rng.integers(first, rows)), "mult": self._factor(), "out_mult": self._factor(),
                  **{name: value for name, value in fixed.items() if "lane" in name or "mult" in name}}
        drawn |= {"shift": self._shift(drawn), "out_shift": int(rng.integers(10, 34)), **fixed}
        if drawn["norm"] in (Norm.LAYER, Norm.RMS):
            drawn["out_shift"] = fixed.get("out_shift", int(rng.integers(12, 26)))
            of = NormJob.of(channels, float(rng.choice([0, 1e-5, 1e-12])) * min(1, 4096 / channels ** 2),
                            drawn["norm"] is Norm.LAYER)
            drawn |= {"reciprocal": of.reciprocal, "epsilon": of.epsilon}
        used = {*FIELDS_OF[op], *(ADD_FIELDS if op is VectorOp.RESIDUAL and drawn["add"] else ()),
                *(NORM_FIELDS[drawn["norm"]] if op is VectorOp.RESIDUAL else ())}
        self.fields = fields_of({"op": op, **{name: value for name, value in drawn.items() if name in used}})
        self._place(used)
        assert bad_field(config, self.fields) is None, (bad_field(config, self.fields), self.fields)

    def _factor(self):
        return int(self.rng.choice([0, 1, 0xFFFF, *self.rng.integers(1 << 12, 1 << 16, 6)]))

    def _shift(self, drawn):
        most = {VectorOp.RESIDUAL: 20, VectorOp.ACTIVATE: 26, VectorOp.GATE: 24}.get(self.op, 1)
        return int(self.rng.choice([0, 63, *self.rng.integers(most - 10, most, 8)])) if most > 1 else 0

    def _place(self, used):
        """Regions at random places, in any order, on whole beats; some jobs work in place."""
        rng, job, rows, beat = self.rng, self.fields, self.config.rows, self.config.bus_bytes
        groups, channels = job["groups"], job["channels"]
        words = groups * channels * max(job["heads"], 1) * beat
        sizes = dict.fromkeys(used & {"x", "r", "t", "y"}, words)
        op = self.op
        self.indices = None
        if op is VectorOp.RESIDUAL:
            sizes["r"] = 2 * words
            if "t" in sizes:
                sizes["t"] = 4 * channels
                if job["norm"] == Norm.REQUANTIZE.value:
                    del sizes["t"]
        elif op is VectorOp.ROTATE:
            sizes["r"] = groups * 2 * job["pairs"] * beat
        elif op is VectorOp.GATHER:
            table = int(rng.integers(1, 9))
            sizes["x"], sizes["t"] = table * -(-channels // rows) * beat, groups * rows * 4
            indices = rng.integers(0, table, groups * rows)
            self.indices = np.where(rng.random(groups * rows) < rng.choice([0, .2, 1]), NO_INDEX, indices)
        elif op is VectorOp.LARGEST:
            sizes["y"] = groups * rows * 64
        if op in (VectorOp.ACTIVATE, VectorOp.GATE, VectorOp.ROTATE, VectorOp.LANES) and rng.random() < .25:
            del sizes["y"]
        at, self.regions = beat * int(rng.integers(0, 64)), {}
        for name in rng.permutation(sorted(sizes)).tolist():
            self.regions[name] = (at, sizes[name])
            at += sizes[name] + beat * int(rng.integers(0, 9))
            at = -(-at // beat) * beat
        self.end = at
        assert at <= self.memory, (at, job)
        if "y" in used and "y" not in self.regions:
            self.regions["y"] = self.regions["x"]
        job.update({name: place for name, (place, _) in self.regions.items()})
        self.written = [self.regions[name] for name in
                        (("r", "y") if op is VectorOp.RESIDUAL and job["add"] else ("y",)) if name in self.regions]

    def fill(self, memory):
        """Random operands into memory."""
        rng, job = self.rng, self.fields
        for name, (place, size) in self.regions.items():
            if self.op is VectorOp.RESIDUAL and name == "r":
                values = sized(rng, RESIDUAL_BITS, size // 4)
                # The top byte of a container is not looked at.
                noise = rng.integers(0, 256, size // 4) << 24 if rng.random() < .3 else 0
                content = ((values & 0xFFFF_FFFF) ^ noise).astype("<u4").tobytes()
            elif name == "t" and self.op is VectorOp.GATHER:
                content = self.indices.astype("<u4").tobytes()
            elif name == "r" and self.op is VectorOp.ROTATE and rng.random() < .5:
                turns = rng.random((job["groups"], job["pairs"], 1, self.config.rows)) * 7
                content = np.concatenate([np.cos(turns), np.sin(turns)], 2)
                content = np.rint(content * (1 << 14)).astype("<i2").tobytes()
            elif name in ("x", "t") or self.op is VectorOp.GATE:
                content = sized(rng, 16, size // 2).astype("<i2").tobytes()
            else:
                continue
            memory[place:place + size] = content

    @property
    def descriptor(self):
        return pack(VectorDescriptor, self.fields)


class VectorBench(EngineBench):
    """A vector engine on its memory."""

    def __init__(self, dut, **options):
        super().__init__(dut, **{"size": MEMORY, **options})
        dut.rows_ready.value, dut.abort.value = 1, 0

    def load(self, case):
        """Fill memory with noise and operands; returns what it must be afterwards, and the tallies."""
        noise = bytearray(self.rng.bytes(len(self.memory.memory)))
        case.fill(noise)
        self.memory.memory[:] = noise
        image = Image(noise)
        outcome = run_vector(self.config, case.descriptor, image)
        assert outcome.pop("code") is StatusCode.OK, case.fields
        return image.content, {name: outcome[name] for name in ("sat_output", "sat_sum")}

    async def collect(self, timeout=100_000):
        """Status of the job that was pushed."""
        received, = await self.done.collect(1, timeout=timeout)
        self.collected += 1
        return unpack(JobStatus, received)

    async def ready(self):
        """Late beats of a job that timed out are not the next one's."""
        while not self.dut.job_ready.value:
            await RisingEdge(self.dut.aclk)

    def check(self, case, expected, tallies, status):
        """A job that succeeded: memory and tallies."""
        assert status["code"] is StatusCode.OK, (case.op, case.fields, status)
        if self.memory.memory != expected:
            wrong = [at for at, (a, b) in enumerate(zip(self.memory.memory, expected)) if a != b]
            where = {name: [at - place for at in wrong if place <= at < place + size][:8]
                     for name, (place, size) in case.regions.items()}
            raise AssertionError(f"{case.op} {case.fields}: {len(wrong)} bytes differ, by region {where}")
        assert {name: status[name] for name in tallies} == tallies, (case.op, case.fields, status, tallies)

    async def compute(self, case):
        """Run a job that must succeed, and check memory, tallies and counters; returns its status."""
        await self.ready()
        expected, tallies = self.load(case)
        reads, writes = len(self.memory.transfers["r"]), len(self.memory.transfers["w"])
        status = await self.submit(case.descriptor)
        self.check(case, expected, tallies, status)
        assert status["beats_read"] == len(self.memory.transfers["r"]) - reads, (case.fields, status)
        assert status["beats_written"] == len(self.memory.transfers["w"]) - writes, (case.fields, status)
        return status
