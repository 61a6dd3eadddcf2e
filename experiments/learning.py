"""Does the laptop preset learn? Seeds against trivial answers and against times as text: table, curves, every number.

    python experiments/learning.py [--seeds 3] [--jobs 2] [key=value ...]

Runs that are done are not run again. Results go to experiments/results/learning.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from d2vlm_lab.config import RunConfig, read_config
from d2vlm_lab.data.batch import collate, to_seconds
from d2vlm_lab.data.groups import encode_question
from d2vlm_lab.data.splits import held_out_questions, reader, splits
from d2vlm_lab.judging.metrics.temporal import interval_f1_miou
from d2vlm_lab.judging.scores import judge
from d2vlm_lab.model.checkpoint import load
from d2vlm_lab.model.decoding import steps
from d2vlm_lab.model.start import start

OUT = Path("experiments/results/learning")
VARIANTS = {"evidence tokens": [],
            "times as text": ["method.style=digits", "adapter.embeddings=all"]}  # the base never saw a digit
COLORS = {"evidence tokens": "#0072B2", "times as text": "#D55E00"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("changes", nargs="*", metavar="key=value")
    args = parser.parse_args()
    runs = [(name, seed, Path(f"runs/learning/{args.preset}-{name.split()[0]}-{seed}"))
            for seed in range(args.seeds) for name in VARIANTS]
    with ThreadPoolExecutor(args.jobs) as pool:
        for process in pool.map(lambda run: train(args, *run), runs):
            process.check_returncode()
    config = read_config(args.preset, args.changes)
    rows = [{"variant": name, "seed": seed, **score(folder, config)} for name, seed, folder in runs]
    rows.append({"variant": "base, before", "seed": 0, **base_score(config)})
    write(rows, args.preset)
    draw(runs, config, args.preset)


def train(args, name: str, seed: int, folder: Path) -> subprocess.CompletedProcess:
    changes = [*args.changes, *VARIANTS[name], f"seed={seed}"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".log"), "w", encoding="utf-8") as log:
        return subprocess.run([sys.executable, "-m", "d2vlm_lab.cli", "train", args.preset, *changes, "--out",
                               str(folder)], stdout=log, stderr=log)


def score(folder: Path, config: RunConfig) -> dict:
    """All held-out questions of the wanted tasks, and what training took."""
    model = load(folder / "model")
    _, val = splits(config)
    wanted = replace(config, evaluation=replace(config.evaluation, samples=10**6))
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    found = judge(model, held_out_questions(val, wanted), reader(config, model.frames, val.videos), config)
    return found | {"minutes": round(history[-1]["seconds"] / 60, 1), "cpu_minutes": round(
        history[-1]["cpu_seconds"] / 60, 1)}


def base_score(config: RunConfig) -> dict:
    """Where untrained heads point when the base has read the question: it would not say `<evi>` by itself."""
    model = start(config)
    _, val = splits(config)
    samples = [s for s in val.samples if s.task in ("tvg", "gvq") and len(s.events) == 1]
    read, found = reader(config, model.frames, val.videos), []
    with torch.no_grad():
        for sample in samples:
            clip = read(sample)
            prompt = encode_question(sample, clip, model.tokenizer, model.prompt, model.method)
            batch = collate([clip], [[prompt]], model.tokenizer, model.prompt)
            first = next(steps(model, batch, lambda logits, rows, step: logits.argmax(-1), 1))
            found.append([to_seconds(first.intervals[0].tolist(), clip.timestamps)])
    scores = interval_f1_miou(found, [[s.events[0].interval] for s in samples], (0.5,))
    return {"named_F1@0.5": round(scores["F1@0.5"], 4), "named_mIoU": round(scores["mIoU"], 4)}


def write(rows: list[dict], preset: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(key for row in rows for key in row))
    with open(OUT / f"{preset}.csv", "w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, names)
        table.writeheader()
        table.writerows(rows)
    shown = ["named_F1@0.5", "named_mIoU", "tvg_F1@0.5", "gvq_F1@0.5", "dvc_F1@0.5", "named_exact_text",
             "dvc_exact_text", "minutes", "cpu_minutes"]
    lines = ["| variant | seed | " + " | ".join(shown) + " |", "|---" * (len(shown) + 2) + "|"]
    lines += [f"| {row['variant']} | {row['seed']} | " + " | ".join(str(row.get(name, "")) for name in shown) + " |"
              for row in rows]
    (OUT / f"{preset}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw(runs: list[tuple], config: RunConfig, preset: str) -> None:
    """Score against minutes of training, a line for each seed."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    baselines = splits(config)[1].videos.parent / "baselines.json"
    guess = json.loads(baselines.read_text())["random event (knows all, not which)"] if baselines.exists() else None
    for axis, key in zip(figure.subplots(1, 2), ("named_F1@0.5", "named_mIoU")):
        for name, _, folder in runs:
            history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
            points = np.array([(h["cpu_seconds"] / 60, h[f"eval_{key}"]) for h in history if f"eval_{key}" in h])
            axis.plot(*points.T, color=COLORS[name], marker=".", lw=1.2, label=name)
        if guess:
            axis.axhline(guess[key.split("_")[1]], color="#555555", ls=":", label="knows all events, picks one")
        axis.set(xlabel="CPU minutes, evaluation included", ylabel=key.removeprefix("named_"), ylim=(0, 1))
        axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(*zip(*{label: (handle, label) for handle, label in zip(handles, labels)}.values()), fontsize=8)
    figure.savefig(OUT / f"{preset}.png", dpi=150)


if __name__ == "__main__":
    main()
