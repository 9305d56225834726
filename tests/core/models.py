"""Small random decoders, and sequences that enter and leave their batches."""

import random

from olivine.linear.descriptor import Group
from olivine.olive.formats import LaneFormat
from olivine.vector.formats import Function
from olivine_golden.decoder.example import random_decoder
from olivine_golden.decoder.model import DecoderConfig
from olivine_golden.kv_sequence import Policy, heavy, window

__all__ = ["MODELS", "POLICIES", "decoder", "draw_batch", "converse"]

I8, OVP, FLINT, I4 = LaneFormat.INT8, LaneFormat.OVP4_INT, LaneFormat.OVP4_FLINT, LaneFormat.INT4

MODELS = {
    # layers, d_model, heads, KV heads, head_dim, hidden, context, vocab; weights; groups; cache
    "ovp4": ((2, 24, 3, 3, 8, 40, 40, 37), (OVP,), (Group.G64,), (OVP, OVP)),
    "int8": ((1, 32, 2, 2, 16, 64, 24, 61), (I8,), (Group.CHANNEL,), (I8, I8)),
    "shared heads": ((2, 24, 4, 2, 8, 48, 48, 25), (I8, OVP), (Group.CHANNEL, Group.G64), (I8, I8)),
    "wide heads": ((1, 40, 2, 1, 32, 32, 32, 19), (FLINT, I4), (Group.G128, Group.G64), (I8, FLINT)),
    "smallest": ((1, 16, 2, 2, 8, 16, 16, 11), (I8,), (Group.CHANNEL,), (I8, I8)),
    "long reduction": ((1, 16, 2, 2, 8, 134, 16, 9), (OVP, I8), (Group.G64, Group.G128), (FLINT, I8)),
}

KEEP_ALL = Policy()
POLICIES = {"none": KEEP_ALL, "window": window(9), "short window": window(3), "heavy": heavy(6, 4, 4)}


def decoder(name, seed=1):
    sizes, formats, groups, cache = MODELS[name]
    config = DecoderConfig(*sizes, function=list(Function)[seed % len(Function)])
    return random_decoder(config, seed, formats, groups, cache)


def draw_batch(rng, running, config, sizes):
    """Tokens for some of the running sequences, as many as one step can hold: (sequence, tokens) pairs."""
    chosen, groups, rows = [], config.contexts, config.rows
    for sequence in rng.sample(running, len(running)):
        most = min(groups * rows, sizes.context - sequence.length, sequence.policy.chunk or groups * rows)
        if most < 1 or rng.random() < 0.2 and chosen:
            continue
        count = 1 if rng.random() < 0.4 else rng.randint(1, most)
        groups -= -(-count // rows)
        chosen.append((sequence, [rng.randrange(sizes.vocab) for _ in range(count)]))
    return chosen


def converse(host, seed, steps, policies=(KEEP_ALL,)):
    """Sequences enter and leave, prompts come in random splits; all logits must be golden's. Returns what was seen:
    tokens, and how often a sequence was full."""
    rng = random.Random(seed)
    sizes = host.decoder.config
    running, tokens, full = [], 0, 0
    for _ in range(steps):
        while len(running) < 2 or len(running) < 4 and rng.random() < 0.3:
            running.append(host.open(rng.choice(policies)))
        batch = draw_batch(rng, running, host.config, sizes)
        if batch:
            host.step(batch)
            tokens += sum(len(part) for _, part in batch)
        for sequence in list(running):
            ended = sequence.length == sizes.context
            full += ended
            if ended or rng.random() < 0.05:
                host.close(sequence)
                running.remove(sequence)
    for sequence in running:
        host.close(sequence)
    return tokens, full
