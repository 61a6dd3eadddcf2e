"""What grounding costs: both heads, the similarity and its losses, as a share of the model's forward."""

from __future__ import annotations

import torch

from d2vlm_lab.config import Method
from d2vlm_lab.lab.bench import machine, median_seconds
from d2vlm_lab.model.d2vlm import D2VLM, EvidenceTerms
from d2vlm_lab.model.passes import decode

from .parts import FRAMES, llama, model_and_batch

PAPER_WIDTH, PAPER_LAYERS = 3072, 32


def run() -> dict:
    """At width 512 with 8 layers whole; at the paper's width on one layer, times 32."""
    model, batch = model_and_batch(Method(semantic_layer=6))
    with torch.no_grad():
        forward = median_seconds(lambda: model(batch))
        part = median_seconds(lambda: grounding_part(model, batch), 25)
        wide, wide_batch = model_and_batch(Method(semantic_layer=1), language=llama(1, PAPER_WIDTH))
        prefix = wide.read(wide_batch)
        embeddings = torch.cat([prefix.embeddings, wide.embed(wide_batch, prefix)], 1)
        attend = torch.ones(1, embeddings.shape[1], embeddings.shape[1], dtype=torch.bool).tril()
        position_ids = torch.arange(embeddings.shape[1])[None]
        layer = median_seconds(lambda: decode(wide.language, embeddings, attend, position_ids))
        wide_part = median_seconds(lambda: grounding_part(wide, wide_batch), 25)
    seconds = {"forward": forward, "grounding": part, "paper_width_layer": layer, "paper_width_grounding": wide_part}
    ratios = {"grounding_share": part / forward, "grounding_share_paper_width": wide_part / (layer * PAPER_LAYERS)}
    return {"bench": "grounding", "ratios": ratios, "seconds": seconds, "machine": machine()}


def grounding_part(model: D2VLM, batch, n_frames: int = FRAMES) -> torch.Tensor:
    """Exactly what a forward does besides the language model: heads on frames and evidence, similarity, losses."""
    row = batch.row[batch.in_answer]
    width = model.frame_head[0].normalized_shape[0]
    states = torch.ones(1, n_frames, width, device=row.device), torch.ones(len(row), width, device=row.device)
    frames, evidence = model.frame_head(states[0]), model.evidence_head(states[1])
    similarity = model.compare(evidence, frames, batch.video[row])
    mask = torch.ones(len(row), n_frames, dtype=torch.bool, device=row.device)
    terms = EvidenceTerms(states=evidence, similarity=similarity, frame_mask=mask)
    return model.grounding_loss(batch, terms) + model.consistency_loss(batch, terms)


