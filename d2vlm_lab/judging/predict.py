"""A model's answers to samples: their text, their intervals, their words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from ..data.batch import Clip, prefix_size
from ..data.groups import Reader, encode_question
from ..data.sample import Sample
from ..data.video import VideoError
from ..ideas.evidence import Interval, render
from ..model.backbone import position_limit
from ..model.d2vlm import D2VLM, evaluation
from ..model.decoding import Decoding, Generated, generate
from ..model.frames import encoded
from ..model.growing import shares_frames

# Tokens of a batch whose keys and values are kept. In a model of 3.8 billion parameters (Phi-3-mini, bfloat16), that is
# 3 GB for the frames and 13 GB for the answers if none of them ends early.
FRAME_TOKENS, ANSWER_TOKENS = 2**13, 2**15
LARGE = 4  # features that are more than this many times as large as their tokens are projected right away
NUMBERS = re.compile(r"(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Prediction:
    sample: Sample
    generated: Generated
    digits: bool = False  # whether the text says its times in numbers; otherwise only evidence tokens say when

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
        text = "".join(pieces)
        return (NUMBERS.sub("", text) if self.digits else text).strip()

    @property
    def intervals(self) -> list[Interval]:
        """What the answer points to: its grounded events, else those it refers to, else the numbers in its text."""
        answer = self.generated.answer
        spans = [span for span in answer.grounded or [ref.interval for ref in answer.references] if span]
        numbers = NUMBERS.findall(self.generated.text) if self.digits else []
        return spans or [tuple(sorted(map(float, pair))) for pair in numbers]


def with_problems(samples: Iterable[Sample], read: Reader) -> Iterator[tuple[Sample, str]]:
    """Each sample, and why its video cannot be read; "" if it can. Every video is tried once."""
    problems: dict[str, str] = {}
    for sample in samples:
        if sample.video not in problems:
            try:
                read(sample)  # the features of the video are kept, so that the next reading is quick
                problems[sample.video] = ""
            except VideoError as error:
                problems[sample.video] = str(error)
        yield sample, problems[sample.video]


def video_tokens(model: D2VLM, clip: Clip) -> int:
    """How many tokens the frames of a video take, with the texts between them."""
    return prefix_size(clip.timestamps, model.frames.tokens_per_frame, model.tokenizer, model.prompt)


def too_long(model: D2VLM, clip: Clip, question: str, answer: int = 0) -> str:
    """Why the language model was not made to read a question and write `answer` tokens behind its video; "" if it was.
    """
    room = position_limit(model.language) or getattr(model.language.config.get_text_config(),
                                                     "max_position_embeddings", None)
    around = model.prompt.before + model.prompt.after.format(question=question)
    words = len(model.tokenizer.encode(around)) + answer
    frames = video_tokens(model, clip)
    if room is None or words + frames <= room:
        return ""
    text = "the question and its answer have" if answer else "the question has"
    return f"{text} {words:,} tokens and the video {frames:,}, but this language model reads {room:,} together"


def predict(model: D2VLM, samples: Sequence[Sample], read: Reader, decoding: Decoding | None = None,
            batch: int = 128) -> Iterator[Prediction]:
    """Answers in batches of at most `batch` texts, or fewer if their frames or their answers may take much memory.

    Questions about the same video share it, which is read once for all of them. Where the frame encoder reads the
    question, only samples with the same question share their video.
    """
    videos: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        videos[sample.video, sample.question if model.frames.reads_question else ""].append(sample)
    longest = (decoding or Decoding()).max_new_tokens
    pending = Pending(model, max(1, min(batch, ANSWER_TOKENS // longest)))
    for group in videos.values():
        clip = seen(model, read(group[0]), group[0].question)
        at_once = pending.room(clip)
        for part in (group[i:i + at_once] for i in range(0, len(group), at_once)):
            if not pending.fits(part, clip):
                yield from _answer(model, pending.taken(), decoding)
            pending.add(part, clip)
    if pending.groups:
        yield from _answer(model, pending.taken(), decoding)


@dataclass
class Pending:
    """Questions that will be answered together, as many as the budget allows."""

    model: D2VLM
    batch: int  # texts
    groups: list[tuple[list[Sample], Clip]] = field(default_factory=list)
    longest: int = 0  # tokens of the longest of their videos

    def room(self, clip: Clip) -> int:
        """How many questions about one video can be answered together."""
        if shares_frames(self.model):
            return self.batch
        return max(1, min(self.batch, FRAME_TOKENS // video_tokens(self.model, clip)))

    def fits(self, part: list[Sample], clip: Clip) -> bool:
        """Whether these questions can be added. The videos of a batch are padded to its longest one."""
        groups = [*self.groups, (part, clip)]
        texts = sum(len(samples) for samples, _ in groups)
        copies = len(groups) if shares_frames(self.model) else texts
        longest = max(self.longest, video_tokens(self.model, clip))
        return not self.groups or (texts <= self.batch and copies * longest <= FRAME_TOKENS)

    def add(self, part: list[Sample], clip: Clip) -> None:
        self.groups.append((part, clip))
        self.longest = max(self.longest, video_tokens(self.model, clip))

    def taken(self) -> list[tuple[list[Sample], Clip]]:
        groups, self.groups, self.longest = self.groups, [], 0
        return groups


@torch.no_grad()
def seen(model: D2VLM, clip: Clip, question: str) -> Clip:
    """A clip as all questions about it share it: its frames are encoded.

    Features that take much more memory than the tokens that they become, such as all patches of a frame, are projected
    here, so that the features of several videos are never held at once.
    """
    features, = encoded(model.frames, [clip.features.to(model.device)])
    width = model.frame_head[0].normalized_shape[0] * (1 + model.frames.added_layers)
    if features.numel() <= LARGE * len(features) * model.frames.tokens_per_frame * width:
        return replace(clip, features=features)
    with evaluation(model):
        return replace(clip, features=model.frames.project(features, question), projected=True)


def _answer(model: D2VLM, groups: list[tuple[list[Sample], Clip]], decoding: Decoding | None) -> Iterator[Prediction]:
    prompts = [[encode_question(sample, clip, model.tokenizer, model.prompt, model.method) for sample in samples]
               for samples, clip in groups]
    questions = [samples[0].question for samples, _ in groups]
    flat = [sample for samples, _ in groups for sample in samples]
    with evaluation(model):
        answers = generate(model, [clip for _, clip in groups], prompts, decoding, questions,
                           [sample.id for sample in flat])
    yield from (Prediction(sample, answer, model.method.style == "digits") for sample, answer in zip(flat, answers))
