"""From samples to tensors: seconds become frame positions, answers become tokens, questions share their video.

A batch has V videos and N texts; text n belongs to video `video[n]`. A text is what follows the frames: the rest
of the prompt, the question, the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..ideas.evidence import END, EVIDENCE, GroundedAnswer, Interval, write
from .sample import SampleError

IGNORE = -100  # a label that is not learned
QUESTION, GROUNDED, REFERENCED = 0, 1, 2  # the role of an evidence token


@dataclass(frozen=True)
class Clip:
    """A video as the model sees it: features of its F frames and the second at which each was shown."""

    features: Tensor  # (F, ...)
    timestamps: np.ndarray  # (F,)


@dataclass(frozen=True)
class PromptFormat:
    """How a tokenizer's chat is written: what precedes the frames, what follows them, what ends an answer."""

    before: str = ""
    after: str = "\n{question}\n"
    stop: str = ""

    @classmethod
    def of(cls, tokenizer, system: str | None = None) -> PromptFormat:
        """Read off the tokenizer's own chat template; plain lines where it has none."""
        if not tokenizer.chat_template:
            return cls(stop=tokenizer.eos_token or "")
        talk = [{"role": "system", "content": system}] if system else []
        talk += [{"role": "user", "content": "\0frames\0\n\0question\0"}]
        prompt = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template([*talk, {"role": "assistant", "content": "\0answer\0"}], tokenize=False)
        before, after = prompt.split("\0frames\0")
        after = after.replace("{", "{{").replace("}", "}}").replace("\0question\0", "{question}")
        ending = whole.split("\0answer\0")[1]
        return cls(before, after, ending.strip() or tokenizer.eos_token or "")


@dataclass(frozen=True)
class Text:
    """Tokens after the frames, what of them is learned, and where their evidence tokens are."""

    ids: list[int]
    labels: list[int]
    columns: list[int] = field(default_factory=list)  # of each `<evi>` in ids
    intervals: list[Interval] = field(default_factory=list)  # frame positions, fractional
    roles: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)  # which event of the answer; -1 where none


@dataclass
class Batch:
    """What the model reads. V videos, N texts of up to T tokens, E evidence tokens, all right- or left-padded."""

    features: list[Tensor]  # V of (F_v, ...)
    questions: list[str | None]  # V: for frame encoders that look with a question in mind
    before_ids: Tensor  # (V, P) text before the frames
    before_mask: Tensor  # (V, P)
    video: Tensor  # (N,)
    ids: Tensor  # (N, T)
    mask: Tensor  # (N, T)
    labels: Tensor  # (N, T)
    row: Tensor  # (E,) the text that an evidence token stands in
    column: Tensor  # (E,) its column in ids
    interval: Tensor  # (E, 2) first and last frame, fractional
    role: Tensor  # (E,)
    pairs: Tensor  # (K, 2) the grounded and the referenced mention of an event, as indices into E
    names: list[str] = field(default_factory=list)  # N sample ids, for messages
    position_ids: Tensor | None = None  # (N, T) where the text does not simply follow the frames
    preferred: Tensor | None = None  # (N,) the chosen answer that each is compared with; itself where it is chosen
    factors: list[str] = field(default_factory=list)  # N: what was changed in a rejected answer; "" where chosen

    @property
    def in_answer(self) -> Tensor:
        """(E,) True on the evidence tokens of answers; those of a question only point."""
        return self.role != QUESTION

    @property
    def supervised(self) -> Tensor:
        """(N,) True on the texts to learn from; rejected answers are only compared."""
        own = torch.arange(len(self.ids), device=self.ids.device)
        return torch.ones_like(own, dtype=torch.bool) if self.preferred is None else self.preferred == own

    def to(self, device, non_blocking: bool = False) -> Batch:
        def move(value):
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=non_blocking)
            return [move(item) for item in value] if isinstance(value, list) else value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


def to_frames(interval: Interval, timestamps: np.ndarray) -> Interval:
    """Seconds -> fractional frame positions on the timestamps of the frames that were read."""
    start, end = np.interp(interval, timestamps, np.arange(len(timestamps)))
    return float(start), float(end)


def to_seconds(interval: Sequence[int], timestamps: np.ndarray) -> Interval:
    """First and last frame -> the seconds at which they were shown."""
    return float(timestamps[int(interval[0])]), float(timestamps[int(interval[1])])


def add_evidence_tokens(tokenizer, language) -> None:
    """Teach a tokenizer and its model `<evi>` and `</evi>`: new rows start as the mean row, existing ones stay."""
    tokenizer.add_tokens([token for token in (EVIDENCE, END) if token not in tokenizer.get_vocab()],
                         special_tokens=True)
    tables = [language.get_input_embeddings(), language.get_output_embeddings()]
    old = tables[0].weight.shape[0]
    if len(tokenizer) <= old:
        return
    means = [table.weight.detach().mean(0) for table in tables]
    language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for table, mean in zip([language.get_input_embeddings(), language.get_output_embeddings()], means):
        table.weight.data[old:] = mean


def encode_prompt(question: str, question_intervals: Sequence[Interval], clip: Clip, tokenizer,
                  form: PromptFormat) -> Text:
    """The prompt after the frames, up to where the answer begins."""
    ids = tokenizer.encode(form.after.format(question=question), add_special_tokens=False)
    where = _find(ids, tokenizer)
    if len(where) != len(question_intervals):
        raise SampleError(f"question {question!r} holds {len(where)} {EVIDENCE}, "
                          f"but {len(question_intervals)} intervals are given")
    return Text(ids, [IGNORE] * len(ids), where, [to_frames(span, clip.timestamps) for span in question_intervals],
                [QUESTION] * len(where), [-1] * len(where))


def encode_answer(prompt: Text, answer: GroundedAnswer, clip: Clip, tokenizer, form: PromptFormat) -> Text:
    """The prompt followed by an answer to learn from."""
    ids = tokenizer.encode(write(answer) + form.stop, add_special_tokens=False)
    where = _find(ids, tokenizer)
    spans = answer.intervals
    if len(where) != len(spans) or None in spans:
        raise SampleError(f"answer {write(answer)!r} needs one interval for each of its {len(where)} {EVIDENCE}")
    events = [*range(len(answer.grounded)), *(-1 if ref.event is None else ref.event for ref in answer.references)]
    roles = [GROUNDED] * len(answer.grounded) + [REFERENCED] * len(answer.references)
    return Text(prompt.ids + ids, prompt.labels + ids, prompt.columns + [len(prompt.ids) + i for i in where],
                prompt.intervals + [to_frames(span, clip.timestamps) for span in spans],
                prompt.roles + roles, prompt.events + events)


def collate(clips: Sequence[Clip], texts: Sequence[Sequence[Text]], tokenizer, form: PromptFormat,
            questions: Sequence[str | None] | None = None, names: Sequence[str] = (),
            padding: str = "right") -> Batch:
    """One batch from V videos and, for each, the texts that share it."""
    rows = [text for group in texts for text in group]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    before = [torch.tensor(tokenizer.encode(form.before), dtype=torch.long)] * len(clips)

    def padded(values: list[Tensor], fill: int) -> Tensor:
        return pad_sequence(values, batch_first=True, padding_value=fill, padding_side=padding)

    ids = [torch.tensor(text.ids) for text in rows]
    width = max(len(text.ids) for text in rows)
    shift = [width - len(text.ids) if padding == "left" else 0 for text in rows]
    evidence = [(n, shift[n] + where, *span, role) for n, text in enumerate(rows)
                for where, span, role in zip(text.columns, text.intervals, text.roles)]
    table = torch.tensor(evidence, dtype=torch.float64).reshape(-1, 5)
    return Batch(
        features=[clip.features for clip in clips],
        questions=list(questions) if questions is not None else [None] * len(clips),
        before_ids=padded(before, pad), before_mask=padded([torch.ones_like(b, dtype=torch.bool) for b in before], 0),
        video=torch.tensor([v for v, group in enumerate(texts) for _ in group]),
        ids=padded(ids, pad), mask=padded([torch.ones_like(i, dtype=torch.bool) for i in ids], 0),
        labels=padded([torch.tensor(text.labels) for text in rows], IGNORE),
        row=table[:, 0].long(), column=table[:, 1].long(), interval=table[:, 2:4].float(), role=table[:, 4].long(),
        pairs=_pairs(rows), names=list(names))


def _find(ids: Sequence[int], tokenizer) -> list[int]:
    evidence = tokenizer.convert_tokens_to_ids(EVIDENCE)
    return [i for i, token in enumerate(ids) if token == evidence]


def _pairs(rows: Sequence[Text]) -> Tensor:
    """(K, 2) indices of the two mentions of each event that is both grounded and referenced."""
    pairs, offset = [], 0
    for text in rows:
        first = {event: i for i, (event, role) in enumerate(zip(text.events, text.roles)) if role == GROUNDED}
        pairs += [(offset + first[event], offset + i) for i, (event, role) in enumerate(zip(text.events, text.roles))
                  if role == REFERENCED and event in first]
        offset += len(text.events)
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
