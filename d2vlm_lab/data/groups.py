"""What a run learns from: samples grouped by video, with their features; what cannot be used is left out."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from ..config import Data, Method
from ..errors import LabError
from ..ideas.evidence import compose, in_seconds
from .batch import Batch, Clip, PromptFormat, Text, Tokenizer, collate, encode_answer, encode_prompt
from .live.early import asked_early, can_stand, standing
from .plan import packing_of
from .sample import Sample, SampleError
from .skips import Skip, Skips
from .spelled import spelled_out
from .video import VideoError

Reader = Callable[[Sample], Clip]  # the frames of a sample's video, as features
Rejects = Callable[[Sample], Sequence[tuple[Sample, str]]]  # the sample with each wrong answer, and its factor


class NotCached(Exception):
    """A worker of a data loader cannot make the features of a video; the main process has to."""


@dataclass(frozen=True)
class Group:
    """Texts about one video that are trained together."""

    clip: Clip
    texts: tuple[Text, ...]
    names: tuple[str, ...]
    question: str | None  # of the first text; if the frame encoder reads questions, all texts ask the same
    preferred: tuple[int, ...] = ()  # for each text, the chosen one that it is compared with; itself where chosen
    factors: tuple[str, ...] = ()  # what is wrong with each text; "" where chosen


@dataclass(frozen=True)
class Loaded:
    """What loading an index gave: its group, or None if no sample of it can be used, and the samples left out."""

    index: int
    group: Group | None
    skipped: tuple[Skip, ...] = ()
    not_cached: bool = False  # the main process has to load it


def usable(samples: Iterable[Sample], data: Data, skips: Skips) -> list[Sample]:
    """The samples that a run wants and can use. Those that its settings leave out do not count as skipped."""
    kept: list[Sample] = []
    videos: set[str] = set()
    for sample in samples:
        words = sum(len(piece.split()) for piece in sample.answer if isinstance(piece, str))
        if data.tasks and sample.task not in data.tasks:
            continue
        if not data.min_seconds <= sample.duration <= data.max_seconds or words > data.max_words:
            continue
        if data.limit is not None and sample.video not in videos and len(videos) >= data.limit:
            continue
        if not sample.answer:
            skips.add(Skip(sample.id, sample.video, "no answer",
                           f"sample {sample.id}: it has no answer to learn from"))
            continue
        videos.add(sample.video)
        kept.append(sample)
    if not kept:
        raise LabError(f"no sample is left to train on (tasks: {', '.join(data.tasks) or 'all'})")
    return kept if data.nothing_share is None else with_share_of_nothing(kept, data.nothing_share)


def with_share_of_nothing(samples: Sequence[Sample], share: float) -> list[Sample]:
    """As many samples as possible, in their order, so that this share of them asks about what never happens."""
    nothing = [n for n, sample in enumerate(samples) if sample.about_nothing]
    others = [n for n, sample in enumerate(samples) if not sample.about_nothing]
    if share and not nothing:
        raise LabError("data.nothing_share: no training question asks about what never happens; a world has them if "
                       "its setting `negatives` is above 0")
    whole = min(len(others) / (1 - share), len(nothing) / share if share else math.inf)
    rng = random.Random("nothing")  # the same choice in every run
    kept = rng.sample(nothing, min(len(nothing), round(whole * share)))
    kept += rng.sample(others, min(len(others), round(whole * (1 - share))))
    return [samples[n] for n in sorted(kept)]


def group_by_video(samples: Sequence[Sample], texts: int, seed: int, by_question: bool = False) -> list[list[Sample]]:
    """Up to `texts` questions of one video each, shuffled by `seed`.

    With `by_question`, only samples that ask the same question share their video, because the frame encoder reads the
    question too.
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


def encode_sample(sample: Sample, clip: Clip, tokenizer: Tokenizer, prompt: PromptFormat, method: Method) -> Text:
    """A sample's question and answer, in the method's answer style."""
    answer = compose(sample.events, sample.answer, method.style, method.end_marker)
    text = encode_answer(encode_question(sample, clip, tokenizer, prompt, method), answer, clip, tokenizer, prompt)
    return spelled_out(text, [span for span in answer.intervals if span]) if method.style == "time_tokens" else text


def encode_question(sample: Sample, clip: Clip, tokenizer: Tokenizer, prompt: PromptFormat, method: Method) -> Text:
    """A sample's question. In the styles that write times out, its times are written as in the answer."""
    if method.style != "digits":
        text = encode_prompt(sample.question, sample.question_intervals, clip, tokenizer, prompt)
        return spelled_out(text, sample.question_intervals) if method.style == "time_tokens" else text
    return encode_prompt(in_seconds(sample.question, sample.question_intervals), (), clip, tokenizer, prompt)


class Groups(Dataset):
    """One item per group of questions. Where no sample of a group can be used, another group takes its place.

    Which group takes its place depends only on `seed`, `epoch` and the index: it is the same in every process and after
    an interruption, and another one in the next epoch. At most `allowed` samples are given up for one item. Where the
    language model can only count so far, `room` says how many tokens it can read behind the frames of a video.
    """

    def __init__(self, groups: Sequence[Sequence[Sample]], read: Reader, tokenizer: Tokenizer, prompt: PromptFormat,
                 method: Method, rejects: Rejects | None = None, seed: int = 0, allowed: int | None = None,
                 ask_early: float = 0.0, room: Callable[[Clip], int] | None = None):
        self.groups, self.read, self.rejects, self.ask_early, self.room = groups, read, rejects, ask_early, room
        self.tokenizer, self.prompt, self.method = tokenizer, prompt, method
        self.seed, self.epoch, self.allowed = seed, 0, math.inf if allowed is None else allowed

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Loaded:
        try:
            return self.load_or_replace(index)
        except NotCached:
            return Loaded(index, None, not_cached=True)

    def load_or_replace(self, index: int) -> Loaded:
        loaded = self.load(index)
        draw, skipped, tried = random.Random(f"{self.seed} {self.epoch} {index}"), list(loaded.skipped), {index}
        while loaded.group is None and len(tried) < len(self) and len(skipped) <= self.allowed:
            other = draw.randrange(len(self))
            if other not in tried:
                tried.add(other)
                loaded = self.load(other)
                skipped += loaded.skipped
        return Loaded(index, loaded.group, tuple(skipped))

    def load(self, index: int) -> Loaded:
        """The group at an index, whether or not it can be used."""
        samples = self.groups[index]
        try:
            clip = self.read(samples[0])
        except VideoError as error:
            return Loaded(index, None, tuple(Skip(s.id, s.video, "video", str(error)) for s in samples))
        room = math.inf if self.room is None else self.room(clip)
        texts: list[Text] = []
        names, preferred, factors, skipped = [], [], [], []
        rng = random.Random(f"early {self.seed} {self.epoch} {index}")
        for sample in samples:
            try:
                answers = [(sample, ""), *(self.rejects(sample) if self.rejects else ())]
                encoded = [encode_sample(s, clip, self.tokenizer, self.prompt, self.method) for s, _ in answers]
            except SampleError as error:
                skipped.append(Skip(sample.id, sample.video, "text", f"sample {sample.id}: {error}"))
                continue
            if (size := max(len(text.ids) for text in encoded)) > room:
                skipped.append(Skip(sample.id, sample.video, "length", f"sample {sample.id}: question and answer have "
                                    f"{size:,} tokens, but the language model reads {room:,} behind this video"))
                continue
            names += [answer.id for answer, _ in answers]
            factors += [factor for _, factor in answers]
            preferred += [len(texts)] * len(encoded)
            if self.method.standing_weight and can_stand(sample):
                prompt = encode_question(sample, clip, self.tokenizer, self.prompt, self.method)
                encoded.append(standing(encoded[0], prompt))
                names.append(sample.id)
                factors.append("")
                preferred.append(len(texts) + len(encoded) - 1)
            if self.ask_early and len(answers) == 1 and rng.random() < self.ask_early:
                encoded[0] = asked_early(encoded[0], clip, rng)
            texts += encoded
        group = Group(clip, tuple(texts), tuple(names), samples[0].question, tuple(preferred), tuple(factors))
        return Loaded(index, group if texts else None, tuple(skipped))


@dataclass(frozen=True)
class Collator:
    """Makes a batch from what was loaded, as the model's forward takes it; with it come the samples that were left out.

    If something has to be loaded by the main process, there is no batch yet, but only the indices that belong to it.
    """

    tokenizer: object
    prompt: PromptFormat

    def __call__(self, items: Sequence[Loaded]) -> dict:
        if any(item.not_cached for item in items):
            return {"batch": None, "indices": [item.index for item in items]}
        skipped = [skip for item in items for skip in item.skipped]
        groups = [item.group for item in items if item.group is not None]
        if not groups:
            return {"batch": None, "skipped": skipped}
        batch = collate([group.clip for group in groups], [group.texts for group in groups], self.tokenizer,
                        self.prompt, [group.question for group in groups],
                        [name for group in groups for name in group.names])
        first = itertools.accumulate((len(group.texts) for group in groups), initial=0)
        preferred = [start + k for start, group in zip(first, groups) for k in group.preferred]
        batch = replace(batch, preferred=torch.tensor(preferred),
                        factors=[factor for group in groups for factor in group.factors])
        packing_of(batch)
        return {"batch": batch, "skipped": skipped}


def batch_of(model: Any, samples: Sequence[Sample], read: Reader) -> Batch:
    """Samples with their true answers, in their order, as training sees them; each has its own copy of its video."""
    clips = [read(sample) for sample in samples]
    texts = [[encode_sample(sample, clip, model.tokenizer, model.prompt, model.method)]
             for sample, clip in zip(samples, clips)]
    return collate(clips, texts, model.tokenizer, model.prompt, [sample.question for sample in samples],
                   [sample.id for sample in samples]).to(model.device)
