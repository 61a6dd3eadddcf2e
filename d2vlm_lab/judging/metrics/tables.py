"""Scores as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from .etbench import Scores

HEADLINES = ("Acc", "Exact", "mIoU", "F1", "F1_matched", "F1_evi", "mRec", "mRec_evi", "METEOR", "CIDEr", "SentSim")


def report(scores: Scores) -> list[str]:
    """A row per task and source, then the averages in the official order."""
    columns = [name for name in HEADLINES if any(name in row.values for row in scores.rows)]
    rows = [[row.task, row.source, row.values["Total"], row.values["Failed"],
             *(percent(row.values[name]) if name in row.values else "" for name in columns)] for row in scores.rows]
    averages, merged = ([[name, percent(value)] for name, value in means.items()]
                        for means in (scores.averages, scores.merged))
    return [f"E.T. Bench, protocol {scores.protocol}, x 100", "",
            *table([["task", "source", "total", "failed", *columns], *rows]), "",
            "averages over sources", *table(averages), "",
            "averages over tasks", *table(merged)]


def comparison(all_scores: dict[str, Scores]) -> list[str]:
    """The protocols side by side, and how far apart they are."""
    rows = [["", *all_scores, "apart"]]
    for column in next(iter(all_scores.values())).averages:
        values = [scores.averages[column] for scores in all_scores.values()]
        known = [value for value in values if value is not None]
        if known:
            rows.append([column, *map(percent, values), percent(max(known) - min(known))])
    failed = [sum(row.values["Failed"] for row in scores.rows) for scores in all_scores.values()]
    notes = dict.fromkeys(note for scores in all_scores.values() for note in scores.notes)
    return ["E.T. Bench, the same answers under each protocol, x 100", "",
            *table([*rows, ["not understood", *failed, ""]]), *notes]


def table(rows: Sequence[Sequence]) -> list[str]:
    """Text columns to the left, numbers to the right."""
    columns = []
    for column in zip(*rows):
        cells = [str(cell) for cell in column]
        width, is_text = max(map(len, cells)), not any(cell[:1].isdigit() for cell in cells)
        columns.append([cell.ljust(width) if is_text else cell.rjust(width) for cell in cells])
    return ["  ".join(row).rstrip() for row in zip(*columns)]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
