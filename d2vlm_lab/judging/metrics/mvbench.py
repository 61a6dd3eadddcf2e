"""MVBench: accuracy of multiple choice, per task and over all questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ideas.evidence import END
from ...shapes import shown
from .reading import LETTERS, plain, read_choice
from .records import Checked, Entry, check, first_problem, is_text


def score_mvbench(tasks: dict[str, Sequence[dict]], protocol: str = "clean") -> dict:
    clean = protocol == "clean"
    right = {task: [is_right(record["pred"], record["A"], record.get("candidates", ())) if clean else
                    first_word_is_right(record["pred"], record["A"]) for record in records]
             for task, records in tasks.items()}
    counts = {task: [sum(map(bool, answers)), len(answers)] for task, answers in right.items()}
    correct, total = (sum(count[k] for count in counts.values()) for k in (0, 1))
    lines = [f"{task} Acc: {a / max(n, 1) * 100:.2f}%" for task, (a, n) in counts.items()]
    unparsed = {task: [i for i, answer in enumerate(answers) if answer is None] for task, answers in right.items()}
    return {"protocol": protocol, "acc_dict": counts, "correct": correct, "total": total,
            "lines_sorted": sorted([*lines, f"Total Acc: {correct / max(total, 1) * 100:.2f}%"]),
            "unparsed": {task: indices for task, indices in unparsed.items() if indices}}


def is_right(answer: str, truth: str, candidates: Sequence[str] = ()) -> bool | None:
    """Whether the letter that an answer names, or whose text it quotes, is that of "(B) text"; None if it names none.

    If the other candidates are unknown, an answer might quote several, so only the right text alone counts as quoted.
    """
    right = read_choice(truth, LETTERS).letters[0]
    choice = read_choice(answer, candidates or [""] * len(LETTERS))
    if not candidates and plain(choice.rest) == plain(truth.split(")", 1)[-1]) != "":
        return True
    return choice.letters[0] == right if choice.letters else None


def first_word_is_right(answer: str, truth: str) -> bool:
    """Published bugs: an empty answer or "(" is part of every option; a time before the letter is never right."""
    word = answer.replace(END, "").lower().split(" ")[0]
    option = truth.lower().split(" ")[0]
    return word.replace(".", "") in option or option in word


def check_mvbench(entries: Sequence[Entry], lenient: bool) -> Checked:
    """Records with the name of their `file`, without its ending, and an `idx` within it."""
    return check(entries, mvbench_problem, lenient, ("file", "idx"), _failing)


def mvbench_problem(record) -> str | None:
    return first_problem(record, _requirements)


def _failing(record: dict, number: int) -> dict:
    """A record that fails, to replace a malformed one."""
    return record | {"pred": "?", "A": "(A) .", "video": f"malformed {number}", "candidates": []}


def _requirements(record: dict) -> Iterator[tuple[bool, str]]:
    for name in ("pred", *(name for name in ("video",) if name in record)):
        yield is_text(record, name)
    truth = record.get("A")
    yield (isinstance(truth, str) and truth[:1] == "(" and truth[1:2].lower() in LETTERS and
           truth[1:2] != "" and truth[3:].strip() != "" and len(truth) < 10_000,
           f'A is {shown(truth)}; it must be the right option, as "(B) text"')
    found, right = record.get("candidates", []), LETTERS.index(truth[1].lower())
    yield (isinstance(found, list) and all(isinstance(text, str) for text in found)
           and (not found or right < len(found) <= len(LETTERS)),
           f"candidates is {shown(found)}; it must be a list of all options as texts")
