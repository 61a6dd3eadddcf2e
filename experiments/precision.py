"""Does the laptop preset learn as well in bfloat16 as in float32? Three seeds each, as a table.

    python experiments/precision.py [--seeds 3] [--jobs 1] [key=value ...]

Runs that are done are not run again. `experiments/results/precision.md` holds what this printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

from d2vlm_lab.files import json_lines

VARIANTS = {"float32": [],
            "bfloat16": ["parts.dtype=bfloat16", "training.bfloat16=true"]}  # held and computed, as the large presets
STEPS = 500
SHORT = ["data.world=runs/precision/world", "data.world_settings=[videos=600]", f"training.steps={STEPS}",
         f"training.eval_every={STEPS}", "training.save_every=250", "evaluation.samples=1000"]
SHOWN = ("named_F1@0.5", "named_mIoU", "dvc_F1@0.5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("changes", nargs="*", metavar="key=value")
    args = parser.parse_args()
    runs = [(name, seed, Path(f"runs/precision/{name}-{seed}")) for seed in range(args.seeds) for name in VARIANTS]
    with ThreadPoolExecutor(args.jobs) as pool:
        for process in pool.map(lambda run: train(args.changes, *run), runs):
            process.check_returncode()
    rows = {(name, seed): result(folder) for name, seed, folder in runs}
    columns = list(next(iter(rows.values())))
    print("| precision | seed | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|", sep="\n")
    for name in VARIANTS:
        of_seeds = [rows[name, seed] for seed in range(args.seeds)]
        for seed, row in enumerate(of_seeds):
            print(f"| {name} | {seed} | " + " | ".join(f"{row[column]:.3f}" for column in columns) + " |")
        print("| | mean ± standard deviation | " + " | ".join(spread([row[c] for row in of_seeds]) for c in columns)
              + " |")


def train(changes: list[str], name: str, seed: int, folder: Path) -> subprocess.CompletedProcess:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".log"), "w", encoding="utf-8") as log:
        return subprocess.run([sys.executable, "-m", "d2vlm_lab.cli", "train", "tiny", *SHORT, *VARIANTS[name],
                               *changes, f"seed={seed}", "--out", str(folder)], stdout=log, stderr=log)


def result(folder: Path) -> dict[str, float]:
    """The scores on all held-out questions, the mean loss of the last 100 steps, and the CPU minutes of training."""
    history = json_lines(folder / "history.jsonl")
    scores = next(line for line in reversed(history) if "eval_named_F1@0.5" in line)
    losses = [line["loss"] for line in history if "loss" in line]
    return {**{name: scores[f"eval_{name}"] for name in SHOWN}, "loss": mean(losses[-4:]),
            "CPU minutes": history[-1]["cpu_seconds"] / 60}


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else ""


if __name__ == "__main__":
    main()
