"""One study from several folders: some of its seeds or variants were run on another machine, or at another time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import LabError
from ...shapes import shown
from .read import STUDY, Entry, Results, Run, read_results
from .tables import compared_with, profile_of

NAMED_PARTS = ("variants", "shared", "conditions", "ideas")  # of which a folder may have more than another


def read_joined(folders: Sequence[Path]) -> Results:
    """The runs of all folders as one study, described as in the first, and what they were made with.

    Each folder holds runs or kept results of the study.
    """
    parts = [read_results(Path(folder)) for folder in folders]
    joined = parts[0]
    for other in parts[1:]:
        _check(joined, other)
        study = joined.study | {name: other.study.get(name, {}) | joined.study.get(name, {})
                                for name in (*NAMED_PARTS, "against") if name in joined.study | other.study}
        study["metrics"] = list(dict.fromkeys([*joined.study["metrics"], *other.study["metrics"]]))
        study["runs"], runs = _once([*zip(joined.study["runs"], joined.runs), *zip(other.study["runs"], other.runs)])
        study["shared_runs"], shared = _once([*zip(joined.study["shared_runs"], joined.shared),
                                              *zip(other.study["shared_runs"], other.shared)])
        joined = replace(joined, study=study, runs=runs, shared=shared)
    versions = set().union(*map(_made_with, parts))
    return replace(joined, study={**joined.study, "made_with": sorted(versions)}) if versions else joined


def _made_with(results: Results) -> set[str]:
    """What the runs were made with; of kept results as their report noted it, since their run folders are gone."""
    names = ("python", "torch", "transformers", "commit")
    versions = {", ".join(f"{name} {run.environment[name]}" for name in names if run.environment.get(name))
                for run in results.done}
    return (versions | set(results.study.get("made_with", []))) - {""}


def _check(first: Results, other: Results) -> None:
    """Numbers stand beside each other only if what they depend on is the same, and each point has one run."""
    settings, others = _settings(first.study), _settings(other.study)
    for name, value in settings.items():
        if value != others.get(name, value):
            raise LabError(f"{other.folder / STUDY}: {name} is {shown(others[name])}, and in {first.folder / STUDY} "
                           f"{shown(value)}; only runs of one study in one profile can be joined")
    points = {(run.variant, run.seed): run for run in first.done}
    for run in other.done:
        twin = points.get((run.variant, run.seed), run)
        if twin.id != run.id:
            raise LabError(f"{other.folder / STUDY}: {run.variant} with seed {run.seed} is the run {run.id}, and in "
                           f"{first.folder / STUDY} {twin.id}: the library, the notebook, a setting or the data was "
                           "another one; name only one of the two folders, or make a report of other seeds")


def _settings(study: dict) -> dict:
    """What the numbers depend on. A variant is compared where both have it, since a folder may hold a part of them."""
    profile = profile_of(study)
    return ({name: study.get(name) for name in ("name", "profile", "preset", "base", "reference")}
            | {f"profile.{name}": profile.get(name) for name in ("base", "shared")}
            | {f"{part}.{name}": value for part in NAMED_PARTS for name, value in study.get(part, {}).items()}
            | {f"against.{name}": compared_with(study, name) for name in study["variants"]})


def _once(pairs: Iterable[tuple[Entry, Run]]) -> tuple[list[Entry], tuple[Run, ...]]:
    """Each variant with each seed once, in the order of the seeds; of two runs for one, that which is done."""
    found: dict[tuple[str, int], tuple[Entry, Run]] = {}
    for entry, run in pairs:
        point = run.variant, run.seed
        if point not in found or (run.done and not found[point][1].done):
            found[point] = entry, run
    ordered = sorted(found.values(), key=lambda pair: pair[1].seed)
    return [entry for entry, _ in ordered], tuple(run for _, run in ordered)
