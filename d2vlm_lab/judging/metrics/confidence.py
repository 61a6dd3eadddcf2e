"""`d2vlm-lab score ... --interval` and `--against OTHER`: answers to each benchmark, ready to be drawn from again."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import LabError
from .charades import MOMENT, SOURCE, score_charades, score_timelens
from .etbench import score_etbench
from .mvbench import score_mvbench
from .qvhighlights import score_qvhighlights
from .records import ETBENCH_ID
from .resampling import Estimate, ScoreFunction, differences, intervals, paired
from .sentences import SentenceModel
from .tglg import Spoken, judged, trace_of
from .videomme import score_videomme
from .youcook2 import CookingRecipe, score_youcook2

DRAWS = 200  # draws of videos for an interval; a draw of all of E.T. Bench takes about half a second
FEWEST = 10  # videos: draws of fewer are too much alike, and all draws of a single video are the same


@dataclass(frozen=True)
class Answered:
    """Checked records of one benchmark, how a draw of them is scored, and what identifies videos and questions."""

    records: Sequence[dict]
    score: ScoreFunction
    video: Callable[[dict], Hashable | None]  # None where a record names none
    identity: tuple[str, ...]

    def unit(self, record: dict) -> Hashable:
        """What is drawn together: all questions about a video, or a single question that names no video."""
        video = self.video(record)
        return tuple(record[name] for name in self.identity) if video is None else video

    def units(self, records: Sequence[dict]) -> tuple[int, str]:
        """How many there are to draw from, and what they are."""
        named = any(self.video(record) is not None for record in records)
        return len({self.unit(record) for record in records}), "videos" if named else "questions"


def etbench(records: Sequence[dict], similar: SentenceModel | None) -> Answered:
    """Captions are compared in time only, because their word scores take minutes for each draw."""
    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        scores = score_etbench(draw, "clean", similar, captions=False)
        return scores.averages | scores.merged

    return Answered(records, score, _video, ETBENCH_ID)


def charades(records: Sequence[dict], truth: dict[int, Sequence[float]]) -> Answered:
    """A query without an answer has an empty one."""
    answers = {record["idx"]: record for record in records}
    task, source = SOURCE
    queries = [answers.get(idx, {"task": task, "source": source, "idx": idx, "a": ""}) for idx in truth]

    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        result = score_charades(_numbered(draw), {number: truth[record["idx"]] for number, record in enumerate(draw)})
        return {name: result[name] for name in MOMENT}

    return Answered(queries, score, _video, ETBENCH_ID)


def timelens(records: Sequence[dict]) -> Answered:
    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        sets = score_timelens(_numbered(draw))["sets"]
        return {f"{source} {name}": each[name] for source, each in sets.items() for name in MOMENT}

    return Answered(records, score, _video, ETBENCH_ID)


def qvhighlights(records: Sequence[dict]) -> Answered:
    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        return {name: value for name, value in score_qvhighlights(_numbered(draw)).items()
                if name.startswith(("R1", "mAP"))}

    return Answered(records, score, _video, ETBENCH_ID)


def youcook2(records: Sequence[dict], truth: Sequence[CookingRecipe]) -> Answered:
    """Every column of the table has a score for each video, so that a draw is a mean of these."""
    columns = score_youcook2(records, truth)["per_video"]
    row = {name: number for number, name in enumerate(columns.pop("key"))}
    columns = {name: np.asarray(values, float) for name, values in columns.items()
               if values is not None and name != "n_preds"}

    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        rows = [row[video["video"]] for video in draw]
        return {name: float(values[rows].mean()) for name, values in columns.items()}

    return Answered([{"video": name} for name in row], score, lambda video: video["video"], ("video",))


def mvbench(records: Sequence[dict]) -> Answered:
    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        tasks: dict[str, list[dict]] = {}
        for record in draw:
            tasks.setdefault(record["file"], []).append(record)
        result = score_mvbench(tasks)
        return {task: right / n for task, (right, n) in result["acc_dict"].items()} | {
            "Total": result["correct"] / result["total"]}

    return Answered(records, score, _video, ("file", "idx"))


def videomme(records: Sequence[dict], durations: Sequence[str]) -> Answered:
    records = [record for record in records if record["duration"] in durations]

    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        parts = {name: [record for record in draw if record["duration"] == name] for name in durations}
        accuracies = {name: score_videomme(part)["Overall"] / 100 for name, part in parts.items() if part}
        return accuracies | {"Overall": score_videomme(draw)["Overall"] / 100}

    return Answered(records, score, lambda record: record["video_id"], ("question_id",))


def _numbered(draw: Sequence[dict]) -> list[dict]:
    """The records with new ids, since a draw repeats questions."""
    return [{**record, "idx": number} for number, record in enumerate(draw)]


def tglg(said: Spoken, truth: Spoken, similar: SentenceModel | None) -> Answered:
    """Utterances of a video are judged together, so a draw joins videos that are judged already."""
    videos = judged(said, truth, similar)

    def score(draw: Sequence[dict]) -> dict[str, float | None]:
        return trace_of([videos[record["video"]] for record in draw], similar is not None)

    return Answered([{"video": video} for video in videos], score, lambda record: record["video"], ("video",))


def _video(record: dict) -> Hashable | None:
    return record.get("video")


def intervals_of(answered: Answered, draws: int) -> tuple[dict, list[str]]:
    """The intervals as one object, and the lines that show them."""
    number, units = answered.units(answered.records)
    if number < FEWEST:
        return {}, ["", _too_few(number, units)]
    estimates = intervals(answered.records, answered.score, answered.unit, draws)
    return _shown(estimates, f"95 % intervals, x 100: {number} {units} drawn again {draws} times", signed=False)


def compared(answered: Answered, other: Answered, args: Namespace, draws: int) -> tuple[dict, list[str]]:
    """The first file against the second, question by question."""
    first, second, notes = paired(answered.records, other.records, answered.identity,
                                  (str(args.predictions), str(args.against)), args.lenient)
    if answered.video is _video:  # only one of the two files may name the videos
        first = [{"video": b["video"], **a} if "video" in b else a for a, b in zip(first, second)]
    number, units = answered.units(first)
    how = f", with 95 % intervals ({draws} draws of {units})"
    if number < FEWEST:
        draws, how, notes = 0, "", [*notes, _too_few(number, units)]
    estimates = differences(first, second, (answered.score, other.score), answered.unit, draws)
    result, lines = _shown(estimates, f"{args.predictions} minus {args.against}, x 100{how}", signed=True)
    return result, [*lines, *notes]


def check_options(args: Namespace) -> None:
    if args.protocol != "clean" and (args.interval is not None or args.against):
        raise LabError("--interval and --against need the protocol clean: the published scripts divide by numbers that "
                       "depend on the answers, so scores of draws cannot be compared")
    if args.interval is not None and not 20 <= args.interval <= 100_000:
        raise LabError(f"--interval {args.interval}: the number of draws must lie between 20 and 100,000")


def _too_few(number: int, units: str) -> str:
    return f"no 95 % intervals: they need at least {FEWEST} {units} to draw from, here {number}"


def _shown(estimates: dict[str, Estimate], title: str, signed: bool) -> tuple[dict, list[str]]:
    form = "+.1f" if signed else ".1f"
    width = max(map(len, estimates), default=0)
    lines = ["", title]
    for name, each in estimates.items():
        line = f"  {name.ljust(width)}  {format(100 * each.value, form):>6}"
        if each.low is not None and each.high is not None:
            verdict = "" if not signed else "  clear difference" if each.clear else "  no clear difference"
            line += f"  [{100 * each.low:{form}}, {100 * each.high:{form}}]{verdict}"
        lines.append(line)
    return {name: {"value": each.value, "low": each.low, "high": each.high} for name, each in estimates.items()}, lines
