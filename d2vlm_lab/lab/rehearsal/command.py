"""`d2vlm-lab rehearse PRESET`: the whole life of a run at a size that fits any machine, before the real one starts."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ...config import RunConfig, read_config, resolve
from ...errors import LabError
from ...files import peak_megabytes
from ...settings import flatten, override
from .data import write_data
from .miniature import has_adapter, write_parts
from .stages import NEEDED, STAGES, Rehearsal

STEPS = 6  # of training
WORLD, FILES = {"data.world", "data.world_settings"}, {"data.train", "data.val", "data.videos"}  # belong together
PATHS = ("data.world", "data.train", "data.val", "data.videos", "parts.start", "parts.language", "parts.frames",
         "preference.file", "reward.file")
LONG = 700  # frames of the videos for a rehearsal at full size on a GPU, of which 2 are a second


@dataclass(frozen=True)
class Done:
    """The result of a stage."""

    stage: str
    ok: bool
    seconds: float
    peak_mb: float
    note: str  # what the stage saw, or the error

    def __str__(self) -> str:
        return (f"{self.stage:16} {'ok' if self.ok else 'ERROR':5} {self.seconds:7.1f} s {self.peak_mb:9,.0f} MB  "
                f"{self.note}")


def rehearse(preset: str, changes: Sequence[str] = (), full: bool = False, keep: Path | None = None,
             report: Callable[[Done], None] = print, only: Sequence[str] = tuple(STAGES)) -> list[Done]:
    """Every stage in turn, in a folder of its own that is removed unless it is `keep`. `only` names some stages."""
    config = with_absolute_paths(read_config(preset, list(changes)))
    with contextlib.ExitStack() as stack:
        folder = Path(keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-"))).absolute()
        (folder / "data" / "cache").mkdir(parents=True, exist_ok=True)  # so that features are kept here, too
        stack.enter_context(contextlib.chdir(folder))
        log = stack.enter_context(open(folder / "rehearsal.log", "w", encoding="utf-8"))
        results, made = [], {}

        def prepare(_) -> str:
            made["rehearsal"] = miniature(config, folder, {change.split("=")[0] for change in changes}, full)
            parts = made["rehearsal"].config.parts
            return f"{preset} at {'full' if full else 'small'} size: {parts.start or parts.language}"

        for name, stage in {"prepare": prepare, **{name: STAGES[name] for name in only}}.items():
            done = attempt(name, lambda stage=stage: stage(made.get("rehearsal")), log)
            results.append(done)
            report(done)
            if not done.ok and name in {"prepare", *NEEDED}:
                break
    return results


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The config whose files and folders are found from any working folder: a rehearsal works in one of its own."""
    values = flatten(config)
    return override(config, {name: os.path.abspath(values[name]) for name in PATHS
                             if values[name] and os.path.exists(values[name])})


def miniature(config: RunConfig, folder: Path, given: set[str], full: bool) -> Rehearsal:
    """Parts and data in `folder`, and the config of a run on them; what the user has `given` stays as it is.

    A world that the user names and that is not there yet would be made with the few videos of a rehearsal, and the real
    run would then train on it. So the world of the rehearsal takes its place. And annotations go with their own videos.
    """
    there = "data.world" in given and (resolve(config.data.world) / "world.json").exists()
    given = given | WORLD if there else given - WORLD
    given = given | FILES if "data.train" in given else given - FILES
    world, data = write_data(config.data, folder, LONG if full and torch.cuda.is_available() else None)
    texts = [" ".join([sample.question, *(piece for piece in sample.answer if isinstance(piece, str))])
             for sample in world.samples("train")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # the same small model in every rehearsal
        parts = write_parts(config, folder, texts, full)
    settings = data | parts
    settings |= {"training.steps": STEPS, "training.save_every": 2, "training.eval_every": 2, "training.log_every": 1,
                 "evaluation.samples": 2, "evaluation.batch": 4, "evaluation.max_new_tokens": 12}
    if not full:
        if not has_adapter(parts.get("parts.start")):  # one that is there keeps its rank
            settings |= {"adapter.rank": min(4, config.adapter.rank)}
        settings |= {"data.max_frames": min(32, config.data.max_frames),
                     "training.videos": min(2, config.training.videos),
                     "training.accumulate": min(2, config.training.accumulate),
                     "training.rest_learning_rate": 1e-2, "training.learning_rate": 1e-2}
    return Rehearsal(override(config, {key: value for key, value in settings.items() if key not in given}), folder,
                     world)


def attempt(name: str, stage: Callable[[], str], log) -> Done:
    """Try a stage. Whatever it prints, and the trace of an error, goes to the log."""
    started = time.perf_counter()
    with peak_memory() as peak, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        print(f"--- {name}", flush=True)
        try:
            ok, note = True, stage()
        except Exception as error:  # a rehearsal reports every error as its result
            traceback.print_exc()
            ok, note = False, f"{'' if isinstance(error, LabError) else type(error).__name__ + ': '}{error}"
    return Done(name, ok, round(time.perf_counter() - started, 2), round(peak(), 1), " ".join(note.split())[:300])


@contextlib.contextmanager
def peak_memory() -> Iterator[Callable[[], float]]:
    """The most memory since here: of the GPU where there is one, else of this process. In MB, once the block is left.

    Where Linux cannot forget the peak of an earlier stage, that one is given.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield lambda: torch.cuda.max_memory_allocated() / 2**20
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    yield peak_megabytes


def configure(parser) -> None:
    parser.add_argument("preset", help="a preset by name (paper, qwen, ...) or a YAML file")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="settings to change: method.style=factorized")
    parser.add_argument("--full", action="store_true", help="random weights of the published sizes, not small ones")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="a new folder that is kept, with a log of everything")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each stage")


def run(args) -> int:
    def report(done: Done) -> None:
        print(json.dumps(asdict(done)) if args.json else done, flush=True)

    if args.keep is not None:
        args.keep.mkdir(parents=True)
    results = rehearse(args.preset, args.changes, args.full, args.keep, report)
    return 0 if all(done.ok for done in results) and len(results) == len(STAGES) + 1 else 1
