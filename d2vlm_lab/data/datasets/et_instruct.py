"""E.T. Instruct 164K: conversations in which times are text (`txt`), `<vid>` tokens (`vid`) or evidence (`evi`).

`src` lists the times of the question and `tgt` those of the answer, in seconds. The fields `id`, `captions`, `o` and
`p` are additions of this project, which other programs ignore.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NotRequired, TypedDict

from ...ideas.evidence import END, EVIDENCE, Event, compose, write
from ...shapes import fit
from ..sample import Sample
from .records import OnBad, field, options, read_records, to_samples, write_records
from .times import mark_times, pieces_of

IMAGE = "<image>"
AFTER_TIME = r"\s*(?:seconds\s*)?[,:]\s*"  # what stands between a time and its caption
Turn = TypedDict("Turn", {"from": Literal["human", "gpt"], "value": str})


class Record(TypedDict):
    conversations: list[Turn]
    task: str
    source: str
    id: NotRequired[str | int]
    src: NotRequired[list[float] | None]
    tgt: NotRequired[list[float] | None]
    captions: NotRequired[list[str] | None]
    o: NotRequired[list[object] | None]
    p: NotRequired[int | None]


def read(path: str | os.PathLike, half_frame: float = 0.5, on_bad: OnBad | None = None) -> list[Sample]:
    """All samples of a file in any of the three styles."""
    return to_samples(read_records(path, go_on=on_bad is not None), from_record, path, half_frame, on_bad)


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """An annotation file in the evidence style."""
    write_records(path, [to_record(sample) for sample in samples])


def from_record(record: dict, index: int = 0) -> Sample:
    record = fit(record, Record)
    question, answer = _turns(record["conversations"])
    question, asked = mark_times(question, record.get("src") or ())
    events, pieces = _answer(answer, record.get("tgt") or (), record.get("captions") or ())
    return Sample(str(record.get("id", index)), field(record, "video", str), field(record, "duration", float),
                  record["task"], record["source"], question, events, pieces, asked, options(record.get("o")),
                  record.get("p"))


def to_record(sample: Sample) -> dict:
    """The evidence style: grounding stage, `</evi>`, answer; two numbers for each event."""
    answer = write(compose(sample.events, sample.answer))
    record = {"id": sample.id, "task": sample.task, "source": sample.source, "video": sample.video,
              "duration": sample.duration}
    if sample.question_intervals:
        record["src"] = [time for span in sample.question_intervals for time in span]
    if sample.events:
        record["tgt"] = [time for event in sample.events for time in event.interval]
        if any(event.caption for event in sample.events):
            record["captions"] = [event.caption for event in sample.events]
    if sample.options:
        record["o"] = list(sample.options)
    if sample.correct is not None:
        record["p"] = sample.correct
    return {**record, "conversations": [{"from": "human", "value": f"{IMAGE}\n{sample.question}"},
                                        {"from": "gpt", "value": answer}]}


def _turns(turns: Sequence[dict]) -> tuple[str, str]:
    """Question and answer of a conversation; several rounds are joined line by line."""
    speakers = [turn["from"] for turn in turns]
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise ValueError(f"{len(turns)} turns, from {', '.join(speakers[:6]) or 'nobody'}; human and gpt must take "
                         "turns, and human begins")
    questions, answers = ([field(turn, "value", str).replace(IMAGE, "").strip() for turn in turns[k::2]]
                          for k in (0, 1))
    return "\n".join(questions), _joined(answers)


def _joined(answers: Sequence[str]) -> str:
    """The answers of all rounds as one; in the evidence style, what all of them ground comes first."""
    parts = [answer.partition(END) for answer in answers]
    if not any(end for _, end, _ in parts):
        return "\n".join(answers)
    grounding = "".join(head for head, end, _ in parts if end)
    return f"{grounding}{END} " + "\n".join((text if end else head).strip() for head, end, text in parts)


def _answer(text: str, times: Sequence[float], captions: Sequence[str]) -> tuple[tuple[Event, ...], tuple]:
    """Events, and the answer in pieces that refer to them."""
    if END in text:
        head, text = text.split(END, 1)
        if len(times) % 2:
            raise ValueError(f"tgt holds {len(times)} numbers; an event has two")
        spans = list(zip(times[::2], times[1::2]))
        if not head.count(EVIDENCE) == text.count(EVIDENCE) == len(spans):
            raise ValueError(f"the answer grounds {head.count(EVIDENCE)} events and refers to {text.count(EVIDENCE)}, "
                             f"tgt holds {len(spans)} (two numbers each); all three must agree")
    else:
        text, marked = mark_times(text, times, all_of_them=True)
        spans = list(marked)
    if captions and len(captions) != len(spans):
        raise ValueError(f"captions has {len(captions)} entries for {len(spans)} events")
    text = text.strip()
    events = tuple(Event(*span, caption) for span, caption in zip(spans, captions or _captions(text)))
    return events, pieces_of(text)


def _captions(text: str) -> list[str]:
    """In `<evi>, she cuts bread. <evi>, ...` the words after each time are its caption; other answers have none."""
    first, *parts = text.split(EVIDENCE)
    if first or not all(re.match(AFTER_TIME + r"\w", part) for part in parts):
        return [""] * len(parts)
    return [re.sub("^" + AFTER_TIME, "", part).strip().rstrip(".") for part in parts]
