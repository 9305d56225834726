"""Random legal jobs for the testbenches of the linear engine's units, and the plan as those units see it.

Parameter: OLIVINE_CONFIG, the configuration's fields in JSON.
"""

import json
import os
import random

from olivine.config import AcceleratorConfig
from olivine.linear.descriptor import OPCODE_LINEAR, Group, LinearDescriptor, RowFormat
from olivine.linear.plan import plan_layout
from olivine.linear.weights import MULTIPLIER_SLOTS, RECORD_SLOTS
from olivine.olive.formats import LaneFormat
from olivine_golden.plan import Job

from tb.streams import pack

__all__ = ["CONFIG", "MOST", "random_job", "fields", "descriptor", "plan_bits", "tag"]

CONFIG = AcceleratorConfig(**json.loads(os.environ["OLIVINE_CONFIG"]))

MOST = (1 << 20) - 1
"""The largest m and n."""


def random_job(rng: random.Random, *, m=None, k=None, n=None, big=False, **fixed):
    """A legal job; ragged in every direction unless its shape is given.

    Parameters
    ----------
    big : bool
        Any shape and address a descriptor can state, and not one that a simulation can run.
    fixed
        Fields that are not random.
    """
    config = CONFIG
    top = 1 << config.addr_width
    if big:
        def size(limit):
            return rng.choice((1, limit, rng.randint(1, limit), rng.randint(1, limit),
                               1 << rng.randrange(limit.bit_length())))

        m, n, k = m or size(MOST), n or size(MOST), k or size(config.max_reduction)
    else:
        m = m or rng.randint(1, 2 * config.chunk_rows + config.rows)
        n = n or rng.randint(1, 3 * config.lanes)
        k = k or rng.choice([1, 2, 63, 64, 65, 127, 128, 129, config.max_reduction,
                             rng.randint(1, config.max_reduction), rng.randint(1, config.max_reduction)])
    group = fixed.pop("group", None) or rng.choice(list(Group))
    x_format = rng.choice([RowFormat.INT8, RowFormat.INT12])
    drawn = {
        "weight_format": rng.choice(list(LaneFormat)), "x_format": x_format,
        "y_format": rng.choice(list(RowFormat)),
        "group_shift": 0 if group is Group.CHANNEL else rng.randrange(64),
        **fixed,
    }

    def address(alignment):
        value = rng.choice((rng.randrange(top), top - 1 - rng.randrange(64), rng.randrange(64)))
        return value // alignment * alignment

    return Job(config, m=m, k=min(k, config.max_reduction), n=n, group=group, w=address(config.bus_bytes),
               x=address(drawn["x_format"].bytes), y=address(drawn["y_format"].bytes), **drawn)


def fields(job):
    """The job's descriptor, field by field, as integers."""
    return {"opcode": OPCODE_LINEAR, "weight_format": job.weight_format.value, "x_format": job.x_format.value,
            "y_format": job.y_format.value, "group": job.group.value, "group_shift": job.group_shift,
            "m": job.m, "k": job.k, "n": job.n, "x": job.x, "w": job.w, "y": job.y, "reserved": 0}


def descriptor(values):
    """Bits of a descriptor from its fields."""
    return pack(LinearDescriptor, values)


def plan_bits(job):
    return pack(plan_layout(CONFIG), job.plan())


def tag(job, step):
    """Tag of the tile that ends with a golden step."""
    return {"context": step.context, "first_run": int(step.first_run), "last_run": int(step.last_run),
            "half": step.half, "release_run": int(step.final and job.grouped),
            "release_panel": int(step.final and step.last_run),
            "multiplier_slot": step.run_number % MULTIPLIER_SLOTS if job.grouped else 0,
            "record_slot": step.panel_number % RECORD_SLOTS, "lanes": step.lanes, "rows": step.rows}
