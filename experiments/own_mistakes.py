"""Preferences over the model's own mistakes, compared with training on the same answers without preferences.

    python experiments/own_mistakes.py [--seeds 3] [--questions 4000]

Runs that are done are not run again. Results go to experiments/results/own-mistakes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from d2vlm_lab.cli import main as command
from d2vlm_lab.config import read_config, resolve
from d2vlm_lab.files import atomic_path
from d2vlm_lab.judging.exam import examine, write_exam
from d2vlm_lab.lab.report import Tables
from d2vlm_lab.lab.report.text import against, numbers, table
from d2vlm_lab.lab.run import starting_model, trained_model, training_time
from d2vlm_lab.lab.study.study import make_point, read_study
from d2vlm_lab.settings import override

OUT, RUNS = Path("experiments/results/own-mistakes"), Path("runs/own-mistakes")
VARIANTS = {"before": None,
            "answers": {"preference.weight": 0.0},  # as many steps on the same answers
            "fpo": {},
            "fpo-reference": {"preference.reference": True}}
METRICS = ("named_F1@0.5", "named_mIoU", "dvc_F1@0.5", "dvc_caption_F1", "named_exact_text", "dvc_exact_text",
           "named_surplus", "dvc_surplus", "prefers_when", "prefers_which", "prefers_what", "prefers_how")

HEAD = """# Preferences over a model's own mistakes

We sample answers from the trained laptop preset (temperature 1, four answers for each of the first training questions).
Each answer that the scorer finds wrong is labelled with the factor in which it is wrong. Then training goes on for 300
more steps on these questions alone, which is about four passes over them: with the true answers only (`answers`), and
with the true answers as chosen and the model's wrong answers as rejected ones (`fpo`, `fpo-reference`).

The first table gives the mean ± half of a 95 % interval over seeds (Student's t). The second table gives differences on
the same seed; they are bold where the interval leaves out zero, which we call a clear difference. Made with
`python experiments/own_mistakes.py`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=4000, help="of the training half, asked to find mistakes")
    args = parser.parse_args()
    rows, made = [], {}
    for seed in range(args.seeds):
        start = RUNS / f"sft-{seed}"
        trained_model(read_config("tiny", [f"seed={seed}"]), start)
        made[seed] = mistakes(start / "training" / "model", seed, args.questions)
        for variant in VARIANTS:
            scores = exam(start / "training" / "model", variant, seed)
            rows += [{"variant": variant, "seed": seed, "run": "", "metric": name, "value": value}
                     for name, value in scores.items()]
    write(pd.DataFrame(rows), made)


def mistakes(model: Path, seed: int, questions: int) -> dict:
    """Answers of this model that the scorer finds wrong, by factor; the file lies beside its report."""
    out, world = RUNS / f"mistakes-{seed}.jsonl", resolve(read_config("tiny").data.world)
    if not out.exists():
        command(["make-preferences", str(world), "--policy", str(model), "--limit", str(questions), "--out", str(out),
                 f"seed={seed}"])
    return json.loads(out.with_suffix(".report.json").read_text(encoding="utf-8"))


def exam(start: Path, variant: str, seed: int) -> dict[str, float]:
    """The second stage of the `preference` study from the same checkpoint, with the model's mistakes, then the exam."""
    out, (study, _) = RUNS / f"{variant}-{seed}", read_study("preference")
    config = override(make_point(study, "full", "fpo", seed).config, {
        "parts.start": str(start.absolute()), "preference.file": str((RUNS / f"mistakes-{seed}.jsonl").absolute()),
        **(VARIANTS[variant] or {})})
    if not (out / "metrics.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        model = starting_model(config) if VARIANTS[variant] is None else trained_model(config, out)
        write_exam(examine(model, config, 250), out, training_time(out))
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def write(runs: pd.DataFrame, made: dict[int, dict]) -> None:
    study = {"metrics": METRICS, "variants": VARIANTS, "reference": "answers"}
    tables = Tables(study, runs)
    found = {seed: {"questions with mistakes": report["samples"], **report["factors"]} for seed, report in made.items()}
    OUT.mkdir(parents=True, exist_ok=True)
    with atomic_path(OUT / "runs.csv") as partial:
        runs.drop(columns="run").to_csv(partial, index=False)
    with atomic_path(OUT / "README.md") as partial:
        partial.write_text("\n\n".join([
            HEAD, numbers(tables), "## Against answers", against(tables),
            "## Wrong answers of the model before, by factor",
            table(list(found), list(found[0]), lambda name, seed: f"{found[seed][name]:,}", str, "seed {}".format),
        ]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
