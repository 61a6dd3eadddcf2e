"""`d2vlm-lab score BENCHMARK PREDICTIONS`: scores with their protocol, as tables or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...errors import LabError
from .charades import SOURCE as CHARADES
from .charades import score_charades
from .etbench import COLUMNS, Scores, score_etbench
from .mvbench import score_mvbench
from .protocols import PROTOCOLS
from .records import check, etbench_problem, is_pair, load_etbench, load_json, read_files
from .sentences import SentenceModel, find_sentence_model
from .videomme import DURATIONS, score_videomme
from .youcook2 import Recipe, read_truth, score_youcook2

HEADLINES = ("Acc", "Exact", "mIoU", "F1", "F1_matched", "F1_evi", "mRec", "mRec_evi", "METEOR", "CIDEr", "SentSim")


def configure(parser) -> None:
    parser.add_argument("benchmark", metavar="BENCHMARK", choices=list(BENCHMARKS),
                        help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path,
                        help="a .json or .jsonl file, or a folder of them")
    parser.add_argument("--protocol", default="clean",
                        help=f"etbench: {', '.join(PROTOCOLS)}, or all for a comparison; the others: clean, d2vlm")
    parser.add_argument("--truth", type=Path, help="annotation file; by default the truth inside the predictions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--lenient", action="store_true", help="count malformed records as failed instead of stopping")
    parser.add_argument("--sentence-model", help="folder or hub id of a sentence encoder, or none; "
                                                 "by default the one that an installed package carries")
    parser.add_argument("--subset", type=Path, help="JSON file {task: {source: [idx, ...]}} (etbench)")
    parser.add_argument("--tasks", nargs="+", help="only these tasks (videomme: durations)")


def run(args) -> None:
    result, lines = score(args)
    print(json.dumps(result, ensure_ascii=False) if args.json else "\n".join(lines))


def score(args) -> tuple[dict, list[str]]:
    """Scores as one object with its protocol, and the lines to print."""
    check_protocol(args.benchmark, args.protocol)
    return BENCHMARKS[args.benchmark](args)


def check_protocol(benchmark: str, protocol: str) -> None:
    known = [*PROTOCOLS, "all"] if benchmark == "etbench" else ["clean", "d2vlm"]
    if protocol not in known:
        raise LabError(f"no protocol {protocol!r} for {benchmark}: use one of {', '.join(known)}")


def etbench(args) -> tuple[dict, list[str]]:
    checked = load_etbench(args.predictions, args.truth, args.subset, args.tasks, args.lenient)
    similar = _sentence_model(args.sentence_model)
    names = list(PROTOCOLS) if args.protocol == "all" else [args.protocol]
    scores = {name: score_etbench(checked.records, name, similar) for name in names}
    for one in scores.values():
        one.notes = checked.notes + one.notes
    if args.protocol == "all":
        return {name: one.to_json() for name, one in scores.items()}, comparison(scores)
    return scores[args.protocol].to_json(), report(scores[args.protocol])


def charades(args) -> tuple[dict, list[str]]:
    _refuse(args, "subset", "tasks")
    checked = check(read_files(args.predictions), etbench_problem, args.lenient)
    records = [r for r in checked.records if (r["task"], r["source"]) == CHARADES]
    if not records:
        raise LabError(f"{args.predictions}: no answers with task {CHARADES[0]!r} and source {CHARADES[1]!r}")
    truth = {record["idx"]: record["tgt"] for record in records}
    if args.truth:
        truth = {record.get("id"): record.get("timestamp") for record in _annotations(args.truth)}
        if wrong := [idx for idx, interval in truth.items() if not is_pair(interval)]:
            raise LabError(f"{args.truth}: annotation {wrong[0]} needs an id and a timestamp [start, end]")
    notes = checked.notes
    if args.protocol == "clean":
        records = _known(records, lambda record: record["idx"] in truth, "idx", args, notes)
    result = score_charades(records, truth, args.protocol) | {"notes": notes}
    shown = result["eval"]["score_file"] if "eval" in result else [
        f"{name:8} {result[name]:.4f}" for name in ("R@0.3", "R@0.5", "R@0.7", "mIoU")]
    return result, [f"charades, protocol {args.protocol}, {len(truth)} queries", *shown, *_tail(result)]


def youcook2(args) -> tuple[dict, list[str]]:
    _refuse(args, "subset", "tasks")
    checked = check(read_files(args.predictions), etbench_problem, args.lenient)
    records = [record for record in checked.records if (record["task"], record["source"]) == ("dvc", "youcook2")]
    if not records:
        raise LabError(f"{args.predictions}: no answers with task 'dvc' and source 'youcook2'")
    if args.truth:
        truth = read_truth(_annotations(args.truth), args.truth.name)
    else:
        truth = [Recipe(Path(r["video"]).name, r["tgt"], [text.rstrip(".") + "." for text in r["g"]]) for r in records]
    if args.protocol == "clean":
        names, firsts = {recipe.video for recipe in truth}, {}
        records = _known(records, lambda r: Path(r["video"]).name in names, "video", args, checked.notes)
        if twice := [r for r in records if firsts.setdefault(Path(r["video"]).name, r) is not r]:
            if not args.lenient:
                raise LabError(f"{args.predictions}: idx {twice[0]['idx']} is a second answer about the video "
                               f"{twice[0]['video']!r}; there must be one for each")
            checked.notes.append(f"{len(twice)} second answers about a video are left out")
            records = list(firsts.values())
    split = args.truth.name.split(".")[0] if args.truth else "val"
    result = score_youcook2(records, truth, args.protocol, split)
    result["notes"] = checked.notes + result["notes"]
    return result, [f"youcook2, protocol {args.protocol}, {len(truth)} videos", *result["stdout"], *_tail(result)]


def mvbench(args) -> tuple[dict, list[str]]:
    _refuse(args, "subset", "truth")
    files = [args.predictions] if args.predictions.is_file() else sorted(args.predictions.glob("*.json"))
    entries = [(where, {**record, "file": file.stem, "idx": i} if isinstance(record, dict) else record)
               for file in files for i, (where, record) in enumerate(read_files(file))]
    checked = check(entries, _mvbench_problem, args.lenient, ("file", "idx"),
                    lambda record, _: {**record, "pred": "?", "A": "(A) ."})
    tasks: dict[str, list[dict]] = {}
    for record in checked.records:
        if not args.tasks or record["file"] in args.tasks:
            tasks.setdefault(record["file"], []).append(record)
    if not tasks:
        raise LabError(f"{args.predictions}: no answers" + (f" to {', '.join(args.tasks)}" if args.tasks else ""))
    result = score_mvbench(tasks, args.protocol) | {"notes": checked.notes}
    return result, [f"mvbench, protocol {args.protocol}", *result["lines_sorted"], *_tail(result)]


def videomme(args) -> tuple[dict, list[str]]:
    _refuse(args, "subset", "truth")
    if unknown := sorted(set(args.tasks or ()) - set(DURATIONS)):
        raise LabError(f"no duration {unknown[0]!r}: Video-MME has {', '.join(DURATIONS)}")
    checked = check(read_files(args.predictions), _videomme_problem, args.lenient, ("question_id",),
                    lambda record, _: {**_NO_QUESTION, **record, "a": "", "answer": "A"})
    result = score_videomme(checked.records, args.protocol, args.tasks or DURATIONS) | {"notes": checked.notes}
    return result, [f"videomme, protocol {args.protocol}", *result["lines"], *_tail(result)]


BENCHMARKS = {"etbench": etbench, "charades": charades, "youcook2": youcook2, "mvbench": mvbench, "videomme": videomme}


def report(scores: Scores) -> list[str]:
    """A row per task and source, then the averages in the official order."""
    columns = [name for name in HEADLINES if any(name in row.values for row in scores.rows)]
    body = [[row.task, row.source, row.values["Total"], row.values["Failed"],
             *(_percent(row.values[name]) if name in row.values else "" for name in columns)] for row in scores.rows]
    averages = [list(scores.averages), [_percent(value) for value in scores.averages.values()]]
    merged = [list(scores.merged), [_percent(value) for value in scores.merged.values()]]
    return [f"E.T. Bench, protocol {scores.protocol}, x 100", "",
            *table([["task", "source", "total", "failed", *columns], *body]), "",
            "averages over sources", *table(list(map(list, zip(*averages)))), "",
            "averages over tasks", *table(list(map(list, zip(*merged)))), *_tail(scores.to_json())]


def comparison(scores: dict[str, Scores]) -> list[str]:
    """The protocols side by side, with how far apart they are."""
    body = []
    for column, _, _ in COLUMNS:
        values = [one.averages.get(column) for one in scores.values()]
        if any(value is not None for value in values):
            apart = max(v for v in values if v is not None) - min(v for v in values if v is not None)
            body.append([column, *map(_percent, values), _percent(apart)])
    failed = [sum(row.values["Failed"] for row in one.rows) for one in scores.values()]
    notes = dict.fromkeys(note for one in scores.values() for note in one.notes)
    return ["E.T. Bench, the same answers under each protocol, x 100", "", *table([["", *scores, "apart"], *body,
            ["not understood", *failed, ""]]), *notes]


def table(rows: Sequence[Sequence]) -> list[str]:
    """Text columns to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    left = [not any(cell[:1].isdigit() for cell in column) for column in zip(*cells)]
    padded = [[cell.ljust(width) if to_left else cell.rjust(width) for cell, width, to_left in zip(row, widths, left)]
              for row in cells]
    return ["  ".join(row).rstrip() for row in padded]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _tail(result: dict) -> list[str]:
    """What could not be read, and why columns are empty."""
    unparsed = result["unparsed"]
    lines = [""]
    if isinstance(unparsed, list):
        lines += [f"not understood ({len(unparsed)}): {_list(unparsed)}"] if unparsed else []
    else:
        for task, found in unparsed.items():
            for source, ids in (found.items() if isinstance(found, dict) else [("", found)]):
                lines.append(f"not understood, {task} {source} ({len(ids)}): {_list(ids)}")
    return lines + result["notes"]


def _list(ids: Sequence, limit: int = 20) -> str:
    return ", ".join(map(str, ids[:limit])) + (f" and {len(ids) - limit} more" if len(ids) > limit else "")


def _sentence_model(where: str | None) -> SentenceModel | None:
    return None if where == "none" else find_sentence_model(where)


def _annotations(file: Path) -> list[dict]:
    content = load_json(file)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise LabError(f"{file}: expected an object with the list 'annotations'")
    return content["annotations"]


def _known(records: list[dict], known, field: str, args, notes: list[str]) -> list[dict]:
    """Answers to what the truth holds; others are an error, or leniently left out."""
    strange = [record for record in records if not known(record)]
    if strange and not args.lenient:
        raise LabError(f"{args.predictions}: {field} {strange[0][field]!r} is not in {args.truth} (another version?)")
    notes += [f"{len(strange)} answers to what {args.truth} does not hold are left out"] if strange else []
    return [record for record in records if known(record)]


def _refuse(args, *options: str) -> None:
    for option in options:
        if getattr(args, option) is not None:
            raise LabError(f"{args.benchmark} has no use for --{option}")


def _mvbench_problem(record) -> str | None:
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    if not isinstance(record.get("pred"), str):
        return f"pred is {record.get('pred')!r}; it must be text"
    truth = record.get("A")
    if not isinstance(truth, str) or truth[:1] != "(" or not truth[1:2].isalpha() or not truth[3:].strip():
        return f'A is {truth!r}; it must be the right option, as "(B) text"'
    return None


_NO_QUESTION = {"video_id": "?", "duration": "short", "domain": "Knowledge", "sub_category": "Law",
                "task_type": "OCR Problems"}


def _videomme_problem(record) -> str | None:
    if not isinstance(record, dict):
        return f"expected an object, found {type(record).__name__}"
    for name in (*_NO_QUESTION, "question_id", "answer", "a"):
        if not isinstance(record.get(name), str):
            return f"{name} is {record.get(name)!r}; it must be text"
    if record["duration"] not in DURATIONS:
        return f"duration is {record['duration']!r}; it must be one of {', '.join(DURATIONS)}"
    return None


