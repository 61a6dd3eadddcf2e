"""What is to be run, what is done, and why: a list made from a study and from the files of earlier runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...errors import LabError
from ...files import is_locked
from ...settings import flatten, to_dict
from ..run_files import POINT, read_record, read_state
from . import identity
from .estimate import History, expected
from .form import Point, Profile, Study
from .job import Job
from .parameters import notebook_parameters
from .point import LOCK, damage, write_json
from .shared import missing_worlds, shared_folder, worlds_of
from .study import make_shared, notebook_path, points_of, seeds_of


def make_plan(study: Study, profile: str, out: Path, seeds: Sequence[int] = (),
              others: Sequence[Job] = ()) -> list[Job]:
    """All runs of a profile, shared work before the points that need it.

    `others` are the jobs of studies that are run together with this one: what they share with it is planned once.
    """
    points = points_of(study, profile, tuple(seeds))
    notebook = notebook_path(study)
    parameters, code = notebook_parameters(notebook), identity.notebook_hash(notebook)
    ranks = list(dict.fromkeys(point.seed for point in points))
    known = {job.record["id"]: job for job in others}
    works: dict[str, Job] = {}
    jobs = []
    for point in points:
        starts, rank = {}, ranks.index(point.seed)
        for name in point.needs:
            work = make_shared(study, profile, name, point.seed)
            record = record_of(study.name, profile, work, "", {})
            folder = shared_folder(out, name, record["id"])
            job = known.get(record["id"]) or Job(work, record, folder, notebook, trains=True, seed_rank=rank)
            job.seed_rank = min(job.seed_rank, rank)  # another study may need it only for a later seed
            starts[f"@{name}"] = works.setdefault(record["id"], job)
        shared = {name[1:]: work.record["id"] for name, work in starts.items()}
        record = record_of(study.name, profile, point, code, shared)
        jobs.append(Job(point, record, out / study.name / record["id"], notebook,
                        trains=bool((parameters | point.extras).get("learn")), starts=starts,
                        twin=known.get(record["id"]), seed_rank=rank))
    plan, past = [*works.values(), *jobs], records(out)
    absent = missing_worlds(study, [job.point for job in plan])
    for job in plan:
        _look(job, [w for w in worlds_of(study, [job.point]) if w in absent], past)
    share = len(ranks) / len(seeds_of(study, profile))  # of the seeds of the profile
    _estimate(plan, (study.profiles.get(profile, Profile()).minutes or 0) * share, history(past))
    return plan


def records(out: Path) -> list[dict]:
    """What earlier runs of all studies left: their `point.json`, with the state under `state`, the oldest first."""
    past = []
    for path in sorted(out.glob(f"*/*/{POINT}")):
        with suppress(LabError):  # a damaged one tells nothing about others
            past.append({**read_record(path.parent), "state": read_state(path.parent)})
    return sorted(past, key=lambda record: record["state"].get("started", 0))


def history(past: Sequence[dict]) -> History:
    """The seconds that those runs took."""
    seconds = History()
    for record in past:
        seconds.add(record, record["state"])
    return seconds


def write_index(study: Study, profile: str, out: Path, plan: Sequence[Job], source: Path) -> None:
    """`study.json`: the study as run, and which run is which point of it."""
    kinds = {"runs": [], "shared_runs": []}
    for job in plan:
        kinds["shared_runs" if job.shared else "runs"].append(
            {"id": job.record["id"], "variant": job.point.variant, "seed": job.point.seed,
             "folder": os.path.relpath(job.folder, out / study.name)})
    write_json(out / study.name / "study.json",
               to_dict(study) | {"profile": profile, "file": source.name} | kinds)


def relabel(job: Job) -> None:
    """A finished run that the study now calls by another name keeps its numbers and gets the name."""
    if read_record(job.folder) != job.record:
        write_json(job.folder / POINT, job.record)


def record_of(study: str, profile: str, point: Point, notebook: str, shared: dict[str, str]) -> dict:
    hashes = identity.hashes_of(point, notebook, shared)
    return {"id": identity.run_id(hashes), "kind": "shared" if point.variant.startswith("@") else "point",
            "study": study, "variant": point.variant, "seed": point.seed, "profile": profile,
            "settings": flatten(point.config), "extras": point.extras, "hashes": hashes}


def _look(job: Job, absent: list[str], past: list[dict]) -> None:
    """Note whether it is done, how long it took, and if it is not done, why not."""
    state = read_state(job.folder)
    harm = damage(job.folder, job.record) if state.get("status") == "done" else ""
    job.done, job.seconds = state.get("status") == "done" and not absent and not harm, state.get("seconds")
    if not job.done:
        job.why = (f"the world {absent[0]} is to be made" if absent else f"damaged: {harm}" if harm else
                   _reason(job, state, past))


def _reason(job: Job, state: dict, past: list[dict]) -> str:
    """Why a run that is not done has to be run."""
    if state.get("status") == "failed":
        return f"failed before: {state.get('error')}"
    if state.get("status") == "damaged":
        return f"damaged: {state.get('error')}"
    if state.get("status") == "running":
        return "running now, by another command" if is_locked(job.folder / LOCK) else "was interrupted"
    if job.twin:
        return f"copied from {job.twin.record['study']}: {job.twin.title}, which is the same run"
    before = [record for record in past
              if all(record[name] == job.record[name] for name in ("study", "variant", "seed"))]
    same = [record for record in before if record["profile"] == job.record["profile"]]
    return identity.differences((same or before)[-1], job.record) if before else "never run"


def _estimate(plan: Sequence[Job], minutes: float, earlier: History) -> None:
    """Note how long jobs may take: as long as runs like them, or an even part of the minutes that two cores need."""
    even = 2 * minutes * 60 / len(plan) if minutes and plan else None
    for job in plan:
        if not job.done:
            job.seconds = expected(job.record, earlier) or even
