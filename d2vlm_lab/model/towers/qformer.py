"""The Q-Former: one token per frame, which depends on the question.

A BERT reads 32 learned queries in front of the words of the question. In every second layer the queries also attend to
the patches of the frame. Each query then collects what it asks for from the patches, and the mean over queries is the
frame token.

Shapes: F frames, P patches, C their width, Q queries, T word pieces, W width of the BERT, D of the language model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertTokenizer

from ...errors import LabError

MAX_WORDS = 256  # word pieces of a question, [CLS] and [SEP] included


@dataclass(frozen=True)
class QFormerConfig:
    """The defaults are those of the released model: BERT-base, with one row more in its vocabulary."""

    vocabulary: int = 30523
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    queries: int = 32
    look_every: int = 2  # queries attend to the patches in layers 0, 2, 4, ...
    dropout: float = 0.1


class QFormerProjector(nn.Module):
    """Patches (F, P, C) and a question for each frame, ids and mask (F, T) -> frame tokens (F, D)."""

    def __init__(self, config: QFormerConfig, patch_width: int, width: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, config.queries, config.width) * 0.02)
        self.patch_norm = nn.LayerNorm(patch_width)
        self.bert = QueryBert(config, patch_width)
        self.expand = nn.Linear(config.width, patch_width)
        self.query = nn.Sequential(nn.LayerNorm(patch_width), nn.Linear(patch_width, patch_width))
        self.key = nn.Sequential(nn.LayerNorm(patch_width), nn.Linear(patch_width, patch_width))
        self.out = nn.Sequential(nn.LayerNorm(patch_width), nn.Linear(patch_width, width))

    def forward(self, patches: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        learned = self.queries.expand(len(patches), -1, -1)
        queries = self.expand(self.bert(learned, ids, mask, self.patch_norm(patches)))  # (F, Q, C)
        collected = F.scaled_dot_product_attention(self.query(queries), self.key(patches), patches)
        return self.out((collected + queries).mean(1))


class QueryBert(nn.Module):
    """A BERT that reads Q queries in front of T words. Only the queries see the patches, and only they are returned."""

    def __init__(self, config: QFormerConfig, patch_width: int):
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            Layer(config, patch_width if i % config.look_every == 0 else None) for i in range(config.layers))

    def forward(self, queries: Tensor, ids: Tensor, mask: Tensor, patches: Tensor) -> Tensor:
        words = self.words(ids) + self.positions.weight[:ids.shape[1]]
        x = self.dropout(self.norm(torch.cat([queries, words], 1)))
        visible = F.pad(mask.bool(), (queries.shape[1], 0), value=True)[:, None, None]
        for layer in self.layers:
            x = layer(x, visible, patches, queries.shape[1])
        return x[:, :queries.shape[1]]


class Layer(nn.Module):
    def __init__(self, config: QFormerConfig, patch_width: int | None):
        super().__init__()
        self.attention = Attention(config, config.width)
        self.cross_attention = Attention(config, patch_width) if patch_width else None
        self.feed_queries = FeedForward(config)
        self.feed_words = FeedForward(config)

    def forward(self, x: Tensor, visible: Tensor, patches: Tensor, n_queries: int) -> Tensor:
        x = self.attention(x, x, visible)
        queries, words = x[:, :n_queries], x[:, n_queries:]
        if self.cross_attention is not None:
            queries = self.cross_attention(queries, patches)
        return torch.cat([self.feed_queries(queries), self.feed_words(words)], 1)


class Attention(nn.Module):
    """Multi-head attention, added to its input and normalized."""

    def __init__(self, config: QFormerConfig, context_width: int):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(context_width, config.width)
        self.value = nn.Linear(context_width, config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Tensor, context: Tensor, visible: Tensor | None = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for part in (self.query(x), self.key(context), self.value(context)))
        values = F.scaled_dot_product_attention(q, k, v, visible, dropout_p=self.dropout if self.training else 0.0)
        return self.norm(x + F.dropout(self.out(values.transpose(1, 2).flatten(2)), self.dropout, self.training))


class FeedForward(nn.Module):
    """Two layers, added to their input and normalized."""

    def __init__(self, config: QFormerConfig):
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden)
        self.down = nn.Linear(config.hidden, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


def word_tokenizer(vocabulary: str | os.PathLike) -> BertTokenizer:
    """The lower-casing BERT tokenizer of a `vocab.txt`. It cuts off the beginning of a question that is too long."""
    if not Path(vocabulary).is_file():
        raise LabError(f"{vocabulary}: no such file; the Q-Former reads questions with the vocabulary of its BERT. "
                       "Fetch the checkpoint into a folder of your own, and put vocab.txt of google-bert/"
                       "bert-base-uncased there")
    return BertTokenizer(str(vocabulary), truncation_side="left")


def write_vocabulary(words: BertTokenizer, path: Path) -> None:
    """The `vocab.txt` of a BERT tokenizer, one word piece a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pieces = sorted(words.get_vocab().items(), key=lambda item: item[1])
    path.write_text("".join(f"{piece}\n" for piece, _ in pieces), encoding="utf-8")


def read_questions(words: BertTokenizer, questions: Sequence[str | None]) -> tuple[Tensor, Tensor]:
    """V questions -> ids and mask (V, T). Here, an `<evi>` in a question is ordinary text."""
    texts = [(question or "").replace("<image>", "").strip() for question in questions]
    tokens = words(texts, padding="longest", truncation=True, max_length=MAX_WORDS, return_tensors="pt")
    return tokens.input_ids, tokens.attention_mask
