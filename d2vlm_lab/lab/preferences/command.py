"""`d2vlm-lab make-preferences`: rejected answers beside chosen ones, wrong in one factor at a time, and a report."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

from ...config import Data, RunConfig
from ...data.datasets import et_instruct, fpo_annotations
from ...data.datasets.formats import TRAINING
from ...data.datasets.records import read_records, to_sample
from ...data.pairs import OnBad, PreferencePair, check, pair_of, write_preferences
from ...data.sample import Sample, SampleError, from_record
from ...data.splits import annotated, reader
from ...data.world import load as load_world
from ...errors import LabError
from ...files import atomic_path, check_outputs, write_json
from ...ideas.rejected import FACTS, KINDS, Recipe, Words, rejected_answers
from ...model.checkpoint import load
from ...model.decoding import Decoding
from ...model.device import on_device
from ...model.rate import frames_as_trained
from ...model.seal import find_checkpoint
from ...processes import parse_shard
from ...reader import read_json
from ...settings import override
from .mcq import multiple_choice
from .report import Report, table
from .sampled import sampled_preferences
from .trl import write_trl

FIGURES = (".png", ".pdf", ".svg")


def configure(parser) -> None:
    parser.add_argument("source", type=Path, help="a world, samples or annotations (JSON list or lines), a "
                                                  "preference file, or the authors' preference annotations")
    parser.add_argument("settings", nargs="*", metavar="key=value",
                        help="settings of the recipe: per_sample=4 factors=[when,what] shift=[1.0] tolerance=0.5 "
                             "seed=0 ...")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines to write; the report is written beside it")
    parser.add_argument("--source-format", choices=TRAINING, help="the format of SOURCE, as data.format of a run "
                        "(default: recognized by the fields of each record)")
    parser.add_argument("--format", choices=("lab", "trl"), default="lab", help="trl: prompt, chosen and rejected as "
                        "TRL reads them, and the video's path; the times are numbers in the text")
    parser.add_argument("--words", type=Path, help="JSON with the facts to distort (a world brings its own)")
    parser.add_argument("--limit", type=int, help="use only this many samples, the first ones")
    parser.add_argument("--shard", default="0/1", metavar="I/N", help="use every N-th of these samples from the I-th "
                        "on; the files of all shards, one after the other, are the file of all samples")
    parser.add_argument("--multiple-choice", action="store_true", help="add a question that offers all answers")
    parser.add_argument("--figure", type=Path, help="draw the report into this file")
    policy = parser.add_argument_group("rejected answers sampled from a model")
    policy.add_argument("--policy", help="checkpoint to sample from, instead of changing the chosen answers")
    policy.add_argument("--videos", type=Path, help="folder of the videos (a world brings its own); also part of the "
                        "paths that --format trl writes")
    policy.add_argument("--fps", type=float, help="frames a second that the model sees (default: as in training)")
    policy.add_argument("--max-frames", type=int, help="at most this many frames of a video (default: as in training)")
    policy.add_argument("--temperature", type=float, default=1.0, help="above 1, answers vary more; below 1, less")
    policy.add_argument("--max-new-tokens", type=int, default=96, help="longest answer; longer ones are not used")
    policy.add_argument("--tries", type=int, default=4, help="answers sampled for each question")


def run(args) -> None:
    recipe, report = override(Recipe(), args.settings, "recipe"), Report()
    args.shard = parse_shard(args.shard)
    for name in ("fps", "max_frames", "temperature", "max_new_tokens", "limit"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            raise LabError(f"--{name.replace('_', '-')} is {value}; it must be a positive number")
    if args.figure and args.figure.suffix not in FIGURES:
        raise LabError(f"--figure is {args.figure}; a figure is written as {', '.join(FIGURES)}")
    if not args.out.name:
        raise LabError(f"--out is {args.out}, a folder; give the name of the file")
    written = [args.out, args.out.with_suffix(".report.json"), args.figure]
    check_outputs(filter(None, written), filter(None, [args.source, args.source / "train.json", args.words]))
    words = read_words(args.words) if args.words else None
    if words is None and args.source.is_dir():
        words = Words(load_world(args.source).facts)
    known = {*KINDS, *(words.kinds if words else FACTS)}
    if unknown := [kind for kind in recipe.kinds if kind not in known]:
        raise LabError(f"recipe.kinds: no such kind {unknown[0]!r}; there are {', '.join(sorted(known))}")
    pairs = select(make_pairs(args, recipe, words, report), recipe, report, args.multiple_choice)
    if args.format == "trl":
        write_trl(args.out, pairs, video_folder(args), report.leave_out)
    else:
        write_preferences(args.out, pairs)
    summary = report.summary()
    write_json(args.out.with_suffix(".report.json"), summary)
    if args.figure:
        from ..plots import draw_preferences

        with atomic_path(args.figure) as unfinished:
            draw_preferences(summary).savefig(unfinished, format=args.figure.suffix[1:])
    print(table(summary))
    for message in report.bad[:3]:
        print(f"left out: {message}", file=sys.stderr)


def make_pairs(args, recipe: Recipe, words: Words | None, report: Report) -> Iterator[PreferencePair]:
    """The pairs of a preference file as they are; samples with answers that are made wrong, or sampled from a model."""
    path = args.source / "train.json" if args.source.is_dir() else args.source
    read = partial(read_samples, args.source_format) if args.source_format else read_entries
    entries = islice(read(path, report.leave_out), args.limit)
    first = next(entries, None)
    if first is None:
        why = report.bad[0] if report.bad else "it is empty"
        hint = "" if args.source_format or not report.bad else " (a file of a public data set needs --source-format)"
        raise LabError(f"{args.source}: nothing in it can be used; {why}{hint}")
    if args.policy and not isinstance(first, Sample):
        raise LabError(f"{args.source} has rejected answers already, and --policy would draw others; give samples "
                       "without them, or no --policy")
    index, count = args.shard
    entries = islice(chain([first], entries), index, None, count)
    if args.policy:
        entries = sample_pairs(entries, recipe, args, report.leave_out)
    for entry in entries:
        if isinstance(entry, PreferencePair):
            yield entry
            continue
        try:
            rejected = rejected_answers(entry.events, entry.answer, entry.duration, recipe, words, entry.id)
            yield check(PreferencePair(entry, tuple(rejected)))
        except LabError as error:
            report.leave_out(entry.id, str(error))


def read_samples(format: str, path: Path, on_bad: OnBad) -> Iterator[Sample]:
    """The samples of a file in a format of `data.format`."""
    split = annotated(Data(format=format), str(path.absolute()), path.parent)
    for skip in split.bad:
        on_bad(skip.sample, skip.message)
    yield from split.samples


def read_entries(path: Path, on_bad: OnBad) -> Iterator[Sample | PreferencePair]:
    """The samples or pairs of a file, whose format each record shows by its fields."""
    for index, record in enumerate(read_records(path, go_on=True)):
        if isinstance(record, SampleError):
            on_bad(str(index), str(record))
            continue
        try:
            if set(record) == {"chosen", "rejected"}:
                yield pair_of(record, f"{path}, pair {index}")
            elif fpo_annotations.is_preference(record):
                yield fpo_annotations.from_record(record, index, str(path))
            elif "conversations" in record:
                yield to_sample(record, index, et_instruct.from_record, path)
            else:
                yield from_record(record, f"{path}, sample {index}")
        except SampleError as error:
            on_bad(str(record.get("id", index)), str(error))


def sample_pairs(samples: Iterable[Sample], recipe: Recipe, args, on_bad: OnBad) -> Iterator[PreferencePair]:
    """Each sample with wrong answers of a model, which needs the videos and takes its time."""
    videos = video_folder(args)
    if videos is None:
        raise LabError("--policy needs --videos, the folder of the videos")
    if args.tries < 1:
        raise LabError(f"--tries is {args.tries}; it must be a positive number")
    policy = find_checkpoint(args.policy)
    model = on_device(load(policy), worker=args.shard[0])
    data = frames_as_trained(policy, args.fps, args.max_frames, Data.fps if args.source.is_dir() else 1.0)
    read = reader(RunConfig(data=data), model.frames, videos)
    decoding = Decoding(args.max_new_tokens, temperature=args.temperature, seed=recipe.seed)
    grounded = (sample for sample in samples if sample.events or on_bad(sample.id, f"sample {sample.id}: no events"))
    return sampled_preferences(model, grounded, read, recipe, decoding, args.tries, on_bad)


def video_folder(args) -> Path | None:
    return args.videos or (args.source / "videos" if args.source.is_dir() else None)


def select(pairs: Iterable[PreferencePair], recipe: Recipe, report: Report,
           with_choices: bool) -> Iterator[PreferencePair]:
    """The pairs with the rejected answers whose factor is wanted, each followed by its multiple-choice question.

    An error where there is none, so that no empty file takes the place of an older one.
    """
    for pair in pairs:
        wanted = tuple(rejected for rejected in pair.rejected if rejected.factor in recipe.factors)
        if wanted:
            pair = PreferencePair(pair.chosen, wanted)
            report.add(pair)
            yield pair
            if with_choices and (choice := multiple_choice(pair, recipe.seed)).rejected:
                yield choice
    if not report.samples:
        why = report.bad[0] if report.bad else f"no rejected answer is wrong in {' or '.join(recipe.factors)}"
        raise LabError(f"nothing can be used, so no file is written; {why}")


def read_words(path: Path) -> Words:
    """A word list as JSON: `{"color": ["red", "blue"], "action": [["opens", "opening"], ["shuts", "shutting"]]}`."""
    kinds = read_json(path, dict)
    if not all(_are_words(things) for things in kinds.values()):
        raise LabError(f"{path}: expected kinds of facts, each with a list of words or of lists of forms")
    return Words(kinds)


def _are_words(things, with_forms: bool = True) -> bool:
    return isinstance(things, list) and all(
        thing and (isinstance(thing, str) or with_forms and _are_words(thing, False)) for thing in things)
