"""The exam of a live model: held-out questions that stand while their video runs, and questions asked in the middle."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from ..data.batch import Clip
from ..data.groups import Reader
from ..data.live.early import can_stand
from ..data.sample import Sample
from ..model.d2vlm import D2VLM
from ..model.streaming.memory import Memory
from .in_blocks import listen
from .metrics.live import LiveCase, live_scores
from .metrics.temporal import interval_f1_miou
from .predict import Prediction

Ask = Callable[[Sequence[Sample], Reader], Iterable[Prediction]]


def standing_scores(model: D2VLM, samples: Sequence[Sample], read: Reader, memory: Memory) -> dict[str, float]:
    """`live_...`: how well, how soon and how often in vain events are noticed, where the question came first."""
    videos: dict[str, list[Sample]] = defaultdict(list)
    for sample in filter(can_stand, samples):
        videos[sample.video].append(sample)
    cases = []
    for about in videos.values():
        clip = read(about[0])
        for sample, said in zip(about, listen(model, about, clip, memory)):
            truth = [event.interval for event in sample.events]
            cases.append(LiveCase(said, truth, float(clip.timestamps[-1])))
    scores = live_scores(cases) if cases else {}
    return {f"live_{name}": round(value, 4) for name, value in scores.items() if math.isfinite(value)}


def asked_during(samples: Sequence[Sample], read: Reader, ask: Ask) -> dict[str, float]:
    """`during_F1@0.5`: each question about one event is asked when half of the event is over; that half is the truth.

    A tower that looks at the next frames has seen these frames, too: the question is asked when they have come.
    """
    early: list[Sample] = []
    whole: dict[str, tuple[Sample, int]] = {}  # name of a video that is not over: its sample, and the frames so far
    for sample in samples:
        if can_stand(sample) and len(sample.events) == 1:
            event, times = sample.events[0], read(sample).timestamps
            frames = min(len(times), max(2, int(np.searchsorted(times, (event.start + event.end) / 2, side="right"))))
            video = f"{sample.video}, {frames} frames"
            end = max(event.start, min(event.end, float(times[frames - 1])))
            early.append(replace(sample, video=video, events=(replace(event, end=end),)))
            whole[video] = (sample, frames)
    if not early:
        return {}

    def read_beginning(sample: Sample) -> Clip:
        original, frames = whole[sample.video]
        clip = read(original)
        return replace(clip, features=clip.features[:frames], timestamps=clip.timestamps[:frames])

    predictions = list(ask(early, read_beginning))
    score = interval_f1_miou([p.intervals for p in predictions], [p.truth for p in predictions], (0.5,))
    return {"during_F1@0.5": round(score["F1@0.5"], 4)}
