"""Video-MME: accuracy of multiple choice by length of video, domain, sub-category and kind of question."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ...data.datasets.video_mme import DURATIONS
from ...errors import LabError
from ...ideas.evidence import END
from .choices import LETTERS, read_choice

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
# removed in this order wherever they stand; the fifth is two that a missing comma made one
PHRASES = ("The best answer is", "The correct answer is", "The answer is", "The answer",
           "The best option is" + "The correct option is", "Best answer:", "Best option: ", "Answer:", "Option:",
           "The correct answer", "The correct option")


def score_videomme(records: Sequence[dict], protocol: str = "clean", durations: Sequence[str] = DURATIONS) -> dict:
    clean = protocol == "clean"
    read = read_letter if clean else first_capital
    kept = [(record, read(record["a"], record.get("options", ()))) for record in records
            if record["duration"] in durations]
    if not clean:
        _check_published(records, durations)
    lines = []
    for duration in durations:
        part = [pair for pair in kept if pair[0]["duration"] == duration]
        lines += _section(f"Evaluation on video Type: {duration}", part, "Video Categories", clean) + [""]
    lines += _section("Evaluation on the entire dataset", kept, "Video Domains", clean)
    return {"protocol": protocol, "Overall": _accuracy(kept, clean), "Total": len(kept),
            "unparsed": [record["question_id"] for record, letter in kept if not letter], "lines": lines}


def read_letter(text: str, options: Sequence[str]) -> str:
    """The letter that an answer is about, by name or in the option's words; "" for none."""
    letters = read_choice(text, [re.sub(r"^[A-Z]\.\s*", "", option) for option in options] or "ABCD").letters
    return LETTERS[letters[0]].upper() if letters else ""


def first_capital(text: str, options: Sequence[str] = ()) -> str:
    """Published bugs: "3.0 - 8.0 </evi> B" ends at its first dot, "Both" is B, "b" is nothing."""
    text = text.strip()
    for phrase in (*PHRASES, END):
        text = text.replace(phrase, "")
    found = re.search("[ABCD]", text.split(".")[0])
    return found.group() if found else ""


def _accuracy(pairs: Sequence[tuple[dict, str]], clean: bool) -> float:
    """Published bug: what has no letter leaves the denominator."""
    counted = [record["answer"] == letter for record, letter in pairs if letter or clean]
    return 100 * sum(counted) / len(counted) if counted else 0


def _section(title: str, pairs: Sequence[tuple[dict, str]], first: str, clean: bool) -> list[str]:
    lines = ["=" * 37, title, "=" * 37]
    for heading, name, values in SECTIONS:
        lines += _heading(first if name == "domain" else heading)
        groups: Callable = lambda value, name=name: [pair for pair in pairs if pair[0][name] == value]  # noqa: E731
        lines += [f"{value}: {_accuracy(groups(value), clean):.1f}%" for value in values
                  if groups(value) or not clean]
    return lines + _heading("Overall Performance") + [f"Overall: {_accuracy(pairs, clean):.1f}%"]


def _heading(text: str) -> list[str]:
    return ["-" * 37, text, "-" * 37]


def _check_published(records: Sequence[dict], durations: Sequence[str]) -> None:
    for duration in durations:
        videos = {tuple(record[name] for name in ("video_id", "domain", "sub_category")) for record in records
                  if record["duration"] == duration}
        if len(videos) != VIDEOS:
            raise LabError(f"{len(videos)} {duration} videos: the published script scores exactly {VIDEOS} of each "
                           "duration (the protocol `clean` scores what is there)")
    known = {"domain": DOMAINS, "sub_category": SUB_CATEGORIES, "task_type": TASKS}
    for record in records:
        for name, values in known.items():
            if record[name] not in values:
                raise LabError(f"question {record['question_id']}: {name} {record[name]!r} is none of the benchmark's")
