"""A model's answers to samples: their text, their intervals, their words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..data.batch import Clip
from ..data.groups import Reader, encode_question
from ..data.sample import Sample
from ..ideas.evidence import Interval, render
from ..model.d2vlm import D2VLM
from ..model.decoding import Decoding, Generated, generate
from ..model.frames import encoded

NUMBERS = re.compile(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Prediction:
    sample: Sample
    generated: Generated

    @property
    def text(self) -> str:
        """The answer with its times in seconds, as scorers and people read it."""
        return render(self.generated.answer)

    @property
    def truth(self) -> list[Interval]:
        """The intervals of the true events."""
        return [event.interval for event in self.sample.events]

    @property
    def words(self) -> str:
        """The answer's text without evidence tokens and times."""
        pieces = [piece for piece in self.generated.answer.pieces if isinstance(piece, str)]
        return NUMBERS.sub("", "".join(pieces)).strip()

    @property
    def intervals(self) -> list[Interval]:
        """What the answer points to: its grounded events, else those it refers to, else the times in its text."""
        answer = self.generated.answer
        spans = [span for span in answer.grounded or [ref.interval for ref in answer.references] if span]
        return spans or [tuple(sorted(map(float, pair))) for pair in NUMBERS.findall(self.generated.text)]


def predict(model: D2VLM, samples: Sequence[Sample], read: Reader, decoding: Decoding | None = None,
            batch: int = 32) -> Iterator[Prediction]:
    """Answers in batches of about `batch` texts; questions about the same video share it.

    Where the frame encoder reads the question, only samples with the same question share their video.
    """
    videos: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        videos[sample.video, sample.question if model.frames.reads_question else ""].append(sample)
    pending: list[list[Sample]] = []
    for group in videos.values():
        for i in range(0, len(group), batch):
            pending.append(group[i:i + batch])
            if sum(map(len, pending)) >= batch:
                yield from _answer(model, pending, read, decoding)
                pending = []
    if pending:
        yield from _answer(model, pending, read, decoding)


def seen(model: D2VLM, clip: Clip) -> Clip:
    """A clip with features, which are computed once for all questions about it."""
    features, = encoded(model.frames, [clip.features.to(model.device)])
    return Clip(features, clip.timestamps)


def _answer(model: D2VLM, groups: list[list[Sample]], read: Reader,
            decoding: Decoding | None) -> Iterator[Prediction]:
    training = model.training
    model.eval()
    videos = {group[0].video: group[0] for group in groups}
    clips = {video: seen(model, read(sample)) for video, sample in videos.items()}
    clips = [clips[group[0].video] for group in groups]
    prompts = [[encode_question(sample, clip, model.tokenizer, model.prompt, model.method) for sample in group]
               for group, clip in zip(groups, clips)]
    questions = [group[0].question for group in groups]
    flat = [sample for group in groups for sample in group]
    answers = generate(model, clips, prompts, decoding, questions, [sample.id for sample in flat])
    model.train(training)
    yield from (Prediction(sample, answer) for sample, answer in zip(flat, answers))
