"""The training itself: settings, schedule, order of the data, steps, and a state that can be saved and resumed."""

import math
import os
from dataclasses import asdict, dataclass

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

__all__ = ["Settings", "Training", "new_model"]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result, beside the text and the versions of the libraries.

    The rate rises over ``warmup`` steps, holds, and falls over the last ``decay`` steps by half a cosine. Until the
    fall begins nothing depends on ``steps`` and ``decay``.

    Parameters
    ----------
    width, heads, layers, context : int
        Of the model.
    steps : int
    batch : int
        Sequences of ``context`` tokens in a step.
    rate, final : float
        Peak rate, and what share of it the cosine ends at.
    clip : float
        Largest norm of the gradient.
    threads : int
        Of torch: they decide the order of sums, hence the last bits.
    """

    width: int = 128
    heads: int = 2
    layers: int = 4
    context: int = 256
    steps: int = 5000
    batch: int = 16
    rate: float = 2e-3
    final: float = 0.01
    warmup: int = 200
    decay: int = 2500
    betas: tuple = (0.9, 0.95)
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 1611
    threads: int = 2

    @property
    def hold(self):
        """Steps before the rate begins to fall."""
        return self.steps - self.decay

    def rate_at(self, step):
        """Rate of a step, the first being 0."""
        falling = (step - self.hold) / self.decay
        cosine = (1 + math.cos(math.pi * max(0.0, falling))) / 2
        return self.rate * min(1.0, (step + 1) / self.warmup) * (self.final + (1 - self.final) * cosine)


def new_model(settings, vocabulary):
    """An untrained GPT-2."""
    torch.manual_seed(settings.seed)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocabulary, n_positions=settings.context, n_embd=settings.width, n_layer=settings.layers,
        n_head=settings.heads, activation_function="gelu_new", embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0,
        bos_token_id=None, eos_token_id=None))


class Training:
    """A training run between two steps.

    Parameters
    ----------
    settings : Settings
    ids : torch.Tensor, integers [N]
        The training text.
    vocabulary : int

    Attributes
    ----------
    step : int
        Steps done.
    losses : list of float
        Of every step done, in nats.
    """

    def __init__(self, settings, ids, vocabulary):
        if len(ids) < 2 * settings.context + 1:
            raise ValueError(f"{len(ids)} tokens are too few: at least {2 * settings.context + 1}")
        self.settings, self.ids = settings, ids
        self.model = new_model(settings, vocabulary)
        for block in self.model.transformer.h:
            # The same function as the model's, in one kernel.
            block.mlp.act = nn.GELU(approximate="tanh")
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() == 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], lr=settings.rate,
            betas=settings.betas, weight_decay=settings.weight_decay, fused=True)
        self.step, self.losses = 0, []

    def batch(self, step):
        """Tokens [batch, context + 1] of a step: every epoch cuts the text elsewhere and shuffles the pieces."""
        context, rows = self.settings.context, []
        pieces = (len(self.ids) - 1) // context - 1
        for place in range(step * self.settings.batch, (step + 1) * self.settings.batch):
            epoch, number = divmod(place, pieces)
            order = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
            start = int(torch.randint(context, (1,), generator=order))
            start += context * int(torch.randperm(pieces, generator=order)[number])
            rows.append(self.ids[start:start + context + 1])
        return torch.stack(rows)

    def advance(self):
        """Do one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(self.step)
        tokens = self.batch(self.step)
        logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        self.step += 1
        self.losses.append(loss.item())

    def save(self, path):
        """Write the state; complete or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        torch.save({"settings": asdict(self.settings), "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(), "step": self.step, "losses": self.losses,
                    "rng": torch.get_rng_state()}, partial)
        partial.replace(path)

    def resume(self, path):
        """Go on from a state that `save` wrote; ValueError where it leads elsewhere than these settings."""
        state = torch.load(path, weights_only=True)
        theirs = Settings(**state["settings"])
        differing = {name for name, value in asdict(self.settings).items() if value != getattr(theirs, name)}
        if state["step"] <= min(self.settings.hold, theirs.hold):
            differing -= {"steps", "decay"}
        if differing:
            raise ValueError(f"{path} is of a run with other {', '.join(sorted(differing))}: remove it to start anew")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.losses = state["step"], state["losses"]
        torch.set_rng_state(state["rng"])
