"""YouCook2 dense captioning: CIDEr and METEOR at IoU thresholds, precision and recall, SODA_c, whole paragraphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ...data.sample import brief
from ...errors import LabError
from ...shapes import shown
from . import captions, quirks
from .published_reading import malformed_numbers_fail, split_events
from .reading import Reading, read_events
from .records import is_pair
from .soda import soda
from .temporal import Array, as_intervals, coverage, harmonic, matched_f1, temporal_iou

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
SOURCE = ("dvc", "youcook2")  # task and source of its predictions
SPLITS = {"train": 1, "val": 2, "test": 3}


@dataclass(frozen=True)
class CookingRecipe:
    """What happens in one video."""

    video: str
    segments: list[list[float]]
    captions: list[str]


def read_truth(annotations: Sequence[dict], file: str) -> list[CookingRecipe]:
    recipes = []
    for number, record in enumerate(annotations, 1):
        try:
            video, segments = PurePosixPath(record["image_id"]).name, record["segments"]
            sentences = record["pure_cap"].split(". ")
        except (KeyError, TypeError, AttributeError) as error:
            raise LabError(f"{file}, record {number}: needs image_id, segments and pure_cap ({error!r})") from error
        if not all(map(is_pair, segments)):
            raise LabError(f"{file}, record {number}: segments is {shown(segments)}; it must be a list of [start, end]")
        if len(sentences) != len(segments):
            raise LabError(f"{file}, record {number} ({brief(video)}): {len(sentences)} captions for {len(segments)} "
                           "segments")
        recipes.append(CookingRecipe(video, segments, [sentence + "." for sentence in sentences]))
    return recipes


def video_name(record: dict) -> str:
    return PurePosixPath(record["video"]).name


def score_youcook2(records: Sequence[dict], truth: Sequence[CookingRecipe], protocol: str = "clean",
                   split: str = "val") -> dict:
    """Scores for each video, and their means. `truth` decides which videos count; answers to others are left out."""
    clean = protocol == "clean"
    read = read_events if clean else malformed_numbers_fail(split_events)
    answers = {video_name(record): read(record["a"]) for record in records
               if (record["task"], record["source"]) == SOURCE}
    readings = [answers.get(recipe.video, Reading()) for recipe in truth]
    soda_name = "SODA_c" if clean else f"SODA_c_{SPLITS.get(split, 2)}"
    per_video = _per_video(truth, readings, clean, soda_name)
    # Published bug: a video without a prediction leaves no gap, so later paragraphs get the wrong reference.
    given = readings if clean else [answers[recipe.video] for recipe in truth if recipe.video in answers]
    paragraphs, notes = _paragraphs(truth, given)
    means = paragraphs | {name: None if values is None else float(np.mean(values)) * (1 if name == "n_preds" else 100)
                          for name, values in per_video.items()}
    result = {"protocol": protocol, "per_video": per_video | {"key": [recipe.video for recipe in truth]},
              "means": means,
              "stdout": [f"{name} {'-' if value is None else round(value, 1)}" for name, value in means.items()],
              "notes": notes,
              "unparsed": [video for video, reading in answers.items() if not reading.intervals]}
    if not clean:
        result["converted"] = {video: [{"timestamp": list(span), "caption": caption} for span, caption
                                       in zip(reading.intervals, reading.captions)]
                               for video, reading in answers.items()}
    return result


def _per_video(truth: Sequence[CookingRecipe], readings: Sequence[Reading], clean: bool,
               soda_name: str) -> dict[str, list | None]:
    """The columns of the published table, each with a score for every video."""
    overlap, hit = (temporal_iou, np.greater_equal) if clean else (_sorted_iou, np.greater)
    overlaps = [overlap(reading.intervals, recipe.segments) for reading, recipe in zip(readings, truth)]
    shares = np.array([[coverage(iou, t, hit) for t in THRESHOLDS] for iou in overlaps])  # (V, thresholds, 2)
    precision, recall = shares.mean(1).T
    words = _caption_columns(truth, readings, overlaps)
    table: dict[str, list | None] = {"CIDER": words["CIDER"], "METEOR": words["METEOR"]}
    for k, t in enumerate(THRESHOLDS):
        table |= {f"Precision@{t}": shares[:, k, 0].tolist(), f"Recall@{t}": shares[:, k, 1].tolist()}
    table |= {"Precision_Mean": precision.tolist(), "Recall_Mean": recall.tolist(),
              "F1_Score": [harmonic(p, r) for p, r in zip(precision, recall)]}
    if clean:
        table["F1_matched"] = [float(np.mean([matched_f1(iou, t) for t in THRESHOLDS])) for iou in overlaps]
    table |= {soda_name: words["SODA_c"], "n_preds": [len(reading.captions) for reading in readings]}
    # The published script announces SODA_c_1 and never computes it.
    return table if clean else table | {"SODA_c_1": [-1] * len(truth)}


def _caption_columns(truth: Sequence[CookingRecipe], readings: Sequence[Reading],
                     overlaps: Sequence[Array]) -> dict[str, list | None]:
    if captions.unavailable():
        return {"CIDER": None, "METEOR": None, "SODA_c": None}
    tokens = captions.tokenize([text for part in (*truth, *readings) for text in part.captions] + [captions.FILLER])
    predicted = [[tokens[text] for text in reading.captions] for reading in readings]
    true = [[tokens[text] for text in recipe.captions] for recipe in truth]
    scores = captions.caption_scores([captions.pairs_at(iou, a, b, t) for iou, a, b in zip(overlaps, predicted, true)
                                      for t in THRESHOLDS])
    means = {name: values.reshape(-1, len(THRESHOLDS)).mean(1).tolist() for name, values in scores.items()}
    # SODA's own scorer gives METEOR the true caption as the one to be judged, and so do all published numbers.
    _, similarity = captions.meteor().score([[(b, a) for a in answer for b in reference]
                                             for answer, reference in zip(predicted, true)])
    return {"CIDER": means["CIDEr"], "METEOR": means["METEOR"],
            "SODA_c": [soda(iou, np.reshape(values, iou.shape)) for values, iou in zip(similarity, overlaps)]}


def _paragraphs(truth: Sequence[CookingRecipe],
                readings: Sequence[Reading]) -> tuple[dict[str, float | None], list[str]]:
    """Scores for all captions of a video as one text of letters only. Notes say why a score is empty."""
    if reason := captions.unavailable():
        return {"Para_CIDER": None, "Para_METEOR": None}, [
            f"Para_CIDER, Para_METEOR, CIDER, METEOR, SODA_c are empty: {reason}"]
    pairs = [(_letters(". ".join(reading.captions)), _letters(" ".join(recipe.captions)))
             for reading, recipe in zip(readings, truth)]
    scores = captions.caption_scores([pairs])
    return {"Para_CIDER": float(scores["CIDEr"][0]) * 100, "Para_METEOR": float(scores["METEOR"][0]) * 100}, []


def _sorted_iou(a: Sequence, b: Sequence) -> Array:
    return quirks.iou_with_epsilon(np.sort(as_intervals(a)), np.sort(as_intervals(b)))


def _letters(text: str) -> str:
    return " ".join(re.sub("[^a-zA-Z]", " ", text).lower().split())
