"""Drawn answers: what each says, what it is worth, and the batch from which they are learned.

All rewards of an answer are computed from the batch that asked the question: from the intervals and the words of the
true answer. Intervals are in seconds here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..config import Reward
from ..data.batch import GROUNDED, IGNORE, QUESTION, REFERENCED, Batch, Clip, Text, answered, collate, to_seconds
from ..data.plan import plan_of
from ..data.spelled import decode
from ..ideas.evidence import GroundedAnswer, Interval, parse
from ..ideas.rewards import SET_REWARDS, refusal, word_f1
from ..model.d2vlm import D2VLM
from ..model.decoding import stop_ids
from ..model.drawing import DrawnAnswer


@dataclass(frozen=True)
class Truth:
    """What the true answer to a question says."""

    intervals: tuple[Interval, ...]
    words: str
    seconds: np.ndarray  # (F,) when the frames of the video were shown


@dataclass(frozen=True)
class Answer:
    """A drawn answer, beside the true one."""

    ids: list[int]
    frames: list[tuple[int, int]]  # the interval of each `<evi>`
    answer: GroundedAnswer
    readable: bool  # whether it ends and is written in the method's style
    truth: Truth
    log_p: float
    entropies: list[float]

    @property
    def intervals(self) -> list[Interval]:
        """The intervals of the grounding stage; in the coupled style, which has none, those that it refers to."""
        return list(self.answer.grounded or [ref.interval for ref in self.answer.references])

    @property
    def words(self) -> str:
        return spoken(self.answer)

    def part(self, name: str, settings: Reward) -> float:
        """One reward of the answer, without its weight."""
        if name == "words":
            return word_f1(self.words, self.truth.words)
        if name == "refusal":
            return refusal(self.intervals, self.truth.intervals)
        more = {"beta": settings.beta} if name.startswith("wasserstein") else {}
        return SET_REWARDS[name](self.intervals, self.truth.intervals, **more)

    def parts(self, settings: Reward) -> dict[str, float]:
        """Each reward that counts, without its weight; all are 0 for an answer that cannot be read."""
        return {name: self.part(name, settings) if self.readable else 0.0 for name in settings.weights}

    def reward(self, settings: Reward, parts: dict[str, float] | None = None) -> float:
        """The weighted sum of the rewards; `parts` are these rewards if they are known already."""
        if not self.readable:
            return settings.unreadable
        parts = self.parts(settings) if parts is None else parts
        return sum(weight * parts[name] for name, weight in settings.weights.items())

    def other_rewards(self, settings: Reward) -> float:
        """The part of the reward that does not depend on where the intervals are."""
        if not self.readable:
            return settings.unreadable
        return sum(weight * self.part(name, settings) for name, weight in settings.weights.items()
                   if name not in SET_REWARDS)


@dataclass(frozen=True)
class Match:
    """Evidence tokens of drawn answers that are rewarded for the same true event."""

    truth: Tensor  # (2,)
    seconds: Tensor  # (F,) of the frames of the video
    mentions: Tensor  # (M,) which of the evidence tokens of all drawn answers
    share: Tensor  # (M,) share in the answer's reward: 1 / the larger number of intervals


@dataclass(frozen=True)
class DrawnBatch:
    """The drawn answers that are learned from, as a batch."""

    batch: Batch
    answers: list[Answer]  # n of them
    groups: list[int]  # the questions that they answer
    answer_of_text: Tensor  # (N,) which of the n answers each text of the batch is; -1 for a true answer
    matches: list[Match]
    nothing: Tensor  # (n,) True if rightly no interval is given


def prompts_of(model: D2VLM, batch: Batch) -> Batch:
    """The questions of a batch without their answers."""
    return _collate(model, batch, [[prompt] for prompt in prompt_texts(batch)], batch.names).to(model.device)


def prompt_texts(batch: Batch) -> list[Text]:
    asked = batch.mask & (batch.labels == IGNORE)
    given = [(n, column, span) for n, column, span, role in
             zip(batch.row.tolist(), batch.column.tolist(), batch.interval.tolist(), batch.role.tolist())
             if role == QUESTION]
    texts = []
    for n, (ids, kept) in enumerate(zip(batch.ids, asked)):
        ids, points = ids[kept].tolist(), [(column, tuple(span)) for row, column, span in given if row == n]
        texts.append(Text(ids, [IGNORE] * len(ids), [column for column, _ in points], [span for _, span in points],
                          [QUESTION] * len(points), [-1] * len(points)))
    return texts


def truths_of(model: D2VLM, batch: Batch) -> list[Truth]:
    """What the true answers of a batch say."""
    role, row, spans_of = batch.role.tolist(), batch.row.tolist(), batch.interval.tolist()
    stops, truths = stop_ids(model), []
    for n in range(len(batch.ids)):
        seconds = batch.seconds[int(batch.video[n])].cpu().numpy()
        wanted = GROUNDED if any(r == GROUNDED and k == n for r, k in zip(role, row)) else REFERENCED
        spans = [to_seconds(span, seconds) for span, r, k in zip(spans_of, role, row) if r == wanted and k == n]
        ids = [token for token in batch.labels[n].tolist() if token != IGNORE]
        text = model.tokenizer.decode([token for token in ids if token not in stops])
        truths.append(Truth(tuple(spans), spoken(parse(text, style=model.method.style)), seconds))
    return truths


def read_drawn(model: D2VLM, drawn: DrawnAnswer, truth: Truth) -> Answer:
    """What a drawn answer says; its frames become seconds."""
    ids = drawn.ids[:-1] if drawn.finished else drawn.ids
    spans = [to_seconds(frames, truth.seconds) for frames in drawn.intervals]
    answer = parse(decode(model.tokenizer, ids), spans, model.method.style)
    return Answer(ids=drawn.ids, frames=drawn.intervals, answer=answer,
                  readable=drawn.finished and in_style(answer, model.method), truth=truth, log_p=drawn.log_p,
                  entropies=drawn.entropies)


def in_style(answer: GroundedAnswer, method) -> bool:
    """Whether an answer is written as the method writes answers, so that each of its intervals has a meaning."""
    if method.style == "coupled":
        return not answer.grounded and not answer.closed
    if answer.grounded and answer.closed != method.end_marker or answer.closed and not answer.grounded:
        return False
    if method.style == "factorized":
        return not answer.references
    return all(reference.event is not None for reference in answer.references)


def spoken(answer: GroundedAnswer) -> str:
    """The words of an answer without its evidence tokens."""
    return " ".join("".join(piece for piece in answer.pieces if isinstance(piece, str)).split())


def drawn_batch(model: D2VLM, batch: Batch, answers: Sequence[Answer], groups: Sequence[int],
                with_truth: bool) -> DrawnBatch:
    """The answers of some groups as texts that share their videos, with the true answer first in each group if wanted.

    The first text of a group counts as the chosen one: the question is then read once for all of them.
    """
    size = len(answers) // len(batch.ids)
    prompts, selected = prompt_texts(batch), []
    texts: list[list[Text]] = [[] for _ in groups]
    for texts_of_group, n in zip(texts, groups):
        if with_truth:
            texts_of_group.append(true_text(batch, n))
        for answer in answers[n * size:(n + 1) * size]:
            spans = [(float(first), float(last)) for first, last in answer.frames]
            texts_of_group.append(answered(prompts[n], answer.ids, answer.answer, spans, model.tokenizer))
            selected.append(answer)
    of_text, preferred = [], []
    for k, group in enumerate(texts):
        first = len(preferred)
        preferred += [first] * len(group)
        of_text += ([-1] if with_truth else []) + list(range(k * size, (k + 1) * size))
    names = [batch.names[n] for n, group in zip(groups, texts) for _ in group]
    whole = _collate(model, batch, texts, names, groups)
    whole = replace(whole, preferred=torch.tensor(preferred), factors=[""] * len(preferred))
    plan_of(whole)
    nothing = torch.tensor([not answer.intervals and not answer.truth.intervals and answer.readable
                            for answer in selected])
    return DrawnBatch(batch=whole.to(model.device), answers=selected, groups=list(groups),
                      answer_of_text=torch.tensor(of_text, device=model.device),
                      matches=matches_of(selected, size, model.device), nothing=nothing)


def true_text(batch: Batch, n: int) -> Text:
    """A text of a batch in its form before collation."""
    kept, points = batch.mask[n], (batch.row == n).nonzero().squeeze(1).tolist()
    grounded = {first: k for k, (first, _) in enumerate(batch.pairs.tolist())}
    referenced = {second: k for k, (_, second) in enumerate(batch.pairs.tolist())}
    return Text(batch.ids[n][kept].tolist(), batch.labels[n][kept].tolist(), batch.column[points].tolist(),
                [tuple(span) for span in batch.interval[points].tolist()], batch.role[points].tolist(),
                [grounded.get(k, referenced.get(k, -2 - k)) for k in points])  # without a partner: its own number


def matches_of(answers: Sequence[Answer], size: int, device: torch.device) -> list[Match]:
    """For each true event, the drawn intervals that are rewarded for it: the k-th in time for the k-th event in time.

    Every `size` answers in a row are about the same question.
    """
    matches, first = [], 0
    for begin in range(0, len(answers), size):
        group, truth = answers[begin:begin + size], answers[begin].truth
        found: list[tuple[list[int], list[float]]] = [([], []) for _ in truth.intervals]
        for answer in group:
            spans = answer.intervals
            if answer.readable and spans:
                order = sorted(range(len(spans)), key=lambda k, spans=spans: spans[k])
                for (mentions, shares), k in zip(found, order):
                    mentions.append(first + k)
                    shares.append(1 / max(len(spans), len(truth.intervals)))
            first += len(answer.frames)
        seconds = torch.tensor(truth.seconds, device=device)
        for span, (mentions, shares) in zip(sorted(truth.intervals), found):
            if mentions:
                matches.append(Match(torch.tensor(span, device=device, dtype=seconds.dtype), seconds,
                                     torch.tensor(mentions, device=device), torch.tensor(shares, device=device)))
    return matches


def _collate(model: D2VLM, batch: Batch, texts: Sequence[Sequence[Text]], names: Sequence[str],
             rows: Sequence[int] | None = None) -> Batch:
    """A batch with other texts, group by group; each group keeps the video of its row."""
    rows = range(len(batch.ids)) if rows is None else rows
    by_video: dict[int, list[Text]] = {}
    named: dict[int, list[str]] = {}
    names = iter(names)
    for n, group in zip(rows, texts):
        video = int(batch.video[n])
        by_video.setdefault(video, []).extend(group)
        named.setdefault(video, []).extend(next(names) for _ in group)
    clips = [Clip(batch.features[video], batch.seconds[video].cpu().numpy()) for video in by_video]
    return collate(clips, list(by_video.values()), model.tokenizer, model.prompt,
                   [batch.questions[video] for video in by_video], [name for each in named.values() for name in each])
