"""Videos that do not fit into memory: their frames are read block by block, as a live model reads them, and what is
kept of them is bounded. Standing questions are answered in the same way, with updates as if the video were running.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..data.batch import Clip
from ..data.groups import Reader, encode_question
from ..data.live.sources import TimedFrame
from ..data.sample import Sample
from ..ideas.speaking import Rule
from ..model.d2vlm import D2VLM, evaluation
from ..model.decoding import Decoding, generate
from ..model.frames import encoded
from ..model.streaming.memory import Kept, Memory, forget
from ..model.streaming.standing import StandingQuestion, Update
from ..model.streaming.stream import Block, check_streams, extended, start
from .metrics.live import Said
from .predict import Prediction

NO_PIXELS = np.empty((0, 0, 3), np.uint8)  # the pixels of a frame whose features are known


@torch.no_grad()
def blocks(model: D2VLM, clip: Clip, memory: Memory) -> Iterator[tuple[Kept, Block]]:
    """What is kept after each block, and the block. If features come from a file, only one block's are in memory."""
    size, kept = check_streams(model), start(model)
    features, = encoded(model.frames, [clip.features]) if clip.features.dtype == torch.uint8 else [clip.features]
    for first in range(0, len(clip.timestamps), size):
        times = clip.timestamps[first:first + size]
        frames = [TimedFrame(first + k, float(seconds), NO_PIXELS) for k, seconds in enumerate(times)]
        with evaluation(model):
            whole = extended(model, kept, features[first:first + size].to(model.device), frames)
        n = len(frames)
        kept = forget(whole, memory)
        yield kept, Block(whole.index[-n:], whole.seconds[-n:], whole.states[-n:])


def predict_in_blocks(model: D2VLM, samples: Sequence[Sample], read: Reader, memory: Memory,
                      decoding: Decoding | None = None, batch: int = 32) -> Iterator[Prediction]:
    """Answers at the end of each video, from what is kept of the video then."""
    videos: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        videos[sample.video].append(sample)
    for about in videos.values():
        kept = start(model)
        for kept, _ in blocks(model, read(about[0]), memory):  # noqa: B007
            pass
        for part in (about[k:k + batch] for k in range(0, len(about), batch)):
            yield from answers_now(model, part, kept, decoding)


def answers_now(model: D2VLM, samples: Sequence[Sample], kept: Kept,
                decoding: Decoding | None = None) -> list[Prediction]:
    """The answers to questions that branch off what is kept."""
    clip = kept.clip()
    prompts = [encode_question(sample, clip, model.tokenizer, model.prompt, model.method) for sample in samples]
    with evaluation(model):
        answers = generate(model, [clip], [prompts], decoding, names=[sample.id for sample in samples],
                           prefix=kept.prefix())
    return [Prediction(sample, answer, model.method.style == "digits") for sample, answer in zip(samples, answers)]


def listen(model: D2VLM, samples: Sequence[Sample], clip: Clip, memory: Memory,
           rule: Rule | None = None) -> list[list[Said]]:
    """The updates of several standing questions about a video, all of which are asked before it begins."""
    kept = start(model)
    nothing = kept.clip()
    prompts = [encode_question(sample, nothing, model.tokenizer, model.prompt, model.method) for sample in samples]
    questions = [StandingQuestion(model, sample.question, prompt, kept, rule)
                 for sample, prompt in zip(samples, prompts)]
    said: list[list[Said]] = [[] for _ in samples]
    now = 0.0
    for _, block in blocks(model, clip, memory):
        ahead = int(block.index[-1]) + model.frames.around  # the tower waits for the neighbours of the last frame
        now = float(clip.timestamps[min(ahead, len(clip.timestamps) - 1)])
        for updates, question in zip(said, questions):
            updates += map(as_said, question.extend(block, now))
    for updates, question in zip(said, questions):
        updates += map(as_said, question.end(now))
    return said


def as_said(update: Update) -> Said:
    """An update as it is scored."""
    return Said(type(update).__name__.lower(), update.number, update.seconds, update.interval)
