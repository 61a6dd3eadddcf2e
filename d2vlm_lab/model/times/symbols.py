"""The weights of `style: time_tokens`: a separate table and head for the 13 symbols in which times are written.

After an `<evi>` the language model is in *time mode*: each next token is one of the symbols. The end symbol ends this
mode.

Shapes: R texts that are written, L tokens to predict, V words in the vocabulary, D the language model's width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from ...data.spelled import FIRST
from ...ideas.symbols import END, SYMBOLS
from ..heads import Head
from ..vocabulary import log_probabilities


class TimeSymbols(nn.Module):
    def __init__(self, words: nn.Embedding):
        super().__init__()
        width = words.weight.shape[1]
        self.table = nn.Embedding(len(SYMBOLS), width)
        nn.init.normal_(self.table.weight, std=float(words.weight.detach().float().std()))  # spread like words
        self.head = Head(nn.Linear(width, len(SYMBOLS)))

    def embed(self, ids: Tensor, words: nn.Module) -> Tensor:
        """(...) ids of words and symbols -> (..., D)."""
        symbol = ids >= FIRST
        symbols = self.table((ids - FIRST).clamp_min(0))
        embeddings = words(ids.masked_fill(symbol, 0))
        return torch.where(symbol[..., None], symbols.to(embeddings.dtype), embeddings)

    def log_probabilities(self, language: PreTrainedModel, states: Tensor, targets: Tensor, words: Tensor,
                          symbols: Tensor) -> Tensor:
        """(L, D), (L,) -> (L,) log-probabilities of the targets; `words` and `symbols` say which of them are which."""
        _, of_words = log_probabilities(language, states[words], targets[words])
        of_symbols = -F.cross_entropy(self.head(states[symbols]), targets[symbols] - FIRST, reduction="none")
        return of_words.new_zeros(len(targets)).index_copy(0, words, of_words).index_copy(0, symbols, of_symbols)

    def beside(self, logits: Tensor, states: Tensor, in_time: Tensor) -> Tensor:
        """(R, V), (R, D), (R,) -> (R, V + 13) logits: in time mode only symbols can be written, else only words."""
        symbols = self.head(states)
        return torch.cat([logits.masked_fill(in_time[:, None], -torch.inf),
                          symbols.masked_fill(~in_time[:, None], -torch.inf)], -1)


def as_ids(choice: Tensor, size: int) -> Tensor:
    """(R,) what was chosen among V + 13 = `size` -> (R,) ids."""
    first = size - len(SYMBOLS)
    return torch.where((choice >= first) & (choice < size), choice - first + FIRST, choice)


def still_in_time(in_time: Tensor, ids: Tensor, evidence: int) -> Tensor:
    """(R,), (R,) -> (R,) whether each text is in time mode after these tokens."""
    return (in_time | (ids == evidence)) & (ids != FIRST + END)
