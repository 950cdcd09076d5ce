"""What discriminators and losses may return, brought into one form."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganctl.api import Judgement, Terms
from ganctl.errors import GanctlError


def judgement(answer: Tensor | Judgement) -> Judgement:
    """Return a discriminator's *answer* as a Judgement in float32.

    Raise :class:`GanctlError` for logits of another shape than (N,) or (N, M).
    """
    full = answer if isinstance(answer, Judgement) else Judgement(answer)
    if full.logits.ndim not in (1, 2) or full.logits.shape[1:] == (1,):
        # (N, 1) would silently broadcast against (N,) into (N, N).
        shape = tuple(full.logits.shape)
        raise GanctlError(f"the discriminator returns logits of shape {shape}; (N,), or (N, M) of several, is right")
    return full._replace(
        logits=full.logits.float(), class_logits=None if full.class_logits is None else full.class_logits.float()
    )


def halves(both: Judgement) -> tuple[Judgement, Judgement]:
    """Split the judgement of two equal batches, judged as one, into theirs."""
    logits = both.logits.chunk(2)
    classes = (None, None) if both.class_logits is None else both.class_logits.chunk(2)
    aux = {name: value.chunk(2) for name, value in both.aux.items()}
    first, second = (Judgement(logits[i], classes[i], {name: v[i] for name, v in aux.items()}) for i in (0, 1))
    return first, second


def named(name: str, terms: Terms) -> dict[str, Tensor]:
    """Return a loss's *terms* as named scalars. Raise :class:`GanctlError` where one is not a scalar."""
    result = dict(terms) if isinstance(terms, Mapping) else {name: terms}
    for key, value in result.items():
        if value.ndim:
            raise GanctlError(
                f"the loss returns {key} of shape {tuple(value.shape)}; a scalar, such as its mean, is right"
            )
    return result


@torch.no_grad()
def scores(real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Return mean D(x) and D(G(z)) as probabilities, and the share of both kinds of logits that are right."""
    return {
        "score_real": real.sigmoid().mean(),
        "score_fake": fake.sigmoid().mean(),
        "accuracy_d": ((real > 0).float().mean() + (fake < 0).float().mean()) / 2,
    }
