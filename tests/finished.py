"""A study's folder as the runner leaves it, without a run: numbers that are worked by hand, notebooks of one cell."""

import json
from pathlib import Path

import nbformat

F1 = "named_F1@0.5"
# Three seeds of two variants; the differences on the same seed are .1, .2 and .3.
SCORES = {"full": [0.5, 0.6, 0.7], "without": [0.4, 0.4, 0.4]}
T2 = 4.302652729749464  # Student's t, 97.5 %, two degrees of freedom


def write(folder: Path, name: str, value) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in value) if isinstance(value, list) else json.dumps(value)
    (folder / name).write_text(text)


def notebook(folder: Path, says: str) -> None:
    cell = nbformat.v4.new_code_cell("print('seen')", outputs=[nbformat.v4.new_output("stream", text=says)])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "notebook.ipynb")


def line(sample: str, overlap: float, interval, task="tvg") -> dict:
    return {"sample": sample, "task": task, "video": "v.mp4", "duration": 16.0, "question": "when <does> it spin?",
            "truth": "It happens in [..].", "events": [[2.0, 4.0]], "answer": f"It happens in {interval}.",
            "intervals": [interval], "F1@0.5": float(overlap >= 0.5), "mIoU": overlap}


def study(folder: Path, scores=SCORES, failed=(), **changes) -> Path:
    """A study's folder as the runner leaves it."""
    runs = []
    for variant, values in scores.items():
        for seed, value in enumerate(values):
            run = f"{variant}{seed}".ljust(12, "x")
            place, broken = folder / run, (variant, seed) in failed
            write(place, "state.json", {"status": "failed", "error": "cell 3: <no> disk"} if broken else
                  {"status": "done", "seconds": 60.0 + seed})
            notebook(place, f"{variant} {seed}")
            if not broken:
                write(place, "metrics.json", {F1: value, "cpu_seconds": 10.0 * (seed + 1), "memory_mb": 500.0,
                                              "note": "text"})
                write(place, "environment.json", {"python": "3.11", "host": "here", "commit": "abc"})
                write(place, "history.jsonl", [{"step": s, "loss_answer": 1 / s, f"eval_{F1}": value} for s in (1, 2)])
                write(place, "predictions.jsonl", [line("same", 1.0, [2.0, 4.0]), line("other", value, [2.0, 9.0])])
            runs.append({"id": run, "variant": variant, "seed": seed, "folder": run})
    tree = {"name": folder.name, "question": "Does <it> work?", "hypothesis": "Yes & no.", "notebook": "n.ipynb",
            "preset": "tiny", "variants": {name: {"method.semantics": "off"} for name in scores},
            "reference": "without", "metrics": [F1], "seeds": [0, 1, 2], "base": {"training.steps": 3},
            "profiles": {"quick": {"base": {}}},
            "paper": [{"metric": F1, "variant": "full", "value": 39.5, "source": "ICCV 2025, objective, G-F1, %"}],
            "shared": {}, "profile": "quick", "runs": runs, "shared_runs": []}
    write(folder, "study.json", tree | changes)
    return folder
