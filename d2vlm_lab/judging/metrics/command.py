"""`d2vlm-lab score BENCHMARK PREDICTIONS`: scores with their protocol, as tables or as one JSON object."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import LabError
from . import confidence
from .charades import MOMENT, score_charades, score_timelens
from .charades import SOURCE as CHARADES
from .etbench import score_etbench
from .mvbench import check_mvbench, score_mvbench
from .protocols import PROTOCOLS
from .qvhighlights import SOURCE as QVHIGHLIGHTS
from .qvhighlights import problem as qvhighlights_problem
from .qvhighlights import score_qvhighlights
from .records import (
    Checked,
    Problem,
    check,
    etbench_problem,
    first_few,
    is_pair,
    load_annotations,
    load_etbench,
    read_files,
)
from .sentences import find_sentence_model
from .tables import comparison, percent, report, table
from .tglg import read_said, score_tglg
from .tglg import read_truth as read_due
from .tglg import report as tglg_report
from .videomme import DURATIONS, check_videomme, score_videomme
from .youcook2 import SOURCE as YOUCOOK2
from .youcook2 import CookingRecipe, read_truth, score_youcook2, video_name

KNOWN = {"etbench": (*PROTOCOLS, "all"), "charades": ("clean", "d2vlm", "lmms-eval"), "tglg": ("clean",),
         "timelens": ("clean", "timelens"), "qvhighlights": ("clean", "qvhighlights")}  # the others: clean and d2vlm
UNUSED = {"charades": ("subset", "tasks"), "youcook2": ("subset", "tasks"), "mvbench": ("subset", "truth"),
          "videomme": ("subset", "truth"), "timelens": ("subset", "tasks", "truth"),
          "qvhighlights": ("subset", "tasks", "truth"),
          "tglg": ("subset", "tasks")}  # options that these benchmarks do not use


@dataclass(frozen=True)
class Scored:
    """Scores as one object with their protocol, the lines to print, and the answers in a form to draw from again."""

    result: dict
    lines: list[str]
    answered: Callable[[], confidence.Answered]


def configure(parser) -> None:
    parser.add_argument("benchmark", metavar="BENCHMARK", choices=list(BENCHMARKS),
                        help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path,
                        help="a .json or .jsonl file, or a folder of them (tglg: a .csv file)")
    parser.add_argument("--protocol", default="clean",
                        help=f"etbench: {', '.join(PROTOCOLS)}, or all for a comparison; tglg: clean; the others: "
                             "clean, and d2vlm or their own")
    parser.add_argument("--truth", type=Path, help="annotation file; by default the truth inside the predictions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--lenient", action="store_true", help="count malformed records as failed instead of stopping")
    parser.add_argument("--sentence-model", help="folder or hub id of a sentence encoder, or none; "
                                                 "by default the one that an installed package carries")
    parser.add_argument("--subset", type=Path, help="JSON file {task: {source: [idx, ...]}} (etbench)")
    parser.add_argument("--tasks", nargs="+", help="only these tasks (videomme: durations)")
    parser.add_argument("--interval", nargs="?", type=int, const=confidence.DRAWS, metavar="DRAWS",
                        help=f"add 95 %% intervals, from videos drawn again (by default {confidence.DRAWS} times)")
    parser.add_argument("--against", type=Path, metavar="OTHER",
                        help="another predictions file; prints PREDICTIONS minus OTHER with 95 %% intervals, in pairs")


def run(args) -> None:
    result, lines = score(args)
    print(json.dumps(result, ensure_ascii=False) if args.json else "\n".join(lines))


def score(args) -> tuple[dict, list[str]]:
    """Scores as one object with its protocol, and the lines to print."""
    check_protocol(args.benchmark, args.protocol)
    for option in UNUSED.get(args.benchmark, ()):
        if getattr(args, option) is not None:
            raise LabError(f"{args.benchmark} has no use for --{option}")
    confidence.check_options(args)
    scored = BENCHMARKS[args.benchmark](args)
    if args.protocol == "all":
        return scored.result, scored.lines
    result, lines = scored.result, [*scored.lines, *_unparsed_and_notes(scored.result)]
    if args.interval is not None:
        result["intervals"], more = confidence.intervals_of(scored.answered(), args.interval)
        lines += more
    if args.against:
        other = BENCHMARKS[args.benchmark](Namespace(**{**vars(args), "predictions": args.against}))
        result["against"], more = confidence.compared(scored.answered(), other.answered(), args,
                                                      args.interval or confidence.DRAWS)
        lines += more
    return result, lines


def check_protocol(benchmark: str, protocol: str) -> None:
    known = KNOWN.get(benchmark, ("clean", "d2vlm"))
    if protocol not in known:
        raise LabError(f"no protocol {protocol!r} for {benchmark}: use one of {', '.join(known)}")


def etbench(args) -> Scored:
    checked = load_etbench(args.predictions, args.truth, args.subset, args.tasks, args.lenient)
    similar = None if args.sentence_model == "none" else find_sentence_model(args.sentence_model)
    names = list(PROTOCOLS) if args.protocol == "all" else [args.protocol]
    all_scores = {name: score_etbench(checked.records, name, similar) for name in names}
    for scores in all_scores.values():
        scores.notes = checked.notes + scores.notes
    results = {name: {**scores.to_json(), "sentence_model": similar.name if similar else None}
               for name, scores in all_scores.items()}
    result, lines = (results, comparison(all_scores)) if args.protocol == "all" else (
        results[args.protocol], report(all_scores[args.protocol]))
    return Scored(result, lines, lambda: confidence.etbench(checked.records, similar))


def charades(args) -> Scored:
    checked = _answers_to(args, CHARADES)
    truth = {record["idx"]: record["tgt"] for record in checked.records}
    if args.truth:
        truth = {}
        for number, record in enumerate(load_annotations(args.truth), 1):
            if "id" not in record or not is_pair(record.get("timestamp")) or record["id"] in truth:
                raise LabError(f"{args.truth}: annotation {number} needs an id of its own and a timestamp [start, end]")
            truth[record["id"]] = record["timestamp"]
    if args.protocol == "clean":
        unknown = [(r, f"{args.predictions}: idx {r['idx']!r} is not in {args.truth} (another version?)")
                   for r in checked.records if r["idx"] not in truth]
        checked.leave_out(unknown, args.lenient, f"answers to what {args.truth} does not hold are left out")
    if args.protocol == "lmms-eval" and not any(record["idx"] in truth for record in checked.records):
        raise LabError(f"{args.predictions}: no idx is an id of {args.truth} (another version?), and the protocol "
                       "lmms-eval counts answers only")
    result = score_charades(checked.records, truth, args.protocol) | {"notes": checked.notes}
    shown = result["eval"]["score_file"] if "eval" in result else [
        f"{name:8} {result[name]:.4f}" for name in MOMENT]
    return Scored(result, [f"charades, protocol {args.protocol}, {len(truth)} queries", *shown],
                  lambda: confidence.charades(checked.records, truth))


def timelens(args) -> Scored:
    checked = check(read_files(args.predictions), etbench_problem, args.lenient)
    several = sum(record["task"] == "tal" for record in checked.records)
    checked.records = [record for record in checked.records if record["task"] == "tvg"]
    if not checked.records:
        raise LabError(f"{args.predictions}: no answers with task 'tvg'")
    if several:
        checked.notes.append(f"{several} queries with several moments are left out: these scores are of one moment")
    result = score_timelens(checked.records, args.protocol) | {"notes": checked.notes}
    rows = [[name, each["Total"], each["Failed"], *(percent(each[column]) for column in MOMENT)]
            for name, each in result["sets"].items()]
    return Scored(result, [f"timelens, protocol {args.protocol}, x 100", "",
                           *table([["set", "total", "failed", *MOMENT], *rows])],
                  lambda: confidence.timelens(checked.records))


def qvhighlights(args) -> Scored:
    checked = _answers_to(args, QVHIGHLIGHTS, qvhighlights_problem)
    result = score_qvhighlights(checked.records, args.protocol) | {"notes": checked.notes}
    scores = [[name, percent(value)] for name, value in result.items() if name.startswith(("R1", "mAP"))]
    return Scored(result, [f"qvhighlights, protocol {args.protocol}, {result['Total']} queries, x 100",
                           *table(scores)], lambda: confidence.qvhighlights(checked.records))


def youcook2(args) -> Scored:
    checked = _answers_to(args, YOUCOOK2)
    split, truth = "val", [CookingRecipe(video_name(r), r["tgt"], [text.rstrip(".") + "." for text in r["g"]])
                           for r in checked.records]
    if args.truth:
        split, truth = args.truth.name.split(".")[0], read_truth(load_annotations(args.truth), args.truth.name)
    if args.protocol == "clean":
        videos, first = {recipe.video for recipe in truth}, {}
        unknown = [(r, f"{args.predictions}: video {r['video']!r} is not in {args.truth} (another version?)")
                   for r in checked.records if video_name(r) not in videos]
        checked.leave_out(unknown, args.lenient, f"answers to what {args.truth} does not hold are left out")
        repeated = [(r, f"{args.predictions}: idx {r['idx']} is a second answer about the video {r['video']!r}; there "
                        "must be one for each")
                    for r in checked.records if first.setdefault(video_name(r), r) is not r]
        checked.leave_out(repeated, args.lenient, "second answers about a video are left out")
    result = score_youcook2(checked.records, truth, args.protocol, split)
    result["notes"] = checked.notes + result["notes"]
    return Scored(result, [f"youcook2, protocol {args.protocol}, {len(truth)} videos", *result["stdout"]],
                  lambda: confidence.youcook2(checked.records, truth))


def mvbench(args) -> Scored:
    files = sorted(args.predictions.glob("*.json")) if os.path.isdir(args.predictions) else [args.predictions]
    if not files:
        raise LabError(f"{args.predictions}: no .json file with predictions in this folder")
    entries = [(where, {**record, "file": file.stem, "idx": i} if isinstance(record, dict) else record)
               for file in files for i, (where, record) in enumerate(read_files(file))]
    names = {file.stem for file in files}
    if unknown := [task for task in args.tasks or () if task not in names]:
        raise LabError(f"{args.predictions}: there is no task {unknown[0]!r}; there are {', '.join(sorted(names))}")
    checked = check_mvbench(entries, args.lenient)
    tasks: dict[str, list[dict]] = {}
    for record in checked.records:
        if not args.tasks or record["file"] in args.tasks:
            tasks.setdefault(record["file"], []).append(record)
    if not tasks:
        raise LabError(f"{args.predictions}: no answers" + (f" to {', '.join(args.tasks)}" if args.tasks else ""))
    result = score_mvbench(tasks, args.protocol) | {"notes": checked.notes}
    return Scored(result, [f"mvbench, protocol {args.protocol}", *result["lines_sorted"]],
                  lambda: confidence.mvbench([record for task in tasks.values() for record in task]))


def videomme(args) -> Scored:
    if unknown := sorted(set(args.tasks or ()) - set(DURATIONS)):
        raise LabError(f"no duration {unknown[0]!r}: Video-MME has {', '.join(DURATIONS)}")
    checked = check_videomme(read_files(args.predictions), args.lenient)
    if not checked.records:
        raise LabError(f"{args.predictions}: nothing is left to score")
    result = score_videomme(checked.records, args.protocol, args.tasks or DURATIONS) | {"notes": checked.notes}
    return Scored(result, [f"videomme, protocol {args.protocol}", *result["lines"]],
                  lambda: confidence.videomme(checked.records, args.tasks or DURATIONS))


def tglg(args) -> Scored:
    if not args.truth:
        raise LabError("tglg needs --truth: a JSON file of the utterances that were due, such as tglg.json of a world")
    truth, (said, notes) = read_due(args.truth), read_said(args.predictions, args.lenient)
    similar = None if args.sentence_model == "none" else find_sentence_model(args.sentence_model)
    result = score_tglg(said, truth, similar)
    result["notes"] = notes + result["notes"]
    return Scored(result, tglg_report(result), lambda: confidence.tglg(said, truth, similar))


BENCHMARKS = {"etbench": etbench, "charades": charades, "timelens": timelens, "qvhighlights": qvhighlights,
              "youcook2": youcook2, "mvbench": mvbench, "videomme": videomme, "tglg": tglg}


def _answers_to(args, source: tuple[str, str], problem: Problem = etbench_problem) -> Checked:
    """The answers to a benchmark whose predictions have the form of E.T. Bench."""
    checked = check(read_files(args.predictions), problem, args.lenient)
    checked.records = [record for record in checked.records if (record["task"], record["source"]) == source]
    if not checked.records:
        raise LabError(f"{args.predictions}: no answers with task {source[0]!r} and source {source[1]!r}")
    return checked


def _unparsed_and_notes(result: dict) -> list[str]:
    """Which answers could not be read, and why columns are empty."""
    unparsed = result["unparsed"]
    groups = {"": unparsed} if isinstance(unparsed, list) else {
        f", {task} {source}": ids for task, found in unparsed.items()
        for source, ids in (found if isinstance(found, dict) else {"": found}).items()}
    return ["", *(f"not understood{where} ({len(ids)}): {first_few(ids, 20)}" for where, ids in groups.items() if ids),
            *result["notes"]]
