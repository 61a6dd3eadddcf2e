"""What the tasks that `lmms-tasks` writes are made of: documents, and scores as `d2vlm-lab score` has them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ...data.sample import to_record
from ...judging.benchmarks import BENCHMARKS, Question, video_path
from ...judging.evaluate import score
from ...judging.metrics.charades import MOMENT
from ...judging.metrics.etbench import COLUMNS

SCORES = {"charades": MOMENT, "timelens": MOMENT,
          "qvhighlights": ("R1@0.5", "R1@0.7", "mAP", "mAP@0.5", "mAP@0.75")}  # by scorer; E.T. Bench has a table


def document(question: Question, videos: Path, fps: float) -> dict:
    """A question as a row of a data set. Its fields have many types, so that most of them are kept as JSON."""
    sample, record = question
    return {"id": sample.id, "question": record.get("q", sample.question), "fps": fps, "videos": str(videos),
            "video": str(video_path(videos, sample.video)), "sample": json.dumps(to_record(sample)),
            "record": json.dumps(record)}


def columns(scorer: str, questions: Sequence[Question]) -> list[str]:
    """The scores that these questions have."""
    tasks = {sample.task for sample, _ in questions}
    return list(SCORES[scorer]) if scorer in SCORES else [name for name, task, _ in COLUMNS if task in tasks]


def question(doc: dict) -> str:
    return doc["question"]


def video(doc: dict) -> list[str]:
    return [doc["video"]]


def target(doc: dict) -> str:
    return doc["record"]


class Scorer:
    """The metrics of one task: each gets all answered records, and they are scored once for each protocol."""

    def __init__(self, benchmark: str, names: Sequence[str]):
        self.benchmark, self.names = benchmark, names
        self.known: dict[tuple[str, str], dict] = {}

    def process_results(self, doc: dict, results: Sequence[str]) -> dict[str, str]:
        record = {**json.loads(doc["record"]), BENCHMARKS[self.benchmark].answer: results[0]}
        return dict.fromkeys(self.names, json.dumps(record))

    def metric(self, protocol: str, column: str) -> Callable[[Sequence[str]], float]:
        def aggregate(records: Sequence[str]) -> float:
            key = protocol, hashlib.sha256("\n".join(records).encode()).hexdigest()
            if key not in self.known:
                self.known[key] = scored(self.benchmark, protocol, records)
            value = self.known[key].get(column)
            return math.nan if value is None else value

        return aggregate


def scored(benchmark: str, protocol: str, records: Sequence[str]) -> dict[str, float | None]:
    """The scores of a benchmark from its answered records, one a line, as after `d2vlm-lab evaluate`."""
    with TemporaryDirectory() as folder:
        result, _ = score(Path(folder), benchmark, protocol, [json.loads(record) for record in records])
    return result.get("task_averages", result)
