"""Scores: intervals, choices, captions, and one scorer per benchmark, each under a named protocol."""

from .etbench import Scores, score_etbench
from .temporal import grounding_f1, interval_f1_miou, match_one_to_one, temporal_iou

__all__ = ["Scores", "grounding_f1", "interval_f1_miou", "match_one_to_one", "score_etbench", "temporal_iou"]
