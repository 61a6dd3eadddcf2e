"""What a file of preferences holds: kinds of rejected answers, how far wrong intervals lie, how lengths differ."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...data.pairs import PreferencePair
from ...ideas.evidence import overlap
from ...ideas.rejected import FACTORS

NAMED = 20  # samples that cannot be used are counted, and so many of them are named
UNITS = ["events", "seconds", "words"]  # of the length of a rejected answer minus that of its chosen one
QUANTILES = {"p5": 0.05, "median": 0.5, "p95": 0.95}


class Report:
    """Collects what is written, one pair at a time."""

    def __init__(self):
        self.samples, self.rows, self.bad = 0, [], []

    def leave_out(self, sample: str, message: str) -> None:
        self.bad.append(message)

    def add(self, pair: PreferencePair) -> None:
        self.samples += 1
        for rejected in pair.rejected:
            row = {"factor": rejected.factor, "kind": rejected.kind, "words": _words(rejected) - _words(pair.chosen),
                   "events": len(rejected.events) - len(pair.chosen.events)}
            if rejected.factor == "when" and row["events"] == 0 and rejected.events:
                wrong, true = rejected.events[rejected.event], pair.chosen.events[rejected.event]
                row["overlap"] = overlap(wrong.interval, true.interval)
                row["seconds"] = round((wrong.end - wrong.start) - (true.end - true.start), 1)
            self.rows.append(row)

    def summary(self) -> dict:
        """Numbers of samples and answers; of overlaps by tenths; the spread of each difference in length."""
        table = pd.DataFrame(self.rows, columns=["factor", "kind", "overlap", *UNITS])
        tenths = (table.overlap.dropna() * 10).astype(int).clip(upper=9)
        lengths = table.melt(["factor"], UNITS, "unit").dropna().groupby(["factor", "unit"]).value
        return {
            "samples": self.samples, "rejected": len(table), "left_out": len(self.bad), "why": self.bad[:NAMED],
            "factors": {factor: int((table.factor == factor).sum()) for factor in FACTORS},
            "kinds": {"/".join(kind): n for kind, n in table.groupby(["factor", "kind"]).size().items()},
            "overlap": {kind: np.bincount(group, minlength=10).tolist() for kind, group in tenths.groupby(table.kind)},
            "length_difference": {"/".join(name): _spread(values.astype(float)) for name, values in lengths}}


def table(summary: dict) -> str:
    """The summary for people."""
    counts = pd.Series(summary["factors"] | summary["kinds"], name="number").to_frame()
    counts["share"] = counts.number / max(1, summary["rejected"])
    paragraphs = [
        f"{summary['samples']:,} chosen answers, {summary['rejected']:,} rejected, {summary['left_out']:,} left out",
        counts.to_string(formatters={"number": "{:,}".format, "share": "{:.1%}".format})]
    if summary["overlap"]:
        overlaps = pd.DataFrame(summary["overlap"], index=[f"from 0.{tenth}" for tenth in range(10)]).T
        paragraphs.append("Wrong intervals by their overlap with the true one (intersection over union):\n"
                          + overlaps.to_string())
    if summary["length_difference"]:
        lengths = pd.DataFrame(summary["length_difference"]).T
        paragraphs.append("Length of a rejected answer minus length of its chosen one:\n"
                          + lengths.to_string(float_format="{:.2f}".format))
    return "\n\n".join(paragraphs)


def _spread(values: pd.Series) -> dict[str, float]:
    quantiles = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf").tolist()
    return {"mean": round(values.mean(), 4), **dict(zip(QUANTILES, quantiles))}


def _words(answer) -> int:
    return len("".join(piece if isinstance(piece, str) else " " for piece in answer.answer).split())
