"""Answers on disk: a file for each shard, the settings with which they were made, and how scorers want them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ..data.datasets.records import write_records
from ..errors import LabError
from ..files import claimed, json_lines, locked, sweep_below, write_json, write_json_lines
from ..reader import opened, read_json
from .benchmarks import AnswerKey, answer_key


def alone_in(out: Path) -> AbstractContextManager[None]:
    """A lock for writing anything but answers into the folder; other shards wait for their turn."""
    return locked(out / ".lock")


def only_writer(file: Path) -> AbstractContextManager[None]:
    """Refuses to write to a file to which another process is writing."""
    return claimed(file.with_name(f".{file.stem}.lock"), f"another process writes to {file}; each needs a --shard of "
                   "its own, or another --out")


def drop_half_line(file: Path) -> None:
    """Remove what follows the last line end, if a kill or a full disk has cut a line off."""
    if os.path.lexists(file):
        with opened(file) as stream:
            content = stream.read()
        os.truncate(file, content.rfind(b"\n") + 1)


def drop_unread(file: Path) -> None:
    """Remove the empty answers to questions whose video could not be read, so that they are asked again."""
    records = json_lines(file)
    answered = [record for record in records if "error" not in record]
    if len(answered) < len(records):
        write_json_lines(file, answered)


def read_answers(file: Path) -> dict[AnswerKey, dict]:
    """The answers in a file, which is not changed. A cut-off line is not an answer: its sample is asked again."""
    return {answer_key(record): record for record in json_lines(file)}


def all_answers(out: Path) -> list[dict]:
    """The records of all shards."""
    return [record for file in sorted(out.glob("answers_*.jsonl")) for record in read_answers(file).values()]


def note_settings(out: Path, settings: dict, videos: Path) -> None:
    """Write the settings beside the answers; an error if answers there have other settings. Videos may have moved."""
    sweep_below(out)
    path = out / "run.json"
    if path.exists():
        before = {"features": "float32"} | read_json(path, dict)  # older files do not say it
        keys = dict.fromkeys([*settings, *before])
        if different := [key for key in keys if key != "videos" and before.get(key) != settings.get(key)]:
            raise LabError(f"{out} holds answers with another {', '.join(different)}; choose another --out")
    write_json(path, {**settings, "videos": str(videos.resolve())})


def write_predictions(folder: Path, records: Sequence[dict], by_task: bool) -> Path:
    """The records as a scorer reads them: in this order, on which published scores depend; MVBench has a file a task.

    An empty answer is right by the published rule of MVBench, so one to a video that could not be read gets a mark.
    """
    if not by_task:
        write_json_lines(folder / "answers.jsonl", records)
        return folder
    tasks: dict[str, list[dict]] = defaultdict(list)
    for record in records:
        tasks[record["sample"].split("/")[0]].append({**record, "pred": "?"} if "error" in record else record)
    for task, answered in tasks.items():
        write_records(folder / f"{task}.json", answered)
    return folder
