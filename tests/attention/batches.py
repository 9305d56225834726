"""Jobs over the cache whose groups lie in a batch, drawn at random from jobs whose groups do not."""

import random

import numpy as np
from olivine.attention.descriptor import OutputFormat
from olivine.linear.descriptor import RowFormat
from olivine_host.cache_jobs import Batch, CachedAttentionJob

__all__ = ["places", "in_batch"]


def places(rng, config, heads, requests, head_dim):
    """A place for each request, or None; and how many tokens and channels the batch has.

    Tokens of one head go anywhere within a row group, or from a first lane on; heads of a token to any lane. No two
    share a container of queries or results.
    """
    group, taken, found = config.rows, set(), []
    tokens = config.rows * rng.randint(1, 3)
    channels = head_dim * max(heads, rng.randint(1, 4)) + rng.choice((0, 1, 8))
    for request in requests:
        count, most = len(request.q), tokens
        most = max(most, -(-count // group) * group)
        choices = []
        for token in range(most):
            for channel in range(0, channels - head_dim * (heads if heads > 1 else 1) + 1, rng.choice((1, 3, 8))):
                if heads > 1:
                    fits, area = count == heads <= group, {(token, channel // 8 + part) for part in range(
                        heads * head_dim // 8 + 1)}
                else:
                    fits = token % group == 0 and token + count <= most or token % group + count <= group
                    area = {(token + row, channel // 8 + part) for row in range(count)
                            for part in range(head_dim // 8 + 1)}
                if fits and not taken & area:
                    choices.append((token, channel, area))
        if not choices or rng.random() < 0.2:
            found.append(None)
            continue
        token, channel, area = rng.choice(choices)
        taken |= area
        tokens = most
        found.append((token, channel, channel))
    return found, tokens, channels


def in_batch(memory, requests, *, seed, **options):
    """A `CachedAttentionJob` of which some requests lie in a batch, where its formats allow it."""
    rng = random.Random(f"{seed}")
    formats = options.get("q_format", RowFormat.INT12), options.get("o_format", OutputFormat.INT16)
    if formats[0] is not RowFormat.INT12 or formats[1] not in (OutputFormat.INT12, OutputFormat.INT16):
        return CachedAttentionJob(memory, requests, **options)
    config, heads, head_dim = memory.config, options.get("heads", 1), memory.geometry["head_dim"]
    found, tokens, channels = places(rng, config, heads, requests, head_dim)
    numbers = np.random.default_rng(rng.getrandbits(32))
    q, o = numbers.integers(-1 << 15, 1 << 15, (2, tokens, channels))
    # Results may lie elsewhere than the queries.
    more = rng.choice((0, 5))
    o = np.pad(o, ((0, 0), (0, more)), constant_values=-7)
    made = [request if place is None else request.__class__(**{**vars(request), "place": (*place[:2], place[2] + more)})
            for request, place in zip(requests, found)]
    return CachedAttentionJob(memory, made, batch=Batch(q, o), **options)
