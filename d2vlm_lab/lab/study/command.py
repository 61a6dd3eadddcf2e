"""`d2vlm-lab ablate`: a study from its file to its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import LabError
from ...settings import suggest
from .executors import place
from .plan import Job, make_plan, relabel, write_index
from .point import one_line
from .progress import Progress, duration
from .runner import Grid, choose, clear, time_left
from .shared import make_worlds, missing_worlds
from .study import points_of, read_study

HELP = """
Every point of the study (a variant with a seed) is one run of the study's notebook, in a process and a folder of its
own: OUT/STUDY/RUN. A run's name is a hash of the notebook, the settings, the library's source and the data, so what is
done is never done again, and what has changed is. Whatever fails or is killed, the others finish; the same command
completes the rest. The exit code is 0 when every wanted point is done, 1 when one failed, 2 when the study is wrong.

where runs are made:
  (nothing)             here: one run for each GPU, or one for each core that has 2 GB of memory; --jobs N for another
                        number. The cores are shared out evenly.
  --on tcp://host:8786  on a Dask cluster whose machines see this folder under the same path. On one of them
                          dask scheduler
                        and on each, once for each GPU (CUDA_VISIBLE_DEVICES=0, 1, ...) or share of the cores,
                          dask worker tcp://host:8786 --nthreads 1 --nworkers 1
  --on slurm --jobs 8   through dask-jobqueue (pip install 'd2vlm_lab[slurm]'): eight jobs, each a worker. What a job
                        asks for stands in ~/.config/dask/jobqueue.yaml:
                          jobqueue:
                            slurm:
                              queue: gpu
                              cores: 8
                              processes: 1
                              memory: 32GB
                              walltime: "08:00:00"
                              worker-extra-args: ["--nthreads", "1"]
                              job-extra-directives: ["--gres=gpu:1"]
                        A job that reaches its time limit is lost work: its runs are given to the others.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument("study", metavar="FILE", help="a study by file or by name (experiments/NAME.yaml)")
    parser.add_argument("--profile", metavar="NAME", help="size of the study (default: quick, if it has one)")
    parser.add_argument("--only", metavar="VARIANT", action="append", default=[], help="this variant (repeatable)")
    parser.add_argument("--limit", type=int, metavar="N", help="run at most N of the points that are to do")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="S", default=[], help="instead of the profile's")
    parser.add_argument("--force", action="store_true", help="run again what is done; shared work is kept")
    parser.add_argument("--dry-run", action="store_true", help="print what is done, what is to do and why; run nothing")
    parser.add_argument("--on", metavar="WHERE", default="", help="tcp://host:port or slurm (default: this machine)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time here; jobs to ask Slurm for")
    parser.add_argument("--retries", type=int, metavar="N", default=1, help="of a run that was killed (default: 1)")
    parser.add_argument("--out", metavar="DIR", default="runs/ablations", help="default: runs/ablations")


def run(args: argparse.Namespace) -> int:
    study, source = read_study(args.study)
    profile = args.profile if args.profile is not None else "quick" if "quick" in study.profiles else ""
    if profile and profile not in study.profiles:
        raise LabError(f"{source}: no profile {profile!r}{suggest(profile, study.profiles)}")
    for name in args.only:
        if name not in study.variants:
            raise LabError(f"--only {name}: no such variant{suggest(name, study.variants)}")
    if min([n for n in (args.limit, args.jobs) if n is not None], default=1) < 1 or args.retries < 0:
        raise LabError("--limit and --jobs are at least 1, --retries at least 0")
    out, cwd = Path(args.out).absolute(), Path.cwd()
    if not args.dry_run:
        make_worlds(missing_worlds(study, points_of(study, profile, tuple(args.seeds))))
    plan = make_plan(study, profile, out, args.seeds)
    todo = choose(plan, args.only, args.limit, args.force)
    print(describe(f"{study.name}{f', {profile}' if profile else ''}", plan, todo))
    if args.dry_run:
        return 0
    for job in plan:
        if job.done and not job.shared:
            relabel(job)
    clear([job for job in todo if args.force])
    write_index(study, profile, out, plan, source)
    ended = execute(todo, args, cwd) if todo else []
    failed = [(job, state) for job, state in ended if state["status"] != "done"]
    for job, state in failed:
        print(f"failed: {job.title}: {state['error']}\n        {job.folder}")
    report(out / study.name)
    return 1 if failed else 0


def execute(todo: list[Job], args: argparse.Namespace, cwd: Path) -> list[tuple[Job, dict]]:
    with place(args.on, args.jobs) as where:
        grid = Grid(todo, where.executor, where.work, cwd, args.retries)
        return grid.run(Progress(lambda grid: time_left(grid, where.slots())))


def describe(title: str, plan: list[Job], todo: list[Job]) -> str:
    """The plan, one run a line."""
    now = {id(job) for job in todo}
    known = [job.seconds for job in todo if job.seconds]
    took = f", {duration(sum(known))} of work{' or more' if len(known) < len(todo) else ''}" if known else ""
    lines = [f"{title}: {sum(job.done for job in plan)} done, {len(todo)} to do now{took}"]
    for job in plan:
        status = "done" if job.done else "to do" if id(job) in now else "later"
        lines.append(f"  {status:6} {job.title:32} {job.record['id']}  {duration(job.seconds):12}  {job.why}".rstrip())
    return "\n".join(lines)


def report(folder: Path) -> None:
    """From the files of the runs; a report that cannot be made takes nothing from runs that were."""
    try:
        from ..report import write_report

        print(f"report: {write_report(folder)}")
    except Exception as error:
        print(f"no report ({one_line(error)}); the runs are in {folder}")
