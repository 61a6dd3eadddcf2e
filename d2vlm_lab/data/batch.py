"""From samples to tensors: seconds become frame positions, answers become tokens, questions share their video.

A batch has V videos and N texts; text n belongs to video `video[n]`. A text is everything that follows the frames: the
rest of the prompt with the question, then the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from string import Formatter
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..errors import LabError
from ..ideas.evidence import END, EVIDENCE, GroundedAnswer, Interval, write
from ..shapes import shown
from .sample import SampleError

IGNORE = -100  # the label of a token that is not predicted
FRAME = -1  # in a row of token ids: the place of a frame
QUESTION, GROUNDED, REFERENCED = 0, 1, 2  # the role of an evidence token
NEVER = (-1e6, -1e6)  # an interval that is far from every frame
Tokenizer = Any  # one of transformers, which is not imported for its name alone


@dataclass(frozen=True)
class Clip:
    """A video as the model sees it: features of its F frames and the second at which each was shown."""

    features: Tensor  # (F, ...); or the prepared frames, (F, H, W, 3) uint8, which the model then encodes itself
    timestamps: np.ndarray  # (F,)
    projected: bool = False  # whether the features are tokens of the language model already, (F * tokens per frame, D)


@dataclass(frozen=True)
class PromptFormat:
    """How a chat is written for a language model."""

    before: str = ""  # text before the frames
    after: str = "\n{question}\n"  # text between the frames and the answer
    stop: str = ""  # text that ends the answer
    # Text around each frame, with {frame} where it stands, {seconds} or {clock} (minutes and seconds) where its time is
    # written, as in "<{seconds:.1f} seconds>{frame}". Empty: no text.
    around_frame: str = ""
    time: str = "{seconds:.1f} s"  # how a time is written; if times are written, the text around a frame begins with it

    def __post_init__(self):
        times = {"seconds", "clock"}
        places = {"after": ("question", {"question"}), "around_frame": ("frame", {"frame", *times}),
                  "time": ("clock" if "{clock" in self.time else "seconds", times)}
        for name, (needed, known) in places.items():
            found = _places(name, text) if (text := getattr(self, name)) else [needed]
            if needed not in found or not known.issuperset(found):
                others = ", ".join(sorted(known - {needed})) or "none"
                raise LabError(f"prompt.{name} is {shown(text)}; it needs the place {{{needed}}}, and of others may "
                               f"have {others}")

    @property
    def tells_times(self) -> bool:
        return not {"seconds", "clock"}.isdisjoint(_places("around_frame", self.around_frame))

    def telling(self, times: bool) -> PromptFormat:
        """This format with the time before each frame, or without it."""
        if times == self.tells_times:
            return self
        if times:
            return replace(self, around_frame=self.time + (self.around_frame or "{frame}"))
        without = self.around_frame.removeprefix(self.time)
        return replace(self, around_frame="" if without == "{frame}" else without)

    @classmethod
    def of(cls, tokenizer: Tokenizer, system: str | None = None) -> PromptFormat:
        """The format of a tokenizer's chat template; plain lines where it has none."""
        if not tokenizer.chat_template:
            return cls(stop=tokenizer.eos_token or "")
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": "user", "content": "\0frames\0\n\0question\0"}]
        try:
            prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise LabError(f"the chat template of this language model refuses the prompt ({error}); if it knows no "
                           "system message, leave parts.system empty") from None
        messages += [{"role": "assistant", "content": "\0answer\0"}]
        ending = tokenizer.apply_chat_template(messages, tokenize=False).split("\0answer\0")[1].strip()
        before, after = prompt.split("\0frames\0")
        after = after.replace("{", "{{").replace("}", "}}").replace("\0question\0", "{question}")
        # Some templates write several tokens after an answer: Phi-3 has <|end|>, a line break and <|endoftext|>. The
        # first one ends the answer; what follows it is never generated, so it need not be learned.
        first = [token for token in tokenizer.get_added_vocab() if ending.startswith(token)]
        return cls(before, after, max(first, key=len, default=ending) or tokenizer.eos_token or "")


def _places(name: str, text: str) -> list[str]:
    """The names in braces in a text that will be filled in. A number may have a format, but only to round it."""
    try:
        places = [(field, format_) for _, field, format_, _ in Formatter().parse(text) if field is not None]
    except ValueError as error:
        raise LabError(f"prompt.{name} is {shown(text)}; its braces are wrong ({error})") from None
    return [field if re.fullmatch(r"(\.\df)?", format_ or "") else f"{field}:{format_}" for field, format_ in places]


@dataclass(frozen=True)
class Text:
    """The tokens of one text, and for each `<evi>` among them where it is, where it points and what it is for."""

    ids: list[int]
    labels: list[int]  # the ids of the answer, IGNORE before it
    columns: list[int] = field(default_factory=list)  # place of each `<evi>` in ids
    intervals: list[Interval] = field(default_factory=list)  # frame positions, fractional
    roles: list[int] = field(default_factory=list)  # QUESTION, GROUNDED or REFERENCED
    events: list[int] = field(default_factory=list)  # number of its event in the answer; -1 for no event
    asked: int | None = None  # how many frames had been shown when it was asked; it sees no others. None: all
    # Only for a standing question, which has no answer: the frame positions of all that it asks about, seen or not.
    standing: tuple[Interval, ...] | None = None


@dataclass(frozen=True)
class Standing:
    """S texts of a batch that are standing questions: they wait for K events at most."""

    row: Tensor  # (S,) the text
    column: Tensor  # (S,) its last token
    interval: Tensor  # (S, K, 2) first and last frame, fractional; far before the video where there are fewer


@dataclass
class Batch:
    """What the model reads: V videos, P tokens before the frames, N texts of T tokens, E evidence tokens, K pairs."""

    features: list[Tensor]  # V of (F_v, ...)
    questions: list[str | None]  # V: for frame encoders that read the question
    before_ids: Tensor  # (V, P) tokens before the frames
    before_mask: Tensor  # (V, P) True on tokens, False on padding
    video: Tensor  # (N,) the video of each text
    ids: Tensor  # (N, T) tokens, padded right or left
    mask: Tensor  # (N, T) True on tokens, False on padding
    labels: Tensor  # (N, T) the token where it is to be predicted, else IGNORE
    row: Tensor  # (E,) the text that an evidence token stands in
    column: Tensor  # (E,) its place in that text
    interval: Tensor  # (E, 2) first and last frame, fractional
    role: Tensor  # (E,) QUESTION, GROUNDED or REFERENCED
    pairs: Tensor  # (K, 2) the grounded and the referenced mention of an event, as indices into E
    seconds: list[Tensor] = field(default_factory=list)  # V of (F_v,): when each frame was shown
    layout: list[Tensor] | None = None  # V of (2, P), see `frame_layout`; None: no text between frames
    projected: bool = False  # whether the features are tokens of the language model already
    names: list[str] = field(default_factory=list)  # N sample ids, for messages
    asked: Tensor | None = None  # (N,) how many frames each text sees; None: all texts see all frames of their videos
    standing: Standing | None = None
    position_ids: Tensor | None = None  # (N, T) where the text does not simply follow the frames
    preferred: Tensor | None = None  # (N,) the chosen answer that each is compared with; itself where it is chosen
    factors: list[str] = field(default_factory=list)  # N: what was changed in a rejected answer; "" where chosen
    plan: Any = field(default=None, init=False, repr=False)  # a plan.Plan; a changed copy of a batch has none yet

    @property
    def in_answer(self) -> Tensor:
        """(E,) True on the evidence tokens of answers; those of a question are given, not predicted."""
        return self.role != QUESTION

    @property
    def supervised(self) -> Tensor:
        """(N,) True on the texts that losses are computed on; rejected answers are only compared with them."""
        text = torch.arange(len(self.ids), device=self.ids.device)
        return torch.ones_like(text, dtype=torch.bool) if self.preferred is None else self.preferred == text

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return _each_tensor(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """A copy in memory that a GPU can read while it goes on computing; data loaders call this."""
        return _each_tensor(self, Tensor.pin_memory)


def _each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a batch, or of a part of it, with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list):
        return [_each_tensor(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _each_tensor(item, change) for key, item in value.items()}
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changed = {f.name: _each_tensor(getattr(value, f.name), change) for f in fields(value) if f.init}
    copy: Any = replace(value, **changed)
    if isinstance(value, Batch):
        copy.plan = _each_tensor(value.plan, change)
    return copy


def to_frames(interval: Interval, timestamps: np.ndarray) -> Interval:
    """Seconds -> fractional frame positions, by the `timestamps` (F,) of the frames that were read."""
    start, end = np.interp(interval, timestamps, np.arange(len(timestamps)))
    return float(start), float(end)


def to_seconds(interval: Sequence[float], timestamps: np.ndarray) -> Interval:
    """First and last frame -> the seconds at which they were shown; between two frames for fractional positions."""
    start, end = np.interp(interval, np.arange(len(timestamps)), timestamps)
    return float(start), float(end)


def tensor_to_seconds(interval: Tensor, seconds: Tensor) -> Tensor:
    """(..., 2), (F,) -> (..., 2) as `to_seconds`, but on the device: a loss does not wait until numbers are fetched."""
    position = interval.clamp(0, len(seconds) - 1)
    before = position.floor().long().clamp_max(max(0, len(seconds) - 2))
    after = (before + 1).clamp_max(len(seconds) - 1)
    return seconds[before] + (position - before) * (seconds[after] - seconds[before])


def new_evidence_tokens(tokenizer: Tokenizer) -> list[str]:
    """Which of `<evi>` and `</evi>` a tokenizer does not have yet."""
    return [token for token in (EVIDENCE, END) if token not in tokenizer.get_vocab()]


def add_evidence_tokens(tokenizer: Tokenizer, language: Any) -> None:
    """Add `<evi>` and `</evi>` to a tokenizer and its model: new rows start as the mean row, existing ones stay."""
    tokenizer.add_tokens(new_evidence_tokens(tokenizer), special_tokens=True)
    tables = [language.get_input_embeddings(), language.get_output_embeddings()]
    old = tables[0].weight.shape[0]
    if len(tokenizer) <= old:
        return
    means = [table.weight.detach().mean(0) for table in tables]
    language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for table, mean in zip([language.get_input_embeddings(), language.get_output_embeddings()], means):
        table.weight.data[old:] = mean


def encode_start(tokenizer: Tokenizer, form: PromptFormat) -> list[int]:
    """The tokens before the frames. A tokenizer that begins every text with BOS adds no second one."""
    written = bool(tokenizer.bos_token) and form.before.startswith(tokenizer.bos_token)
    return tokenizer.encode(form.before, add_special_tokens=not written)


def encode_prompt(question: str, question_intervals: Sequence[Interval], clip: Clip, tokenizer: Tokenizer,
                  form: PromptFormat) -> Text:
    """The prompt after the frames, up to where the answer begins."""
    ids = tokenizer.encode(form.after.format(question=question), add_special_tokens=False)
    columns = _evidence_columns(ids, tokenizer)
    if len(columns) != len(question_intervals):
        raise SampleError(f"question {question!r} holds {len(columns)} {EVIDENCE}, "
                          f"but {len(question_intervals)} intervals are given")
    return Text(ids, [IGNORE] * len(ids), columns, [to_frames(span, clip.timestamps) for span in question_intervals],
                [QUESTION] * len(columns), [-1] * len(columns))


def encode_answer(prompt: Text, answer: GroundedAnswer, clip: Clip, tokenizer: Tokenizer, form: PromptFormat) -> Text:
    """The prompt followed by an answer to learn from."""
    ids, spans = tokenizer.encode(write(answer) + form.stop, add_special_tokens=False), answer.intervals
    if (n := len(_evidence_columns(ids, tokenizer))) != len(spans) or None in spans:
        raise SampleError(f"answer {write(answer)!r} needs one interval for each of its {n} {EVIDENCE}")
    return answered(prompt, ids, answer, [to_frames(span, clip.timestamps) for span in spans if span], tokenizer)


def answered(prompt: Text, ids: list[int], answer: GroundedAnswer, intervals: list[Interval],
             tokenizer: Tokenizer) -> Text:
    """The prompt followed by the tokens of an answer, whose `<evi>` point at these frames."""
    columns = [len(prompt.ids) + column for column in _evidence_columns(ids, tokenizer)]
    events = [*range(len(answer.grounded)), *(-1 if ref.event is None else ref.event for ref in answer.references)]
    roles = [GROUNDED] * len(answer.grounded) + [REFERENCED] * len(answer.references)
    return Text(prompt.ids + ids, prompt.labels + ids, prompt.columns + columns, prompt.intervals + intervals,
                prompt.roles + roles, prompt.events + events)


def collate(clips: Sequence[Clip], texts: Sequence[Sequence[Text]], tokenizer: Tokenizer, form: PromptFormat,
            questions: Sequence[str | None] | None = None, names: Sequence[str] = (),
            padding: str = "right") -> Batch:
    """One batch from V videos and, for each of them, the texts that share it."""
    rows = [text for group in texts for text in group]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    integers = partial(torch.tensor, dtype=torch.long)

    def padded(values: Sequence[Sequence[int]], fill: int) -> Tensor:
        return pad_sequence(list(map(integers, values)), batch_first=True, padding_value=fill, padding_side=padding)

    def exists(values: Sequence[Sequence[int]]) -> Tensor:
        return padded([[1] * len(row) for row in values], 0).bool()

    before, ids = [encode_start(tokenizer, form)] * len(clips), [text.ids for text in rows]
    width = max(map(len, ids))
    shift = [width - len(row) if padding == "left" else 0 for row in ids]
    return Batch(
        features=[clip.features for clip in clips], projected=any(clip.projected for clip in clips),
        questions=list(questions) if questions is not None else [None] * len(clips),
        before_ids=padded(before, pad), before_mask=exists(before),
        video=torch.tensor([v for v, group in enumerate(texts) for _ in group]),
        ids=padded(ids, pad), mask=exists(ids), labels=padded([text.labels for text in rows], IGNORE),
        row=integers([n for n, text in enumerate(rows) for _ in text.columns]),
        column=integers([shift[n] + column for n, text in enumerate(rows) for column in text.columns]),
        interval=torch.tensor([span for text in rows for span in text.intervals], dtype=torch.float32).reshape(-1, 2),
        role=integers([role for text in rows for role in text.roles]),
        pairs=integers(_pairs(rows)).reshape(-1, 2), names=list(names),
        asked=_asked(clips, texts), standing=_standing(rows, shift),
        seconds=[torch.tensor(np.asarray(clip.timestamps), dtype=torch.float32) for clip in clips],
        layout=[frame_layout(clip.timestamps, tokenizer, form) for clip in clips] if form.around_frame else None)


def _asked(clips: Sequence[Clip], texts: Sequence[Sequence[Text]]) -> Tensor | None:
    """(N,) how many frames each text sees; None if all texts see all frames."""
    seen = [(text.asked, len(clip.timestamps)) for clip, group in zip(clips, texts) for text in group]
    if all(asked is None for asked, _ in seen):
        return None
    return torch.tensor([n_frames if asked is None else min(asked, n_frames) for asked, n_frames in seen])


def _standing(rows: Sequence[Text], shift: Sequence[int]) -> Standing | None:
    waiting = {n: text.standing for n, text in enumerate(rows) if text.standing is not None}
    if not waiting:
        return None
    most = max(1, *map(len, waiting.values()))
    intervals = [[*events, *[NEVER] * (most - len(events))] for events in waiting.values()]
    return Standing(row=torch.tensor(list(waiting)), interval=torch.tensor(intervals, dtype=torch.float32),
                    column=torch.tensor([shift[n] + len(rows[n].ids) - 1 for n in waiting]))


def frame_layout(timestamps: np.ndarray, tokenizer: Tokenizer, form: PromptFormat) -> Tensor:
    """(2, P) the text around each frame as token ids, with FRAME for the frame itself, and the frame of each token."""
    parts = []  # before and after each frame
    for seconds in timestamps.tolist():
        clock = f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
        parts += form.around_frame.format(frame="\0", seconds=seconds, clock=clock).split("\0")
    encoded = tokenizer(parts, add_special_tokens=False)["input_ids"]
    rows = [[*start, FRAME, *end] for start, end in zip(encoded[::2], encoded[1::2])]
    return torch.tensor([[token for row in rows for token in row],
                         [frame for frame, row in enumerate(rows) for _ in row]], dtype=torch.long)


def prefix_size(timestamps: np.ndarray, per_frame: int, tokenizer: Tokenizer, form: PromptFormat) -> int:
    """About how many tokens the frames of a video and the text around them take."""
    around = frame_layout(timestamps[-1:], tokenizer, form).shape[1] - 1 if form.around_frame else 0
    return len(timestamps) * (per_frame + around)


def _evidence_columns(ids: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    evidence = tokenizer.convert_tokens_to_ids(EVIDENCE)
    return [column for column, token in enumerate(ids) if token == evidence]


def _pairs(rows: Sequence[Text]) -> list[tuple[int, int]]:
    """Indices of the two mentions of each event that is both grounded and referenced."""
    pairs, offset = [], 0
    for text in rows:
        mentions = list(enumerate(zip(text.roles, text.events), offset))
        grounded = {event: i for i, (role, event) in mentions if role == GROUNDED}
        pairs += [(grounded[event], i) for i, (role, event) in mentions if role == REFERENCED and event in grounded]
        offset += len(mentions)
    return pairs
