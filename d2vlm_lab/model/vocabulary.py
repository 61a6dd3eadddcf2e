"""How likely each token of an answer is, in a vocabulary that may be too large to keep the logits of all tokens.

Shapes: L tokens to predict, D the language model's width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .backbone import logits_of

LARGE = 2**26  # number of logits; more (256 MB in float32, and as much again for the gradient) are made in parts


def log_probabilities(language: nn.Module, states: Tensor, targets: Tensor) -> tuple[Tensor | None, Tensor]:
    """(L, D), (L,) -> (L, vocabulary) logits and (L,) log-probabilities of the targets.

    If the logits would be too large, they are made for some tokens at a time, and again for the gradient; None is
    returned in their place.
    """
    vocabulary = next(language.get_output_embeddings().parameters()).shape[0]
    if len(states) * vocabulary <= LARGE:
        logits = logits_of(language, states)
        return logits, -F.cross_entropy(logits.float(), targets, reduction="none")

    def part(states: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(logits_of(language, states).float(), targets, reduction="none")

    at_once = max(1, LARGE // vocabulary)
    return None, torch.cat([checkpoint(part, *tokens, use_reentrant=False)
                            for tokens in zip(states.split(at_once), targets.split(at_once))])
