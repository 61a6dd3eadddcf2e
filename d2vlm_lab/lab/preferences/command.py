"""`d2vlm-lab make-preferences`: wrong answers beside right ones, one factor at a time, and a report."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

from ...data.datasets import et_instruct, fpo_annotations
from ...data.datasets.stream import stream_objects
from ...data.pairs import OnBad, PreferencePair, check, write_preferences
from ...data.sample import Sample, SampleError, from_record
from ...data.world import load as load_world
from ...data.world import world_facts
from ...errors import LabError
from ...files import atomic_path
from ...ideas.grounding import overlap
from ...ideas.rejected import FACTORS, FACTS, KINDS, Distort, Recipe, Words, rejected_answers
from ...model.decoding import Decoding
from ...settings import override
from .mcq import multiple_choice

LIMIT = 20  # bad samples that the report names


class Report:
    """What was synthesized: counts, how far intervals moved, how lengths differ. Fed one preference at a time."""

    def __init__(self):
        self.samples, self.bad, self.named = 0, 0, []
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.overlaps: Counter[tuple[str, int]] = Counter()  # (kind, tenth)
        self.lengths: Counter[tuple[str, str, float]] = Counter()  # (factor, unit, difference)

    def leave_out(self, name: str, message: str) -> None:
        self.bad += 1
        if len(self.named) < LIMIT:
            self.named.append(message)

    def add(self, preference: PreferencePair) -> PreferencePair:
        self.samples += 1
        chosen = preference.chosen
        for rejected in preference.rejected:
            self.kinds[rejected.factor, rejected.kind] += 1
            words = len(_text(rejected.answer).split()) - len(_text(chosen.answer).split())
            self.lengths[rejected.factor, "words", words] += 1
            self.lengths[rejected.factor, "events", len(rejected.events) - len(chosen.events)] += 1
            if rejected.factor == "when" and len(rejected.events) == len(chosen.events) and chosen.events:
                iou = overlap(rejected.events[rejected.event].interval, chosen.events[rejected.event].interval)
                self.overlaps[rejected.kind, min(9, int(iou * 10))] += 1
                seconds = _length(rejected.events[rejected.event]) - _length(chosen.events[rejected.event])
                self.lengths["when", "seconds", round(seconds, 1)] += 1
        return preference

    def summary(self) -> dict:
        total = sum(self.kinds.values())
        factors = {factor: sum(n for (own, _), n in self.kinds.items() if own == factor) for factor in FACTORS}
        return {
            "samples": self.samples, "rejected": total, "left_out": self.bad, "why": self.named,
            "factors": factors,
            "kinds": {f"{factor}/{kind}": n for (factor, kind), n in sorted(self.kinds.items())},
            "overlap": {kind: [self.overlaps[kind, k] for k in range(10)]
                        for kind in sorted({kind for kind, _ in self.overlaps})},
            "length_difference": {
                f"{factor}/{unit}": _spread({d: n for (f, u, d), n in self.lengths.items() if (f, u) == (factor, unit)})
                for factor, unit in sorted({(f, u) for f, u, _ in self.lengths})}}


def table(summary: dict) -> str:
    """The report for people."""
    lines = [f"{summary['samples']:,} chosen answers, {summary['rejected']:,} rejected, "
             f"{summary['left_out']:,} samples left out", "", f"{'factor/kind':24} {'number':>8} {'share':>7}"]
    total = max(1, summary["rejected"])
    lines += [f"{name:24} {n:8,} {n / total:7.1%}" for name, n in
              [*summary["factors"].items(), *summary["kinds"].items()]]
    lines += ["", "overlap of a wrong interval with its true one, by tenths from 0"]
    lines += [f"{kind:24} " + " ".join(f"{n:6,}" for n in tenths) for kind, tenths in summary["overlap"].items()]
    lines += ["", f"{'rejected minus chosen':24} {'mean':>8} {'5 %':>8} {'median':>8} {'95 %':>8}"]
    lines += [f"{name:24} " + " ".join(f"{spread[key]:8.2f}" for key in ("mean", "p5", "median", "p95"))
              for name, spread in summary["length_difference"].items()]
    return "\n".join(lines)


def synthesize(samples: Iterable[Sample], recipe: Recipe, distort: Distort | None,
               on_bad: OnBad) -> Iterator[PreferencePair]:
    """Every grounded sample with its wrong answers; what cannot be perturbed is told to `on_bad`."""
    for sample in samples:
        try:
            rejected = rejected_answers(sample.events, sample.answer, sample.duration, recipe, distort, sample.id)
            yield check(PreferencePair(sample, tuple(rejected)))
        except LabError as error:
            on_bad(sample.id, str(error))


def read_source(path: Path, on_bad: OnBad) -> tuple[Iterator[Sample | PreferencePair], Words | None]:
    """Samples of a world, of sample or annotation files, or ready preferences of the authors' format; and its words."""
    if not path.is_dir():
        return _entries(path, on_bad), None
    return _entries(path / "train.json", on_bad), Words(world_facts(load_world(path)))


def read_words(path: Path) -> Words:
    """A word list as JSON: `{"color": ["red", "blue"], "action": [["opens", "opening"], ["shuts", "shutting"]]}`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LabError(f"{path}: not readable as JSON ({error})") from None
    things = [thing for kind in data.values() for thing in kind] if isinstance(data, dict) and all(
        isinstance(kind, list) for kind in data.values()) else [None]
    good = all(isinstance(t, str) and t or isinstance(t, list) and t and all(isinstance(f, str) and f for f in t)
               for t in things)
    if not good:
        raise LabError(f"{path}: expected kinds of facts, each with a list of words or of lists of forms")
    return Words(data)


def configure(parser) -> None:
    parser.add_argument("source", type=Path, help="a world, samples or annotations (JSON list or lines), or the "
                                                  "authors' preference annotations")
    parser.add_argument("settings", nargs="*", metavar="key=value",
                        help="of the recipe: per_sample=4 factors=[when,what] shift=[1.0] tolerance=0.5 seed=0 ...")
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines to write; its report lies beside it")
    parser.add_argument("--words", type=Path, help="JSON with the facts to distort (a world brings its own)")
    parser.add_argument("--limit", type=int, help="use only the first so many samples")
    parser.add_argument("--multiple-choice", action="store_true", help="add a question that offers all answers")
    parser.add_argument("--figure", type=Path, help="draw the report into this file")
    policy = parser.add_argument_group("rejected answers sampled from a model")
    policy.add_argument("--policy", help="checkpoint to sample, instead of perturbing")
    policy.add_argument("--videos", type=Path, help="folder of the videos (a world brings its own)")
    policy.add_argument("--fps", type=float, default=2.0, help="frames per second that the model sees")
    policy.add_argument("--temperature", type=float, default=1.0)
    policy.add_argument("--tries", type=int, default=4, help="answers sampled for each question")


def run(args) -> None:
    recipe, report = override(Recipe(), args.settings, "recipe"), Report()
    if args.limit is not None and args.limit < 1:
        raise LabError(f"--limit is {args.limit}; it must be positive")
    entries, words = read_source(args.source, report.leave_out)
    words = read_words(args.words) if args.words else words
    known = {*KINDS, *(words.kinds if words else FACTS)}
    if unknown := [kind for kind in recipe.kinds if kind not in known]:
        raise LabError(f"recipe.kinds: no such kind {unknown[0]!r}; there are {', '.join(sorted(known))}")
    entries = islice(entries, args.limit)
    first = next(entries, None)
    if first is None:
        raise LabError(f"{args.source}: nothing in it can be used; {'; '.join(report.named[:1]) or 'it is empty'}")
    entries = chain([first], entries)
    if isinstance(first, PreferencePair):
        found = entries
    elif args.policy:
        found = _sampled(entries, recipe, args, report.leave_out)
    else:
        found = synthesize(entries, recipe, words, report.leave_out)
    write_preferences(args.out, _counted(found, recipe, report, args))
    summary = report.summary()
    with atomic_path(args.out.with_suffix(".report.json")) as partial:
        partial.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if args.figure:
        from ..plots import draw_preferences

        with atomic_path(args.figure) as partial:
            draw_preferences(summary).savefig(partial, format=args.figure.suffix[1:] or "png")
    print(table(summary))
    for message in report.named[:3]:
        print(f"left out: {message}", file=sys.stderr)


def _entries(path: Path, on_bad: OnBad) -> Iterator[Sample | PreferencePair]:
    for index, record in enumerate(stream_objects(path)):
        try:
            if fpo_annotations.is_preference(record):
                yield fpo_annotations.from_record(record, index, str(path))
            elif "conversations" in record:
                yield et_instruct.from_record(record, index, str(path))
            else:
                yield from_record(record, f"{path}, sample {index}")
        except SampleError as error:
            on_bad(str(record.get("id", index)), str(error))


def _counted(found: Iterable[PreferencePair], recipe: Recipe, report: Report, args) -> Iterator[PreferencePair]:
    for preference in found:
        kept = tuple(r for r in preference.rejected if r.factor in recipe.factors)
        if not kept:
            continue
        preference = PreferencePair(preference.chosen, kept)
        yield report.add(preference)
        if args.multiple_choice:
            yield multiple_choice(preference, recipe.seed)


def _sampled(samples: Iterable[Sample], recipe: Recipe, args, on_bad: OnBad) -> Iterator[PreferencePair]:
    """On-policy rejects; needs the model, its videos, and time."""
    from ...config import Data, RunConfig
    from ...data.splits import reader
    from ...model.checkpoint import load
    from .sampled import sampled_preferences

    videos = args.videos or (args.source / "videos" if args.source.is_dir() else None)
    if videos is None:
        raise LabError("--policy needs --videos, the folder of the videos")
    if args.temperature <= 0 or args.tries < 1:
        raise LabError("--temperature and --tries must be positive: greedy answers are all the same")
    model = load(args.policy)
    read = reader(RunConfig(data=Data(fps=args.fps)), model.frames, videos)
    decoding = Decoding(96, temperature=args.temperature, seed=recipe.seed)
    grounded = (sample for sample in samples if sample.events or on_bad(sample.id, f"sample {sample.id}: no events"))
    return sampled_preferences(model, grounded, read, recipe, decoding, args.tries)


def _text(answer: Iterable[str | int]) -> str:
    return "".join(piece if isinstance(piece, str) else " " for piece in answer)


def _length(event) -> float:
    return event.end - event.start


def _spread(counts: dict[float, int]) -> dict[str, float]:
    """Mean and quantiles of values with their counts."""
    total, values = sum(counts.values()), sorted(counts)
    running, places = 0, {}
    for value in values:
        running += counts[value]
        for name, share in (("p5", 0.05), ("median", 0.5), ("p95", 0.95)):
            if name not in places and running >= share * total:
                places[name] = value
    return {"mean": round(sum(v * n for v, n in counts.items()) / total, 4), **places}
