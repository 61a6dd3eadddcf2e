"""`d2vlm-lab bench NAME`: run one file of experiments/benchmarks, print a table or one JSON object."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

from ..config import ROOT
from ..settings import ConfigError, suggest

FOLDER = ROOT / "experiments" / "benchmarks"


def configure(parser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(names())}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args) -> None:
    if args.name not in names():
        raise ConfigError(f"no benchmark {args.name!r}{suggest(args.name, names())}")
    sys.path.insert(0, str(ROOT))
    result = importlib.import_module(f"experiments.benchmarks.{args.name.replace('-', '_')}").run()
    if args.json:
        print(json.dumps(result))
        return
    for section in ("ratios", "seconds", "memory_mb"):
        for name, value in result.get(section, {}).items():
            print(f"{section:10} {name:36} {value:10.4g}")
    print("machine    " + ", ".join(f"{key} {value}" for key, value in result["machine"].items() if value))


def names() -> list[str]:
    files = [path for path in FOLDER.glob("*.py") if "def run(" in path.read_text(encoding="utf-8")]
    return sorted(path.stem.replace("_", "-") for path in files)


def machine() -> dict:
    """What a figure was measured on."""
    import torch

    return {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "torch": torch.__version__, "python": platform.python_version()}


def median_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of `repeats` calls after one to warm up."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(repeats))


def medians_in_turn(works: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median wall time of each, one call of each in turn, so that what else the machine does falls on all alike."""
    seconds = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """Most MB of tensors that a call holds at once, beyond those that exist after `before`, which is not measured."""
    import torch

    before()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - start) / 2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held, default=0) / 2**20


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
