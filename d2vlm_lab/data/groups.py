"""What a run learns from: samples grouped by video, with their features, and a record of what cannot be used."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

from ..config import Data, Method
from ..errors import LabError
from ..ideas.evidence import EVIDENCE, compose, seconds
from .batch import Batch, Clip, PromptFormat, Text, collate, encode_answer, encode_prompt
from .sample import Sample, SampleError
from .video import VideoError

Reader = Callable[[Sample], Clip]  # the frames of a sample's video, as features
Rejects = Callable[[Sample], Sequence[tuple[Sample, str]]]  # the sample with each wrong answer, and its wrong factor


class SkippedSamples(LabError):
    """More samples than the configured share cannot be used."""


@dataclass(frozen=True)
class Group:
    """Texts about one video that are trained together."""

    clip: Clip
    texts: tuple[Text, ...]
    names: tuple[str, ...]
    question: str | None  # of the first text; where the frame encoder reads it, all texts ask the same
    preferred: tuple[int, ...] = ()  # for each text, the chosen one that it is compared with; itself where chosen
    factors: tuple[str, ...] = ()  # what is wrong with each text; "" where chosen


class Skips:
    """Samples that cannot be used. They are counted by reason and named in a file; too many of them stop the run."""

    def __init__(self, path: Path | None, total: int, share: float):
        self.path, self.total, self.share = path, total, share
        self.reasons: Counter[str] = Counter()
        self.seen: set[str] = set()
        if path is not None and path.exists():  # a resumed run named some of them before it was interrupted
            self.seen = {json.loads(line)["sample"] for line in path.read_text(encoding="utf-8").splitlines()}

    def add(self, name: str, video: str, reason: str, message: str) -> None:
        if name in self.seen:
            return
        self.seen.add(name)
        self.reasons[reason] += 1
        if self.path is not None:
            entry = {"sample": name, "video": video, "reason": reason, "message": message}
            with open(self.path, "a", encoding="utf-8") as out:
                out.write(json.dumps(entry) + "\n")
        if len(self.seen) > self.share * self.total:
            raise SkippedSamples(f"{len(self.seen)} of {self.total} samples cannot be used (data.bad_share is "
                                 f"{self.share:g}): {dict(self.reasons)}; the last: {message}")


def usable(samples: Iterable[Sample], data: Data, skips: Skips) -> list[Sample]:
    """The samples that a run wants and can use. Those that its settings leave out do not count as skipped."""
    kept, videos = [], set()
    for sample in samples:
        words = sum(len(piece.split()) for piece in sample.answer if isinstance(piece, str))
        if data.tasks and sample.task not in data.tasks:
            continue
        if not data.min_seconds <= sample.duration <= data.max_seconds or words > data.max_words:
            continue
        if data.limit is not None and sample.video not in videos and len(videos) >= data.limit:
            continue
        if not sample.answer:
            skips.add(sample.id, sample.video, "no answer", f"sample {sample.id}: it has no answer to learn from")
            continue
        videos.add(sample.video)
        kept.append(sample)
    if not kept:
        raise LabError(f"no sample is left to train on (tasks: {', '.join(data.tasks) or 'all'})")
    return kept


def group_by_video(samples: Sequence[Sample], texts: int, seed: int, by_question: bool = False) -> list[list[Sample]]:
    """Up to `texts` questions of one video each, shuffled by `seed`.

    With `by_question`, only samples that ask the same question share their video: the frame encoder reads it too.
    """
    videos: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        videos[sample.video, sample.question if by_question else ""].append(sample)
    rng, groups = random.Random(seed), []
    for _, questions in sorted(videos.items()):
        rng.shuffle(questions)
        groups += [questions[i:i + texts] for i in range(0, len(questions), texts)]
    rng.shuffle(groups)
    return groups


def encode_sample(sample: Sample, clip: Clip, tokenizer, prompt: PromptFormat, method: Method) -> Text:
    """A sample's question and answer, in the method's answer style."""
    answer = compose(sample.events, sample.answer, method.style, method.end_marker)
    return encode_answer(encode_question(sample, clip, tokenizer, prompt, method), answer, clip, tokenizer, prompt)


def encode_question(sample: Sample, clip: Clip, tokenizer, prompt: PromptFormat, method: Method) -> Text:
    """A sample's question; in the style without evidence tokens, its times are written as numbers."""
    if method.style != "digits":
        return encode_prompt(sample.question, sample.question_intervals, clip, tokenizer, prompt)
    question = sample.question
    for interval in sample.question_intervals:
        question = question.replace(EVIDENCE, seconds(interval), 1)
    return encode_prompt(question, (), clip, tokenizer, prompt)


class Groups(Dataset):
    """One item per group of questions, without the samples that cannot be used; None where the video cannot be read."""

    def __init__(self, groups: Sequence[Sequence[Sample]], read: Reader, tokenizer, prompt: PromptFormat,
                 method: Method, skips: Skips, rejects: Rejects | None = None):
        self.groups, self.read, self.skips, self.rejects = groups, read, skips, rejects
        self.tokenizer, self.prompt, self.method = tokenizer, prompt, method

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Group | None:
        samples = self.groups[index]
        try:
            clip = self.read(samples[0])
        except VideoError as error:
            for sample in samples:
                self.skips.add(sample.id, sample.video, "video", str(error))
            return None
        texts, names, preferred, factors = [], [], [], []
        for sample in samples:
            try:
                answers = [(sample, ""), *(self.rejects(sample) if self.rejects else ())]
                encoded = [encode_sample(s, clip, self.tokenizer, self.prompt, self.method) for s, _ in answers]
            except SampleError as error:
                self.skips.add(sample.id, sample.video, "text", f"sample {sample.id}: {error}")
                continue
            preferred += [len(texts)] * len(encoded)
            texts += encoded
            names += [answer.id for answer, _ in answers]
            factors += [factor for _, factor in answers]
        return Group(clip, tuple(texts), tuple(names), samples[0].question, tuple(preferred),
                     tuple(factors)) if texts else None


@dataclass(frozen=True)
class Collator:
    """Makes of groups what the model's forward takes; groups that could not be read (None) are left out."""

    tokenizer: object
    prompt: PromptFormat

    def __call__(self, groups: Sequence[Group | None]) -> dict:
        groups = [group for group in groups if group is not None]
        if not groups:
            raise LabError("no sample of this batch can be used; see skipped.jsonl")
        batch = collate([group.clip for group in groups], [group.texts for group in groups], self.tokenizer,
                        self.prompt, [group.question for group in groups],
                        [name for group in groups for name in group.names])
        first = itertools.accumulate((len(group.texts) for group in groups), initial=0)
        preferred = [start + k for start, group in zip(first, groups) for k in group.preferred]
        return {"batch": replace(batch, preferred=torch.tensor(preferred),
                                 factors=[factor for group in groups for factor in group.factors])}


def batch_of(model, samples: Sequence[Sample], read: Reader) -> Batch:
    """Samples with their true answers, in their order, as training sees them; each brings its own copy of its video."""
    clips = [read(sample) for sample in samples]
    texts = [[encode_sample(sample, clip, model.tokenizer, model.prompt, model.method)]
             for sample, clip in zip(samples, clips)]
    return collate(clips, texts, model.tokenizer, model.prompt, [sample.question for sample in samples],
                   [sample.id for sample in samples]).to(model.device)
