"""A chosen answer beside rejected ones, as JSON Lines: made by `d2vlm-lab make-preferences`, read when training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..files import atomic_path
from ..ideas.clauses import cut, words
from ..ideas.evidence import Event
from ..ideas.grounding import overlap
from ..ideas.rejected import FACTORS, Rejected
from .sample import Sample, SampleError, from_record, to_record, validate

OnBad = Callable[[str, str], None]  # told (sample, message) where a bad preference is left out
FIELDS = ("video", "events", "answer", "kind", "factor", "strength", "event")


@dataclass(frozen=True)
class PreferencePair:
    chosen: Sample
    rejected: tuple[Rejected, ...]


def with_answer(sample: Sample, rejected: Rejected) -> Sample:
    """The sample as if the rejected answer were its own."""
    return replace(sample, id=f"{sample.id}/{rejected.kind}", events=rejected.events, answer=rejected.answer)


def check(preference: PreferencePair, where: str = "") -> PreferencePair:
    """The preference itself, or an error that names the sample and what is wrong with its answers."""
    sample = preference.chosen

    def wrong(message: str):
        raise SampleError(f'{where}{", " if where else ""}sample {sample.id} ("{sample.video}"): {message}')

    if not sample.answer:
        wrong("the chosen answer is empty")
    if not (sample.events or sample.question_intervals or sample.options):
        wrong("the chosen answer has no events; only answers about given intervals or options can do without")
    if not preference.rejected:
        wrong("no rejected answer stands beside the chosen one")
    for n, rejected in enumerate(preference.rejected, 1):
        if (rejected.events, rejected.answer) == (sample.events, sample.answer):
            wrong(f"rejected answer {n} ({rejected.kind}) equals the chosen one")
        if rejected.factor not in FACTORS:
            wrong(f"rejected answer {n} has factor {rejected.factor!r}; a factor is one of {', '.join(FACTORS)}")
        if not 0 <= rejected.event < max(1, len(sample.events)):
            wrong(f"rejected answer {n} touches event {rejected.event + 1}, but there are {len(sample.events)} events")
        validate(replace(with_answer(sample, rejected), options=(), correct=None), where)
    return preference


def to_line(preference: PreferencePair) -> str:
    def plain(rejected: Rejected) -> dict:
        wrong = to_record(with_answer(preference.chosen, rejected))
        return {"video": preference.chosen.video, "events": wrong.get("events", []), "answer": list(rejected.answer),
                "kind": rejected.kind, "factor": rejected.factor, "strength": rejected.strength,
                "event": rejected.event}

    return json.dumps({"chosen": to_record(preference.chosen), "rejected": [plain(r) for r in preference.rejected]},
                      ensure_ascii=False)


def from_line(record: dict, where: str = "") -> PreferencePair:
    """The inverse of `to_line`, strict about keys, types and what must hold."""
    if not isinstance(record, dict) or set(record) != {"chosen", "rejected"}:
        raise SampleError(f"{where}: expected an object with `chosen` and `rejected`")
    sample = from_record(record["chosen"], where)
    try:
        rejected = tuple(_rejected(sample, entry) for entry in record["rejected"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SampleError(f'{where}, sample {sample.id} ("{sample.video}"): {error}') from None
    return check(PreferencePair(sample, rejected), where)


def read_preferences(path: str | os.PathLike, on_bad: OnBad | None = None) -> Iterator[PreferencePair]:
    """One at a time; a bad one is an error that names file, line and sample, or is told to `on_bad` and left out."""
    try:
        lines = open(path, encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SampleError(f"{path}: no readable preference file ({error.strerror})") from None
    with lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield _parse(line, f"{path}, line {number}")
            except SampleError as error:
                if on_bad is None:
                    raise
                on_bad(f"line {number}", str(error))


def write_preferences(path: str | os.PathLike, preferences: Iterable[PreferencePair]) -> None:
    """JSON Lines under the final name only when complete."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        for preference in preferences:
            out.write(to_line(preference) + "\n")


def what_is_wrong(sample: Sample, events: Sequence[Event], answer: Sequence[str | int],
                  tolerance: float = 0.5) -> tuple[str, ...]:
    """The factors in which an answer differs from the sample's own, as a scorer sees it; () where it is right."""
    truth, found = [words(part) for part in cut(sample.answer)], [words(part) for part in cut(answer)]
    repeated = len(events) > len(sample.events) and any(
        overlap(a.interval, b.interval) >= tolerance for i, a in enumerate(events) for b in events[:i])
    told_again = max(map(found.count, found), default=0) > max(map(truth.count, truth), default=0)
    stuttered = any(text not in truth and _stutters(text) for text in found)
    wrong = []
    if len(events) != len(sample.events):
        wrong += ["how" if repeated else "which"]
    elif any(overlap(a.interval, b.interval) < tolerance for a, b in zip(sample.events, events)):
        wrong += ["when"]
    if told_again or stuttered:
        wrong += [] if "how" in wrong else ["how"]
    elif found != truth and len(events) == len(sample.events):
        wrong += ["what"]
    return tuple(wrong)


def _stutters(text: str) -> bool:
    said = text.lower().split()
    return any(said[i:i + n] == said[i + n:i + 2 * n] for n in (1, 2, 3, 4, 5, 6) for i in range(len(said) - 2 * n + 1))


def _parse(line: str, where: str) -> PreferencePair:
    try:
        return from_line(json.loads(line), where)
    except json.JSONDecodeError as error:
        raise SampleError(f"{where}: not JSON ({error})") from None


def _rejected(sample: Sample, entry: dict) -> Rejected:
    if unknown := sorted(set(entry) - set(FIELDS)):
        raise ValueError(f"unknown field {unknown[0]!r}; a rejected answer has {', '.join(FIELDS)}")
    if (video := entry.get("video", sample.video)) != sample.video:
        raise ValueError(f"a rejected answer is about another video, {video!r}; both answers must share theirs")
    events = tuple(Event(**event) for event in entry["events"])
    return Rejected(events, tuple(entry["answer"]), str(entry["kind"]), str(entry["factor"]),
                    float(entry.get("strength", 1.0)), int(entry.get("event", 0)))
