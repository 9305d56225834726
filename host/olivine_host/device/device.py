"""``Device(backend=...)``: load a model, generate; sequences enter and leave a running batch between steps."""

from collections import deque
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

from olivine.config import load_config
from olivine.kvcache.descriptor import CachePolicy
from olivine_golden.kv_sequence import Policy

from ..compiler.batch import Part
from ..lm.file import load as load_file
from ..lm.model import QuantizedLM
from .engines import ProgramFailed, make_engine
from .sampling import Logits, Sampler, Sampling

__all__ = ["Completion", "Device"]


@dataclass
class Completion:
    """What became of a prompt.

    Attributes
    ----------
    prompt, tokens : list of int
    text : str
        Of ``tokens``; "" where the model has no tokenizer.
    finished : str
        ``"length"``: as many tokens as asked for; ``"context"``: the model's context is full; ``"stop"``: the stop
        token came.
    logits : Logits or None
        Those of the last token.
    """

    prompt: list
    tokens: list = field(default_factory=list)
    text: str = ""
    finished: str = ""
    logits: Logits | None = None


class _Sequence:
    """A prompt on its way."""

    def __init__(self, number, completion, sampler, limit, policy):
        self.number, self.completion, self.sampler, self.limit, self.policy = number, completion, sampler, limit, policy
        self.handle, self.length, self.kept, self.cells = None, 0, 0, 0
        self.shown = 0      # characters of the text that were streamed

    @property
    def waiting(self):
        """Tokens that the model has not seen."""
        return (self.completion.prompt + self.completion.tokens)[self.length:]

    def part(self, count):
        tokens = tuple(self.waiting[:count])
        cells = 0
        if self.policy.kind is CachePolicy.HEAVY:
            self.cells = cells = max(self.cells, self.kept + len(tokens))
        return Part(self.handle, self.length, tokens, len(tokens) == len(self.waiting), self.policy, cells=cells)

    def took(self, count):
        self.length += count
        if self.policy.kind is CachePolicy.HEAVY:
            self.kept = min(self.kept + count, self.policy.heavy + self.policy.recent)


class Device:
    """An accelerator.

    Parameters
    ----------
    backend : str
        ``"golden"``: the integer model; ``"verilator"``, ``"icarus"``: the core's Verilog in a simulator;
        ``"serial:PORT"``: a board, its bridge on a serial port.
    preset : str
    config : AcceleratorConfig or None
        Instead of a preset.
    options : dict
        Of `olivine_host.device.engines.CoreEngine`.

    Attributes
    ----------
    costs : list of (list of Part, StepCost)
        Of every step of the last `generate`.
    """

    def __init__(self, backend="golden", preset="edge", config=None, **options):
        self.backend, self.config, self.options = backend, config or load_config(preset), options
        self.lm = self.engine = self.tokenizer = None
        self.costs = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def load(self, model, cache="int8"):
        """Put a model into the device's memory.

        Parameters
        ----------
        model : QuantizedLM, or path of a quantized file
        cache : str
            Format of keys and values: ``"int8"`` or ``"ovp4"``.

        Raises
        ------
        ConfigError
            If it does not fit the configuration.
        """
        self.close()
        self.lm = model if isinstance(model, QuantizedLM) else load_file(Path(model))
        self.decoder = self.lm.with_cache(cache)
        if self.lm.tokenizer:
            from tokenizers import Tokenizer
            self.tokenizer = Tokenizer.from_str(self.lm.tokenizer)
        self.engine = make_engine(self.backend, self.config, self.decoder, **self.options)
        return self

    def generate(self, prompts, max_new_tokens=32, temperature=0.0, top_k=0, top_p=1.0, seed=0, stream=None,
                 policy=None, batch=None, stop=None):
        """Continue prompts.

        Parameters
        ----------
        prompts : str, list of int, or a list of those
        max_new_tokens : int
        temperature, top_k, top_p, seed
            See `Sampling`.
        stream : callable or None
            Called with (number of the prompt, token, its text) as tokens come.
        policy : Policy or None
            What sequences forget; nothing by default.
        batch : int or None
            Sequences at a time, at most those that the core holds.
        stop : int or None
            Token that ends a sequence.

        Returns
        -------
        list of Completion, or one for a single prompt

        Raises
        ------
        ValueError
            If a prompt is empty, longer than the context, holds a token that the model does not have, or needs more of
            the cache than there is; if heavy hitters take chunks that no step holds.
        RuntimeError
            Without a model.
        ProgramFailed
            If a program of the core does.
        """
        if self.engine is None:
            raise RuntimeError("no model is loaded: call load first")
        single = isinstance(prompts, str) or len(prompts) > 0 and isinstance(prompts[0], Integral)
        sampling = Sampling(temperature, top_k, top_p, seed)
        policy = policy or Policy()
        if policy.kind is CachePolicy.HEAVY and policy.chunk > self.config.chunk_rows:
            raise ValueError(f"heavy hitters take prompts in chunks of {policy.chunk} tokens: a step has at most "
                             f"{self.config.chunk_rows}")
        if batch is not None and batch < 1:
            raise ValueError(f"batch is {batch}: must be 1 or more")
        queue = deque(self._sequence(number, prompt, max_new_tokens, sampling, policy)
                      for number, prompt in enumerate([prompts] if single else prompts))
        done = [sequence.completion for sequence in queue]
        for sequence in queue:
            self._check_room(sequence)
        running, self.costs = [], []
        try:
            while queue or running:
                self._admit(queue, running, min(batch or self.config.sequences, self.config.sequences))
                self._step(running, sampling, stream, stop)
        except ProgramFailed:
            # What the cache holds is not known any more.
            self.close()
            raise
        except BaseException:
            for sequence in running:
                self.engine.close_sequence(sequence.handle)
            raise
        return done[0] if single else done

    def _sequence(self, number, prompt, count, sampling, policy):
        sizes = self.decoder.config
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise ValueError("the model has no tokenizer: give prompts as lists of tokens")
            ids = self.tokenizer.encode(prompt).ids
        else:
            ids = [int(token) for token in prompt]
        if not 1 <= len(ids) <= sizes.context:
            raise ValueError(f"prompt {number} has {len(ids)} tokens: allowed is 1 to {sizes.context}")
        wrong = next((token for token in ids if not 0 <= token < sizes.vocab), None)
        if wrong is not None:
            raise ValueError(f"prompt {number} holds token {wrong}: allowed is 0 to {sizes.vocab - 1}")
        if count < 1:
            raise ValueError(f"max_new_tokens is {count}: must be 1 or more")
        return _Sequence(number, Completion(ids), Sampler(sampling, number, self.decoder.logits_scale), count, policy)

    def _blocks(self, sequence):
        """That a sequence may come to need."""
        tokens = min(len(sequence.completion.prompt) + sequence.limit, self.decoder.config.context)
        if sequence.policy.kind is CachePolicy.HEAVY:
            tokens = min(tokens, sequence.policy.heavy + sequence.policy.recent + sequence.policy.chunk)
        return -(-tokens // self.config.lanes)

    def _check_room(self, sequence):
        needed, there = self._blocks(sequence), self.engine.blocks
        if there is not None and needed > there:
            raise ValueError(f"prompt {sequence.number} needs {needed} blocks of the cache: the pool has {there}")

    def _admit(self, queue, running, most):
        while queue and len(running) < most:
            if self.engine.blocks is not None and sum(map(self._blocks, [queue[0], *running])) > self.engine.blocks:
                break
            sequence = queue.popleft()
            sequence.handle = self.engine.open(sequence.policy)
            running.append(sequence)

    def _taken(self, running):
        """(sequence, tokens) of a step: decoding sequences first, then as much of the prompts as there are rows.
        Heavy hitters take prompts in whole chunks: one that fits only alone goes alone, so that it need not wait for
        others to end."""
        rows = self.config.rows
        taken = [(sequence, 1) for sequence in running if len(sequence.waiting) == 1][:self.config.chunk_rows]
        groups = self.config.contexts - -(-len(taken) // rows)
        for sequence in running:
            left = len(sequence.waiting)
            if left == 1:
                continue
            whole = sequence.policy.kind is CachePolicy.HEAVY
            count = min(left, sequence.policy.chunk if whole else groups * rows)
            needed = -(-count // rows)
            if whole and needed > self.config.contexts - 1:
                return [(sequence, count)]
            if count and needed <= groups:
                groups -= needed
                taken.append((sequence, count))
        return taken

    def _step(self, running, sampling, stream, stop):
        taken = self._taken(running)
        parts = [sequence.part(count) for sequence, count in taken]
        logits, cost = self.engine.step(parts, sampling.largest_suffice)
        self.costs.append((parts, cost))
        for (sequence, count), found in zip(taken, logits):
            sequence.took(count)
            if found is not None:
                self._choose(sequence, found, stream, stop)
                if sequence.completion.finished:
                    self.engine.close_sequence(sequence.handle)
                    running.remove(sequence)

    def _choose(self, sequence, logits, stream, stop):
        completion = sequence.completion
        token = sequence.sampler(logits)
        completion.tokens.append(token)
        completion.logits = logits
        if token == stop:
            completion.finished = "stop"
        elif len(completion.tokens) == sequence.limit:
            completion.finished = "length"
        elif len(completion.prompt) + len(completion.tokens) > self.decoder.config.context:
            completion.finished = "context"
        if self.tokenizer is not None:
            completion.text = self.tokenizer.decode(completion.tokens)
        if stream is not None:
            # A character whose last bytes are still to come is a replacement character at the end.
            text = completion.text if completion.finished else completion.text.rstrip("\ufffd")
            stream(sequence.number, token, text[sequence.shown:])
            sequence.shown = max(sequence.shown, len(text))
