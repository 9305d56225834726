"""What operations on the key-value cache take, for a model with many pages to a block."""

from dataclasses import dataclass

from olivine.kvcache.descriptor import CacheOp

from .attention_workload import KV_FORMATS
from .cache_script import CacheScript
from .cache_workload import CacheShape

__all__ = ["OPERATIONS", "CacheOperations"]

OPERATIONS = ("OPEN", "APPEND", "COMMIT", "FORK", "APPEND, copy on write", "COMMIT by path", "SWAP_OUT", "SWAP_IN",
              "CLOSE")
"""In the order in which they are measured."""


@dataclass(frozen=True)
class CacheOperations(CacheShape):
    """Each of `OPERATIONS` on a sequence of so many ``blocks``, the last half full.

    Parameters
    ----------
    layers : int
        A block has ``layers * heads`` pages.
    blocks : tuple of int
    """

    layers: int = 12
    blocks: tuple = (1, 4)

    @property
    def tokens_and_keys(self):
        return f"a sequence of {' and '.join(map(str, self.blocks))} blocks, {self.layers} layers"

    @property
    def sizes(self):
        return f"{self.layers} layers,"

    def lengths_of(self, config):
        # The original and its fork.
        return [max(self.blocks) * config.lanes] * 2

    def script(self, config, seed=0):
        """Its measured jobs are each alone; ``script.operations`` has their numbers by blocks and operation."""
        most = max(self.blocks)
        script = CacheScript(config, heads=self.layers * self.heads, head_dim=self.head_dim,
                             kv_format=KV_FORMATS[self.kv_format], blocks=self._blocks(config), host_blocks=most,
                             seed=seed)
        script.operations = {blocks: self._operations(script, blocks) for blocks in self.blocks}
        return script

    @staticmethod
    def _operations(script, blocks):
        lanes, numbers = script.config.lanes, {}

        def operate(name, op, *arguments, **fields):
            numbers[name] = len(script.jobs)
            return script.operate(op, *arguments, **fields)

        handle = operate("OPEN", CacheOp.OPEN)
        script.extend(handle, (blocks - 1) * lanes + lanes // 2)
        operate("APPEND", CacheOp.APPEND, handle, count=1)
        script.append(handle, 1)
        operate("COMMIT", CacheOp.COMMIT, handle, count=1)
        fork = operate("FORK", CacheOp.FORK, handle)
        operate("APPEND, copy on write", CacheOp.APPEND, fork, count=2)
        script.append(fork, 2)
        operate("COMMIT by path", CacheOp.COMMIT, fork, path=[1])
        operate("SWAP_OUT", CacheOp.SWAP_OUT, fork, count=blocks, host=script.memory.host[0])
        operate("SWAP_IN", CacheOp.SWAP_IN, fork)
        operate("CLOSE", CacheOp.CLOSE, fork)
        script.operate(CacheOp.CLOSE, handle)
        script.memory.reset()
        return numbers
