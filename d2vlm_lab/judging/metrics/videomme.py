"""Video-MME: accuracy of multiple choice by length of video, domain, sub-category and kind of question."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from ...data.datasets.video_mme import DURATIONS
from ...errors import LabError
from ...ideas.evidence import END
from ...shapes import shown
from .reading import LETTERS, read_choice
from .records import Checked, Entry, check, first_problem, is_text

VIDEOS = 300  # of each duration
DOMAINS = ("Knowledge", "Film & Television", "Sports Competition", "Artistic Performance", "Life Record",
           "Multilingual")
SUB_CATEGORIES = (
    "Humanity & History", "Literature & Art", "Biology & Medicine", "Finance & Commerce", "Astronomy", "Geography",
    "Law", "Life Tip", "Technology", "Animation", "Movie & TV Show", "Documentary", "News Report", "Esports",
    "Basketball", "Football", "Athletics", "Other Sports", "Stage Play", "Magic Show", "Variety Show", "Acrobatics",
    "Handicraft", "Food", "Fashion", "Daily Life", "Travel", "Pet & Animal", "Exercise", "Multilingual")
TASKS = ("Temporal Perception", "Spatial Perception", "Attribute Perception", "Action Recognition",
         "Object Recognition", "OCR Problems", "Counting Problem", "Temporal Reasoning", "Spatial Reasoning",
         "Action Reasoning", "Object Reasoning", "Information Synopsis")
SECTIONS = (("Video Categories", "domain", DOMAINS), ("Video Sub Categories", "sub_category", SUB_CATEGORIES),
            ("Task Categories", "task_type", TASKS))
# Removed in this order wherever they occur; a missing comma joined two phrases to the fifth.
PHRASES = ("The best answer is", "The correct answer is", "The answer is", "The answer",
           "The best option is" + "The correct option is", "Best answer:", "Best option: ", "Answer:", "Option:",
           "The correct answer", "The correct option")


def score_videomme(records: Sequence[dict], protocol: str = "clean", durations: Sequence[str] = DURATIONS) -> dict:
    clean = protocol == "clean"
    if not clean:
        _check_published(records, durations)
    read = read_letter if clean else first_capital
    answers = [(record, read(record["a"], record.get("options", ()))) for record in records
               if record["duration"] in durations]
    # Published bug: an answer without a letter is left out of the denominator. A video that cannot be read is not.
    counted = answers if clean else [(record, letter) for record, letter in answers if letter or "error" in record]
    lines = []
    for duration in durations:
        part = [(record, letter) for record, letter in counted if record["duration"] == duration]
        lines += _section(f"Evaluation on video Type: {duration}", part, "Video Categories", clean) + [""]
    lines += _section("Evaluation on the entire dataset", counted, "Video Domains", clean)
    return {"protocol": protocol, "Overall": _accuracy(counted), "Total": len(answers),
            "unparsed": [record["question_id"] for record, letter in answers if not letter], "lines": lines}


def read_letter(text: str, options: Sequence[str]) -> str:
    """The letter that an answer names, or whose option it quotes; "" for none."""
    letters = read_choice(text, [re.sub(r"^[A-Z]\.\s*", "", option) for option in options] or [""] * 4).letters
    return LETTERS[letters[0]].upper() if letters else ""


def first_capital(text: str, options: Sequence[str] = ()) -> str:
    """Published bugs: "3.0 - 8.0 </evi> B" is cut at its first dot, "Both" counts as B, "b" counts as nothing."""
    text = text.strip()
    for phrase in (*PHRASES, END):
        text = text.replace(phrase, "")
    capital = re.search("[ABCD]", text.split(".")[0])
    return capital.group() if capital else ""


def _accuracy(answers: Sequence[tuple[dict, str]]) -> float:
    return 100 * sum(record["answer"] == letter for record, letter in answers) / len(answers) if answers else 0


def _section(title: str, answers: Sequence[tuple[dict, str]], first: str, clean: bool) -> list[str]:
    """The published script prints a line for each possible value, `clean` for each value that occurs."""
    lines = ["=" * 37, title, "=" * 37]
    for heading, name, values in SECTIONS:
        groups = defaultdict(list)
        for record, letter in answers:
            groups[record[name]].append((record, letter))
        lines += _heading(first if name == "domain" else heading)
        lines += [f"{value}: {_accuracy(groups[value]):.1f}%" for value in values if groups[value] or not clean]
    return lines + _heading("Overall Performance") + [f"Overall: {_accuracy(answers):.1f}%"]


def _heading(text: str) -> list[str]:
    return ["-" * 37, text, "-" * 37]


def _check_published(records: Sequence[dict], durations: Sequence[str]) -> None:
    for duration in durations:
        videos = {(r["video_id"], r["domain"], r["sub_category"]) for r in records if r["duration"] == duration}
        if len(videos) != VIDEOS:
            raise LabError(f"{len(videos)} {duration} videos: the published script scores exactly {VIDEOS} of each "
                           "duration (the protocol `clean` scores what is there)")
    for record in records:
        for _, name, values in SECTIONS:
            if record[name] not in values:
                raise LabError(f"question {record['question_id']}: {name} {record[name]!r} is not in the benchmark")


def check_videomme(entries: Sequence[Entry], lenient: bool) -> Checked:
    return check(entries, partial(first_problem, requirements=_requirements), lenient, ("question_id",), _failing)


def _failing(record: dict, number: int) -> dict:
    """A record that fails, to replace a malformed one; without a known duration it fails among the short videos."""
    duration = record.get("duration") if record.get("duration") in DURATIONS else DURATIONS[0]
    return {"video_id": "?", "domain": "Knowledge", "sub_category": "Law", "task_type": "OCR Problems",
            **{name: value for name, value in record.items() if isinstance(value, str)},
            "question_id": record["question_id"], "duration": duration, "a": "", "answer": "A"}


def _requirements(record: dict) -> Iterator[tuple[bool, str]]:
    for name in ("video_id", "duration", "domain", "sub_category", "task_type", "question_id", "answer", "a"):
        yield is_text(record, name)
    yield (record["duration"] in DURATIONS,
           f"duration is {shown(record['duration'])}; it must be one of {', '.join(DURATIONS)}")
    options = record.get("options", [])
    yield (isinstance(options, list) and len(options) <= len(LETTERS) and all(isinstance(o, str) for o in options),
           f"options is {shown(options)}; it must be a list of texts")
