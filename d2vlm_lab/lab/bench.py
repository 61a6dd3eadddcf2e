"""`d2vlm-lab bench NAME`: run one file of experiments/benchmarks and print a table or one JSON object."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch

from ..config import ROOT
from ..errors import LabError
from ..settings import suggest

FOLDER = ROOT / "experiments" / "benchmarks"


def configure(parser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(names())}")
    parser.add_argument("--out", metavar="PATH", type=Path, help="where it writes results, if it does: the figure of "
                        "cost, the folder of gpu (default: in experiments/results)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args) -> None:
    if args.name not in names():
        raise LabError(f"no benchmark {args.name!r}{suggest(args.name, names())}")
    sys.path.insert(0, str(ROOT))
    benchmark = importlib.import_module(f"experiments.benchmarks.{args.name.replace('-', '_')}")
    if args.out and not inspect.signature(benchmark.run).parameters:
        raise LabError(f"bench {args.name} writes no results: leave out --out")
    result = benchmark.run(args.out) if args.out else benchmark.run()
    if args.json:
        print(json.dumps(result))
        return
    for section in ("ratios", "seconds", "memory_mb", "counts"):
        for name, value in result.get(section, {}).items():
            print(f"{section:10} {name:56} {value:10.4g}")
    for name, note in result.get("notes", {}).items():
        print(f"{'note':10} {name}: {note}")
    print("machine    " + ", ".join(f"{key} {value}" for key, value in result["machine"].items() if value))


def names() -> list[str]:
    files = [path for path in FOLDER.glob("*.py") if "def run(" in path.read_text(encoding="utf-8")]
    return sorted(path.stem.replace("_", "-") for path in files)


def machine() -> dict:
    """What a figure was measured on."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "torch": torch.__version__, "python": platform.python_version()}


def median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median time of `repeats` calls on the clock, after one to warm up."""
    return medians_in_turn({"work": work}, repeats)["work"]


def medians_in_turn(works: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median time of each, called in turn, so that other work on the machine slows all of them alike."""
    seconds = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:  # the first turn warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(work: Callable[[], object], before: Callable[[], object] = lambda: None,
                device: torch.device | str = "cpu") -> float:
    """Most MB of tensors that a call holds at once on the device that it works on, beyond those that exist after
    `before`, which is not measured.
    """
    before()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - start) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns()))
    return max(held, default=0) / 2**20


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
