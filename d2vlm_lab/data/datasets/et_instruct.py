"""E.T. Instruct 164K: conversations in which times are text (`txt`), `<vid>` tokens (`vid`) or evidence (`evi`).

`src` holds the times of the human turn and `tgt` those of the answer, both flat lists of seconds. `id`, `captions`,
`o` and `p` are additions of this project; others ignore them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ...files import atomic_path
from ...ideas.evidence import END, EVIDENCE, Event, Interval, compose, write
from ..sample import Sample, SampleError, validate
from .times import mark_times

IMAGE, VID = "<image>", "<vid>"


def read(path: str | os.PathLike, half_frame: float = 0.5) -> list[Sample]:
    """All samples of an annotation file in any of the three styles; errors name the file and the sample."""
    return [from_record(record, index, str(path), half_frame) for index, record in enumerate(load_list(path))]


def write_file(path: str | os.PathLike, samples: Iterable[Sample]) -> None:
    """An annotation file in the evidence style."""
    dump_list(path, [to_record(sample) for sample in samples])


def from_record(record: dict, index: int = 0, where: str = "", half_frame: float = 0.5) -> Sample:
    def wrong(message: str):
        raise SampleError(f'{where}, sample {record.get("id", index)} ("{record.get("video")}"): {message}')

    try:
        question, answer = _turns(record)
        src, tgt = _floats(record.get("src")), _floats(record.get("tgt"))
        question, asked = mark_times(question, src)
        events, pieces = _answer(answer, tgt, record.get("captions") or ())
        sample = Sample(
            id=str(record.get("id", index)), video=record["video"], duration=float(record["duration"]),
            task=record["task"], source=record["source"], question=question, events=events, answer=pieces,
            question_intervals=asked, options=options_of(record.get("o")), correct=record.get("p"))
    except KeyError as error:
        wrong(f"field {error.args[0]!r} is missing")
    except (TypeError, ValueError, AttributeError) as error:
        wrong(str(error))
    return validate(sample, where, half_frame)


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
        record["o"] = [option if isinstance(option, str) else list(option) for option in sample.options]
    if sample.correct is not None:
        record["p"] = sample.correct
    return {**record, "conversations": [{"from": "human", "value": f"{IMAGE}\n{sample.question}"},
                                        {"from": "gpt", "value": answer}]}


def _turns(record: dict) -> tuple[str, str]:
    """Question and answer of a conversation; several rounds are joined line by line."""
    turns = record["conversations"]
    said = {"human": [], "gpt": []}
    for turn in turns:
        if turn.get("from") not in said:
            raise ValueError(f"a turn is from {turn.get('from')!r}; turns are from human or gpt")
        said[turn["from"]].append(turn["value"])
    if len(said["human"]) != 1 or len(said["gpt"]) != 1 or turns[0]["from"] != "human":
        raise ValueError(f"{len(turns)} turns; expected one from human, then one from gpt")
    return said["human"][0].replace(IMAGE, "").strip(), said["gpt"][0].strip()


def _answer(text: str, tgt: Sequence[float], captions: Sequence[str]) -> tuple[tuple[Event, ...], tuple]:
    """Events, and the answer in pieces that refer to them."""
    if END in text:
        head, text = text.split(END, 1)
        spans = _pairs(tgt)
        if not head.count(EVIDENCE) == text.count(EVIDENCE) == len(spans):
            raise ValueError(f"the answer grounds {head.count(EVIDENCE)} events and refers to {text.count(EVIDENCE)}, "
                             f"tgt holds {len(spans)} (two numbers each); all three must agree")
    else:
        text, spans = mark_times(text, tgt)
    if captions and len(captions) != len(spans):
        raise ValueError(f"captions has {len(captions)} entries for {len(spans)} events")
    parts = text.strip().split(EVIDENCE)
    events = tuple(Event(*span, caption) for span, caption in zip(spans, captions or _captions(parts)))
    pieces = [piece for k, part in enumerate(parts) for piece in ((k - 1, part) if k else (part,))]
    return events, tuple(piece for piece in pieces if piece != "")


def _captions(parts: Sequence[str]) -> list[str]:
    """In `<evi>, she cuts bread. <evi>, ...` what follows each time is its caption; elsewhere there is none."""
    dense = parts[0].strip() == "" and all(re.match(r"\s*(seconds)?\s*[,:]\s*\w", part) for part in parts[1:])
    return [re.sub(r"^\s*(seconds)?\s*[,:]\s*", "", part).strip().rstrip(".") if dense else "" for part in parts[1:]]


def options_of(options) -> tuple[str | Interval, ...]:
    return tuple(option if isinstance(option, str) else (float(option[0]), float(option[1]))
                 for option in options or ())


def _floats(times) -> list[float]:
    return [float(time) for time in times or ()]


def _pairs(times: Sequence[float]) -> tuple[Interval, ...]:
    if len(times) % 2:
        raise ValueError(f"tgt holds {len(times)} numbers; an event has two")
    return tuple((a, b) for a, b in list(pairwise(times))[::2])


def load_list(path: str | os.PathLike) -> list[dict]:
    """The objects of a JSON list or of JSON Lines."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        records = json.loads(text) if text.lstrip().startswith("[") else [
            json.loads(line) for line in text.splitlines() if line.strip()]
    except FileNotFoundError:
        raise SampleError(f"{path}: no such annotation file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SampleError(f"{path}: not readable as JSON ({error})") from None
    if bad := [k for k, record in enumerate(records) if not isinstance(record, dict)]:
        raise SampleError(f"{path}, sample {bad[0]}: expected an object, found {type(records[bad[0]]).__name__}")
    return records


def dump_list(path: str | os.PathLike, records: Sequence[dict]) -> None:
    """A JSON list with one record a line, under its final name only when complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]\n")
