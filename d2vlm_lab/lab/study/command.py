"""`d2vlm-lab ablate`: studies from their files to their reports."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import filter as matching
from pathlib import Path

from ...errors import LabError
from ...settings import suggest
from ...shapes import Range
from .cluster import check_on, place
from .form import Study
from .job import Job
from .names import each_seed_once
from .plan import history, make_plan, records, relabel, write_index
from .point import one_line
from .progress import Progress, duration
from .runner import Grid, choose, clear, wanted
from .shared import make_worlds, missing_worlds
from .study import points_of, read_study, variants_of, works_of
from .timing import timing

HELP = """
Every point of a study (a variant with a seed) is one run of the study's notebook, in a separate process and a
separate folder: OUT/STUDY/RUN. The name of a run is a hash of the notebook, the settings, the library's source and the
data. So a run that is done is never made again unless one of these has changed. When a run fails or is killed, the
others still finish, and the same command completes the rest. The exit code is 0 when every point that was
asked for is done, 1 when one failed, and 2 when a study or an option is wrong.

Several studies are run as one grid: what they share is made once, and no core is idle while a run is waiting.

where runs are made:
  (nothing)             On this machine: one run at a time for each GPU (or --per-gpu N), or for each core that has
                        2 GB of memory; --jobs N for another number. The cores are shared out evenly. As long
                        as it lasts, other users who have an account on this machine could send work to the
                        scheduler (it listens on 127.0.0.1 and asks for no password), which then runs as you.
  --on tcp://host:8786  On a Dask cluster whose machines see this folder under the same path. On one of them, start
                          dask scheduler
                        and on each, once for each GPU (CUDA_VISIBLE_DEVICES=0, 1, ...) or share of the cores,
                          dask worker tcp://host:8786 --nthreads 1 --nworkers 1
                        After Ctrl-C, workers there complete the runs that they have begun, and these count.
  --on slurm --jobs 8   Through dask-jobqueue (pip install 'd2vlm_lab[slurm]'): eight jobs, each of them a worker. What
                        a job asks for is written in ~/.config/dask/jobqueue.yaml:
                          jobqueue:
                            slurm:
                              queue: gpu
                              cores: 8
                              processes: 1
                              memory: 32GB
                              walltime: "08:00:00"
                              worker-extra-args: ["--nthreads", "1"]
                              job-extra-directives: ["--gres=gpu:1"]
                        When a job reaches its time limit, its runs are lost and are given to the other jobs.
"""

MOST_JOBS = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("studies", metavar="STUDY", nargs="+", help="a file, or a name (experiments/NAME.yaml)")
    parser.add_argument("--profile", metavar="NAME", help="size of the studies (default: quick, where there is one)")
    parser.add_argument("--only", metavar="VARIANT", action="append", default=[],
                        help="this variant, or those that match a pattern such as 'crowded*' (repeatable)")
    parser.add_argument("--limit", type=int, metavar="N", help="run at most N of the points that are not done")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", default=[],
                        help="these seeds in place of the profile's")
    parser.add_argument("--force", action="store_true", help="run again what is done; shared work is kept")
    parser.add_argument("--dry-run", action="store_true", help="print what is done, what is not and why; run nothing")
    parser.add_argument("--on", metavar="WHERE", default="", help="tcp://host:port or slurm (default: this machine)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time here; jobs to ask Slurm for")
    parser.add_argument("--per-gpu", type=int, metavar="N", default=1, help="runs at a time on each GPU: a small model "
                        "leaves most of it idle, but all N must fit into its memory (default: 1)")
    parser.add_argument("--retries", type=int, metavar="N", default=1,
                        help="how often a run that is killed is tried again (default: 1)")
    parser.add_argument("--timing", action="store_true", help="print at the end how long each slot worked and waited")
    parser.add_argument("--out", metavar="DIR", default="runs/ablations",
                        help="folder of the runs (default: runs/ablations)")


@dataclass
class PlannedStudy:
    """A study with the profile that it is run in, and its plan."""

    study: Study
    source: Path
    profile: str
    plan: Sequence[Job] = ()


def run(args: argparse.Namespace) -> int:
    if min([n for n in (args.limit, args.jobs, args.per_gpu) if n is not None]) < 1 or args.retries < 0:
        raise LabError("--limit, --jobs and --per-gpu are at least 1, --retries at least 0")
    if (args.jobs or 1) > MOST_JOBS:
        raise LabError(f"--jobs {args.jobs}: at most {MOST_JOBS} runs are made at a time")
    if any(seed not in Range(0, 2**31 - 1) for seed in args.seeds):
        raise LabError("--seeds: a seed is a whole number from 0 to 2,147,483,647")
    each_seed_once(args.seeds, "--seeds")
    check_on(args.on)
    out = Path(args.out).absolute()
    first = next(path for path in (out, *out.parents) if path.exists())
    if not first.is_dir():
        raise LabError(f"--out {args.out}: {first} is no folder")
    studies = [with_profile(name, args.profile) for name in args.studies]
    check_studies(studies, args.only)
    jobs = []
    for part in studies:
        if not args.dry_run:
            points = [point for point in points_of(part.study, part.profile, tuple(args.seeds))
                      if wanted(point, args.only)]
            make_worlds(missing_worlds(part.study, [*points, *works_of(part.study, part.profile, points)]))
        part.plan = make_plan(part.study, part.profile, out, args.seeds, jobs)
        jobs += [job for job in part.plan if job not in jobs]
    todo = choose(jobs, args.only, args.limit, args.force)
    for part in studies:
        print(describe(part, [job for job in part.plan if job.record["study"] == part.study.name], todo))
        if others := seeds_left_out(part, out):
            seeds = sorted({job.point.seed for job in part.plan if not job.shared})
            print(f"the report is about {counted(seeds)}; done runs of {counted(others)} are there, too: --seeds "
                  f"{' '.join(map(str, sorted({*seeds, *others})))}")
    if args.dry_run:
        return 0
    for job in jobs:
        if job.done and not job.shared:
            relabel(job)
        if len(studies) > 1 and not job.shared:
            job.prefix = f"{job.record['study']}: "
    if args.force:
        clear(todo)
    for part in studies:
        write_index(part.study, part.profile, out, reported(part.plan, args.only), part.source)
    failed = [(job, state) for job, state in execute(todo, args, out) if state["status"] != "done"]
    for job, state in failed:
        print(f"failed: {job.title}: {state['error']}\n        {job.folder}")
    for part in studies:
        report(part, out, args.only)
    return 1 if failed else 0


def with_profile(name: str, profile: str | None) -> PlannedStudy:
    study, source = read_study(name)
    if profile is None:
        profile = "quick" if "quick" in study.profiles else ""
    if profile and profile not in study.profiles:
        raise LabError(f"{source}: no profile {profile!r}{suggest(profile, study.profiles)}")
    return PlannedStudy(study, source, profile)


def check_studies(studies: Sequence[PlannedStudy], only: Sequence[str]) -> None:
    """No study is given twice, and each variant of --only is part of some study in the profile that is run."""
    names = [part.study.name for part in studies]
    if twice := [name for name in names if names.count(name) > 1]:
        raise LabError(f"the study {twice[0]} is given twice")
    for name in only:
        having = [part for part in studies if matching(part.study.variants, name)]
        if not having:
            raise LabError(f"--only {name}: no such variant"
                           f"{suggest(name, [v for part in studies for v in part.study.variants])}")
        if not any(matching(variants_of(part.study, part.profile), name) for part in having):
            part = having[0]
            others = [profile for profile in part.study.profiles
                      if matching(variants_of(part.study, profile), name)]
            remedy = f"; choose --profile {' or '.join(others)}" if others else "; no profile has it"
            raise LabError(f"--only {name}: the profile {part.profile} of the study {part.study.name} leaves this "
                           f"variant out{remedy}")


def execute(todo: list[Job], args: argparse.Namespace, out: Path) -> list[tuple[Job, dict]]:
    if not todo:
        return []
    begin = time.time()
    with place(args.on, args.jobs, args.per_gpu) as where:
        ended = Grid(todo, where, Path.cwd(), Progress(), args.retries, history(records(out))).run()
        if args.timing:
            print(timing(ended, where.slots(), begin, time.time()))
    return ended


def reported(plan: Sequence[Job], only: Sequence[str]) -> list[Job]:
    """What the report is about: points that are asked for, those that are done anyway, and the work they start from."""
    points = [job for job in plan if not job.shared and (job.done or wanted(job.point, only))]
    kept = {*points, *(work for job in points for work in job.starts.values())}
    return [job for job in plan if job in kept]


def seeds_left_out(part: PlannedStudy, out: Path) -> list[int]:
    """Other seeds with runs that are done and would count."""
    planned = {job.point.seed for job in part.plan if not job.shared}
    seen = {record["seed"] for record in records(out)
            if (record["kind"], record["study"], record["profile"]) == ("point", part.study.name, part.profile)}
    if not (others := sorted(seen - planned)):
        return []
    plan = make_plan(part.study, part.profile, out, others)
    return sorted({job.point.seed for job in plan if job.done and not job.shared})


def counted(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {' '.join(map(str, seeds))}"


def describe(part: PlannedStudy, plan: list[Job], todo: list[Job]) -> str:
    """The plan, one run a line."""
    now = [job for job in plan if job in todo]
    needed = [job.seconds for job in now if not job.twin]
    known = [seconds for seconds in needed if seconds]
    took = f", {duration(sum(known))} of work{' or more' if len(known) < len(needed) else ''}" if known else ""
    title = f"{part.study.name}, {part.profile}" if part.profile else part.study.name
    lines = [f"{title}: {sum(job.done for job in plan)} done, {len(now)} to do now{took}"]
    for job in plan:
        status = "done" if job.done else "to do" if job in now else "later"
        seconds = "" if job.twin and not job.done else duration(job.seconds)
        lines.append(f"  {status:6} {job.title:32} {job.record['id']}  {seconds:12}  {job.why}".rstrip())
    return "\n".join(lines)


def report(part: PlannedStudy, out: Path, only: Sequence[str]) -> None:
    """Report from the files of the runs; if that fails, the runs still count."""
    folder = out / part.study.name
    try:
        from ..report import write_report

        # Another command may have written its own index meanwhile.
        write_index(part.study, part.profile, out, reported(part.plan, only), part.source)
        print(f"report: {write_report(folder)}")
    except Exception as error:
        print(f"no report ({one_line(error)}); the runs are in {folder}")
