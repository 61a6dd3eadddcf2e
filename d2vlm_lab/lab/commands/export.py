"""`d2vlm-lab export CHECKPOINT FOLDER`: a checkpoint for others, with all that it needs and a card; to the hub, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

from ...errors import LabError
from ...judging.evaluate import data_set, signature
from ...model.card import CARD, Score
from ...model.checkpoint import DESCRIPTION, checkpoint_id, load, merge
from ...model.seal import find_checkpoint
from ...reader import read_json

SUMMARIES = ("task_averages", "merged")  # of E.T. Bench, which has hundreds of numbers besides


class Page(TypedDict):
    """What `d2vlm-lab evaluate` leaves beside its answers as score_PROTOCOL.json."""

    card: dict
    protocol: str
    scores: dict
    finished: str
    own_questions: NotRequired[str]  # their folder


def read_score(path: Path, checkpoint: str) -> Score:
    """The scores in a file of `evaluate`, which must be those of this checkpoint."""
    page = read_json(path, Page)
    if (scored := page["card"].get("checkpoint")) != checkpoint:
        raise LabError(f"{path}: the scores of the checkpoint {scored}, but this one is {checkpoint}")
    summaries = [page["scores"][name] for name in SUMMARIES if name in page["scores"]]
    values = dict(number for part in summaries or [page["scores"]] for number in numbers(part))
    return Score(data_set(page), page["protocol"], values, signature(page), page["card"]["benchmark"] != "world")


def numbers(scores: dict, above: str = "") -> Iterator[tuple[str, float]]:
    """Each number with its name, which begins with the names of the parts that it lies in."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{above}{name}: ")
        elif isinstance(value, (int, float)):
            yield above + name, value


def configure(parser) -> None:
    parser.add_argument("checkpoint", help="folder or hub id of a checkpoint")
    parser.add_argument("folder", nargs="?", help="where to write it; nothing may be there yet")
    parser.add_argument("--merge", action="store_true",
                        help="make what LoRA has learned part of the weights: a plain model that transformers loads. "
                        "Weights of 16 bits keep their 16 bits, so the sum is rounded")
    parser.add_argument("--scores", nargs="+", default=[], metavar="FILE",
                        help="score_PROTOCOL.json files of `evaluate`, for the card")
    parser.add_argument("--push", metavar="OWNER/NAME", help="also make a repository of it on the hub")
    parser.add_argument("--private", action="store_true", help="with --push: a new repository is private")
    parser.add_argument("--revision", help="with --push: the branch")


def run(args) -> None:
    if not args.folder and not args.push:
        raise LabError("name a folder, or a repository with --push OWNER/NAME, or both")
    if args.folder and Path(args.folder).exists():
        raise LabError(f"{args.folder}: something is there already; choose another folder")
    source = find_checkpoint(args.checkpoint)
    model = load(source)
    if not (source / DESCRIPTION).is_file():
        raise LabError(f"{source}: laid out as the authors' release, which others can load as it is")
    scores = [read_score(Path(file), checkpoint_id(source)) for file in args.scores]
    if args.merge:
        merge(model)
    if args.folder:
        folder = model.save_pretrained(args.folder, scores)
        print(*(f"{path.relative_to(folder)}  {path.stat().st_size / 2**20:,.1f} MB"
                for path in sorted(folder.rglob("*")) if path.is_file()), sep="\n")
        print(f"Read {folder / CARD} before you share it: it contains only what the files say.")
    if args.push:
        print(model.push_to_hub(args.push, private=args.private or None, revision=args.revision, scores=scores))
