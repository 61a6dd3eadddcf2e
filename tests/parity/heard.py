"""What modules are given and what they return while the model runs; and the rows about frames that all cases share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from d2vlm_lab.model import passes
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.towers.qformer import read_questions

from .compare import EXACT, STATE, Row, compare, read_arrays


@dataclass
class Call:
    """What the language model was given, and the hidden states that it gave back."""

    embeddings: Tensor  # (B, T, D)
    attend: Tensor  # (B, T, P + T)
    positions: Tensor  # (B, T)
    states: tuple[Tensor, ...]  # layers + 1 of (B, T, D)


@contextmanager
def listen(decoder: nn.Module) -> Iterator[list[Call]]:
    """What the decoder is called with while this lasts. It gives the states of all its layers."""
    calls: list[Call] = []

    def keep(module, args, given, out):
        calls.append(Call(given["inputs_embeds"].detach(), given["attention_mask"][:, 0] == 0, given["position_ids"],
                          tuple(state.detach() for state in out.hidden_states)))

    handle = decoder.register_forward_hook(keep, with_kwargs=True)
    try:
        with mock.patch.object(passes, "asked_for", lambda decoder, wanted: True):
            yield calls
    finally:
        handle.remove()


@contextmanager
def listen_to(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a module returns while this lasts."""
    heard: list[Tensor] = []
    handle = module.register_forward_hook(lambda module, args, out: heard.append(out.detach()))
    try:
        yield heard
    finally:
        handle.remove()


def frame_rows(model: D2VLM, case: str, images: list[Tensor], inputs: dict,
               arrays: dict) -> tuple[list[Row], list[Tensor]]:
    """Vision tower, the question's word pieces, and projector; also the features of each video."""
    rows = []
    with torch.no_grad():
        seen = [model.frames.tower(image).last_hidden_state for image in images]
        questions = [each[0] for each in inputs["query"]]
        tokens = model.frames.project_batch([each[:, 1:] for each in seen], questions)
    if "vision_features" in arrays:
        rows.append(compare(case, "vision_features", torch.cat(seen), arrays["vision_features"], **STATE))
    for n, text in enumerate(inputs.get("qformer_text", ())):
        ids, _ = read_questions(model.frames.words, questions[n:n + 1])
        rows.append(compare(case, f"qformer_ids_{n}", ids[0], text["input_ids"], **EXACT))
    for n, projected in enumerate(tokens):
        for name in (f"img_embed_{n}", "projector_frames"):
            if name in arrays:
                rows.append(compare(case, name, projected, arrays[name].reshape(projected.shape), **STATE))
    return rows, [model.frames.encode_pixels(image) for image in images]


def images_of(folder: Path) -> list[Tensor]:
    arrays = read_arrays(folder / "inputs.npz")
    return [torch.from_numpy(arrays[f"image_{n}"]) for n in range(len(arrays))]


