"""What is to be run, what is done, and why: a list made from the study and from the files of earlier runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ...files import is_locked
from ...settings import flatten, to_dict
from . import identity
from .point import LOCK, POINT, read_state, write_json
from .shared import missing_worlds, shared_folder, worlds_of
from .study import Point, Profile, Study, make_shared, notebook_path, points_of


@dataclass
class Job:
    """A run of the plan: a point of the grid, or shared work that points start from."""

    point: Point
    record: dict  # what `point.json` will hold
    folder: Path
    notebook: Path = Path()
    needs: list[Job] = field(default_factory=list)
    done: bool = False
    why: str = ""  # it is to be run
    seconds: float | None = None  # that it took, or may take

    @property
    def shared(self) -> bool:
        return self.record["kind"] == "shared"

    @property
    def title(self) -> str:
        return f"{self.point.variant}, seed {self.point.seed}"

    def order(self, cwd: Path) -> dict:
        """What a machine needs to run it."""
        here = {f"@{need.point.variant[1:]}": _near(need.folder / "model", cwd) for need in self.needs}
        settings, extras = ({key: here.get(value, value) if isinstance(value, str) else value
                             for key, value in values.items()}
                            for values in (self.record["settings"], self.record["extras"]))
        return {"record": self.record, "folder": str(self.folder.absolute()), "notebook": str(self.notebook),
                "cwd": str(cwd), "parameters": {"settings": settings, "out": _near(self.folder, cwd), **extras}}


def make_plan(study: Study, profile: str, out: Path, seeds: Sequence[int] = ()) -> list[Job]:
    """All runs of a profile, shared work before the points that need it."""
    points = points_of(study, profile, tuple(seeds))
    notebook, works, jobs = notebook_path(study), {}, []
    code, work_code = identity.code_of(notebook), identity.code_of(None)
    for point in points:
        needs = [make_shared(study, profile, name, point.seed) for name in point.needs]
        for work in needs:
            key = (work.variant, work.seed)
            works[key] = works.get(key) or _job(study, profile, work, [], work_code, out)
        jobs.append(_job(study, profile, point, [works[w.variant, w.seed] for w in needs], code, out))
    plan, absent = [*works.values(), *jobs], missing_worlds(study, points)
    past = records(out / study.name) + records(out / "shared")
    for job in plan:
        job.notebook = notebook
        _look(job, [w for w in worlds_of(study, [job.point]) if w in absent], past)
    _estimate(plan, study.profiles.get(profile, Profile()), past)
    return plan


def records(folder: Path) -> list[dict]:
    """What earlier runs left in a study's folder: their `point.json`, with the state under `state`."""
    found = []
    for path in sorted(folder.glob(f"*/{POINT}")):
        try:
            found.append({**json.loads(path.read_text(encoding="utf-8")), "state": read_state(path.parent)})
        except json.JSONDecodeError:
            continue
    return sorted(found, key=lambda record: record["state"].get("started", 0))


def write_index(study: Study, profile: str, out: Path, plan: Sequence[Job], source: Path) -> None:
    """`study.json`: the study as run, and which run is which point of it."""
    runs = [{"id": job.record["id"], "variant": job.point.variant, "seed": job.point.seed,
             "folder": os.path.relpath(job.folder, out / study.name)} for job in plan]
    kinds = {kind: [run for run, job in zip(runs, plan) if job.shared == (kind == "shared_runs")]
             for kind in ("runs", "shared_runs")}
    write_json(out / study.name / "study.json",
               to_dict(study) | {"profile": profile, "file": source.name} | kinds)


def relabel(job: Job) -> None:
    """A finished run that the study now calls by another name keeps its numbers and gets the name."""
    path = job.folder / POINT
    if json.loads(path.read_text(encoding="utf-8")) != job.record:
        write_json(path, job.record)


def _job(study: Study, profile: str, point: Point, needs: list[Job], code: dict, out: Path) -> Job:
    shared = point.variant.startswith("@")
    hashes = identity.hashes_of(point, code, {n.point.variant[1:]: n.record["id"] for n in needs})
    key = identity.run_id(hashes)
    record = {"id": key, "kind": "shared" if shared else "point", "study": study.name, "variant": point.variant,
              "seed": point.seed, "profile": profile, "settings": flatten(point.config), "extras": point.extras,
              "hashes": hashes}
    folder = shared_folder(out, point.variant[1:], key) if shared else out / study.name / key
    return Job(point, record, folder, needs=needs)


def _look(job: Job, absent: list[str], past: list[dict]) -> None:
    """Is it done, how long did it take, and if it is not done, why not."""
    state = read_state(job.folder)
    job.done, job.seconds = state.get("status") == "done" and not absent, state.get("seconds")
    if not job.done:
        job.why = f"the world {absent[0]} is to be made" if absent else _reason(job, state, past)


def _reason(job: Job, state: dict, past: list[dict]) -> str:
    """Why a run that is not done has to be run."""
    if state.get("status") == "failed":
        return f"failed before: {state.get('error')}"
    if state.get("status") == "running":
        return "running now, by another command" if is_locked(job.folder / LOCK) else "was interrupted"
    mine = ("study", "variant", "seed")
    before = [record for record in past if all(record[name] == job.record[name] for name in mine)]
    same = [r for r in before if r["profile"] == job.record["profile"]]
    if not before:
        return "never run"
    return identity.differences((same or before)[-1], job.record)


def _estimate(plan: Sequence[Job], profile: Profile, past: list[dict]) -> None:
    """Seconds of what is to be run: as runs like it took, or an even part of what the profile says."""
    took: dict[tuple, list[float]] = {}
    for record in past:
        if record["state"].get("status") == "done":
            for key in ((record["variant"], record["profile"]), (record["kind"], record["profile"])):
                took.setdefault(key, []).append(record["state"]["seconds"])
    even = profile.minutes * 60 / len(plan) if profile.minutes and plan else None
    for job in plan:
        if not job.done:
            like = next((took[key] for key in ((job.point.variant, job.record["profile"]),
                                               (job.record["kind"], job.record["profile"])) if key in took), None)
            job.seconds = median(like) if like else even


def _near(path: Path, cwd: Path) -> str:
    """Relative where that is inside the working folder, so that records can move with it."""
    path = path.absolute()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
