"""MVBench: accuracy of multiple choice, per task and over all questions."""

from __future__ import annotations

from collections.abc import Sequence

from ...ideas.evidence import END
from .choices import LETTERS, read_choice


def score_mvbench(tasks: dict[str, Sequence[dict]], protocol: str = "clean") -> dict:
    right = is_right if protocol == "clean" else first_word_is_right
    counts = {task: [sum(bool(right(record["pred"], record["A"])) for record in records), len(records)]
              for task, records in tasks.items()}
    correct, total = (sum(count[k] for count in counts.values()) for k in (0, 1))
    lines = [f"{task} Acc: {a / max(n, 1) * 100:.2f}%" for task, (a, n) in counts.items()]
    unparsed = {task: [i for i, record in enumerate(records) if is_right(record["pred"], record["A"]) is None]
                for task, records in tasks.items()} if protocol == "clean" else {}
    return {"protocol": protocol, "acc_dict": counts, "correct": correct, "total": total,
            "lines_sorted": sorted([*lines, f"Total Acc: {correct / max(total, 1) * 100:.2f}%"]),
            "unparsed": {task: found for task, found in unparsed.items() if found}}


def is_right(answer: str, truth: str) -> bool | None:
    """The letter an answer names against that of "(B) text"; None where it names none."""
    right = read_choice(truth, LETTERS).letters[0]
    options = [""] * len(LETTERS)
    options[right] = truth.split(")", 1)[-1].strip() or truth
    letters = read_choice(answer, options).letters
    return letters[0] == right if letters else None


def first_word_is_right(answer: str, truth: str) -> bool:
    """Published bugs: an empty answer is in every option, "(" too; a time before the letter is never right."""
    said = answer.replace(END, "").lower().split(" ")[0]
    option = truth.lower().split(" ")[0]
    return said.replace(".", "") in option or option in said
