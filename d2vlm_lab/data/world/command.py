"""`d2vlm-lab make-world`."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import fields
from typing import Annotated

from ...errors import LabError
from ...settings import override
from ...shapes import Range, fit
from . import load
from .baselines import table
from .config import DIALS, PRESETS, WorldConfig, from_preset
from .make import SPLITS, make_world


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the new world")
    parser.add_argument("--preset", default="small", metavar="NAME", help=f"{', '.join(PRESETS)} (default: small)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of every random choice (default: 0)")
    parser.add_argument("--videos", type=int, metavar="N", help="training videos; val and test get a tenth of that")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that render (default: one for each core)")
    parser.add_argument("--overwrite", action="store_true", help="replace a world made with other settings")
    parser.add_argument("settings", nargs="*", metavar="key=value",
                        help="any dial or knob, for example crowded=0.5 clutter=4")
    knobs = "\n".join(f"  {f.name}={_yaml(f.default)}" for f in fields(WorldConfig))
    dials = "\n".join(f"  {dial}=0.5: half of the way to {', '.join(f'{k}={_yaml(v)}' for k, v in ends.items())}"
                      for dial, ends in DIALS.items())
    parser.epilog = ("dials, from 0 to 1; they are turned in the order in which you give them, before knobs are set:\n"
                     f"{dials}\n\nknobs, with the values of `small`:\n{knobs}")


def run(args: argparse.Namespace) -> None:
    start = time.perf_counter()
    flags = {name: getattr(args, name) for name in ("seed", "videos") if getattr(args, name) is not None}
    config = override(from_preset(args.preset, args.settings), flags)
    if not args.out.strip():
        raise LabError("--out: name the folder of the new world")
    fit(args.workers, Annotated[int, Range(1, 256)] | None, "--workers")
    world = load(make_world(args.out, config, args.workers, args.overwrite))
    for split in SPLITS:
        samples = world.samples(split)
        tasks = ", ".join(f"{task} {n}" for task, n in sorted(Counter(s.task for s in samples).items()))
        print(f"{split}: {len(world.truth(split))} videos, {len(samples)} questions ({tasks})")
    print(table(world.baselines))
    print(f"{args.out}: ready after {time.perf_counter() - start:.0f} s")


def _yaml(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)
