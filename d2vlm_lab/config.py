"""The one description of a run. YAML in, strict; the flat view is what a notebook's parameter cell holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Method:
    """Every idea of the method has its switch here; the defaults are the authors' released code."""

    style: Literal["interleaved", "factorized", "coupled", "digits"] = "interleaved"  # how answers are written
    end_marker: bool = True  # close the grounding stage with `</evi>`
    semantics: Literal["layer", "projection", "off"] = "layer"  # what an evidence token carries of its frames
    semantic_layer: int = 6  # the decoder layer whose output is that meaning; 0 is the embeddings
    bidirectional_frames: bool = True
    targets: Literal["soft", "hard"] = "soft"
    target_base: float = 2.0  # soft targets fall off as base ** -distance
    grounding_weight: float = 10.0
    consistency_weight: float = 10.0
    salience: Literal["peak_share", "top_frames", "best_segment", "over_threshold"] = "peak_share"
    salience_value: float | None = None  # the criterion's one parameter; None is its own default
