"""Do preferences teach more where the wrong answers are the model's own? Beside the same answers without preferences.

    python experiments/own_mistakes.py [--seeds 3] [--questions 4000]

Runs that are done are not run again. Results go to experiments/results/own-mistakes.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import pandas as pd

from d2vlm_lab.cli import main as command
from d2vlm_lab.config import read_config, resolve
from d2vlm_lab.exam import as_it_is, examine, learned, trained_for, write_exam
from d2vlm_lab.report.labels import label
from d2vlm_lab.report.tables import differences, means, signed, with_half

OUT, RUNS = Path("experiments/results/own-mistakes"), Path("runs/own-mistakes")
VARIANTS = {"before": None,
            "answers": ["preference.weight=0"],  # as many steps on the same answers
            "fpo": [],
            "fpo-reference": ["preference.reference=true"]}
METRICS = ("named_F1@0.5", "named_mIoU", "dvc_F1@0.5", "dvc_caption_F1", "named_exact_text", "dvc_exact_text",
           "named_surplus", "dvc_surplus", "prefers_when", "prefers_which", "prefers_what", "prefers_how")

HEAD = """# Preferences over a model's own mistakes

The finished laptop preset is sampled (temperature 1, four answers for each of the first training questions); what the
scorer finds wrong is labelled with its factor. Then 300 more steps on these questions alone, some four passes: on the
true answers (`answers`), and on them with the model's own answers rejected (`fpo`, `fpo-reference`). Mean ± half of a
95 % interval over seeds by Student's t; differences on the same seed. Made with `python experiments/own_mistakes.py`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=4000, help="of the training half, asked to find mistakes")
    args = parser.parse_args()
    rows, made = [], {}
    for seed in range(args.seeds):
        start = RUNS / f"sft-{seed}"
        learned(read_config("tiny", [f"seed={seed}"]), start)
        made[seed] = mistakes(start / "training" / "model", seed, args.questions)
        for variant in VARIANTS:
            scores = exam(start / "training" / "model", variant, seed)
            rows += [{"variant": variant, "seed": seed, "metric": name, "value": value}
                     for name, value in scores.items()]
    write(rows, made)


def mistakes(model: Path, seed: int, questions: int) -> dict:
    """Answers of this model that the scorer finds wrong, by factor; the file lies beside its report."""
    out, world = RUNS / f"mistakes-{seed}.jsonl", resolve(read_config("tiny").data.world)
    if not out.exists():
        command(["make-preferences", str(world), "--policy", str(model), "--limit", str(questions), "--out", str(out),
                 f"seed={seed}"])
    return json.loads(out.with_suffix(".report.json").read_text(encoding="utf-8"))


def exam(start: Path, variant: str, seed: int) -> dict[str, float]:
    """A second stage from the same checkpoint, as long and fast as those of the `preference` study, then the exam."""
    out = RUNS / f"{variant}-{seed}"
    config = read_config("tiny", [
        f"seed={seed}", f"parts.start={start.absolute()}", "training.steps=300", "training.learning_rate=5e-4",
        "training.rest_learning_rate=5e-4", "preference.form=fpo",
        f"preference.file={(RUNS / f'mistakes-{seed}.jsonl').absolute()}", *(VARIANTS[variant] or [])])
    if not (out / "metrics.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        model = as_it_is(config) if VARIANTS[variant] is None else learned(config, out)
        write_exam(examine(model, config, 250), out, trained_for(out))
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def write(rows: list[dict], made: dict[int, dict]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with open(OUT / "runs.csv", "w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    study = {"metrics": METRICS, "variants": list(VARIANTS), "reference": "answers"}
    runs = pd.DataFrame(rows).assign(run="")
    lines = [HEAD, "| variant | " + " | ".join(str(label(name)) for name in METRICS) + " |",
             "|---" * (len(METRICS) + 1) + "|"]
    cells = {(row["variant"], row["metric"]): with_half(row) for row in means(runs, study).to_dict("records")}
    gains = {(row.variant, row.metric): f"{signed(row.mean)}, {signed(row.low)} to {signed(row.high)}"
             for row in differences(runs, study).itertuples() if row.n > 1}
    for variant in VARIANTS:
        lines.append(f"| {variant} | " + " | ".join(cells[variant, name] for name in METRICS) + " |")
    for variant in VARIANTS:
        if (variant, METRICS[0]) in gains:
            lines.append(f"| {variant} minus answers | " + " | ".join(gains[variant, name] for name in METRICS) + " |")
    factors = sorted({factor for report in made.values() for factor in report["factors"]})
    lines += ["", "Wrong answers of the model before, by factor:", "",
              f"| seed | questions with mistakes | {' | '.join(factors)} |", "|---" * (len(factors) + 2) + "|"]
    lines += [f"| {seed} | {report['samples']:,} | "
              + " | ".join(f"{report['factors'].get(factor, 0):,}" for factor in factors) + " |"
              for seed, report in made.items()]
    (OUT / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
