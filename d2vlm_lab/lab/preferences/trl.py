"""Preference pairs as TRL reads them: each rejected answer is a line with `prompt`, `chosen`, `rejected` and `videos`.

Other trainers know neither evidence tokens nor the grounding that comes first, so an answer is its words with the times
as numbers. Two answers that differ in the grounding alone then read the same, and are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...data.pairs import OnBad, PreferencePair
from ...data.video import find_video
from ...errors import LabError
from ...files import as_json_lines, atomic_path
from ...ideas.evidence import compose, in_seconds, render


def write_trl(path: str | os.PathLike, pairs: Iterable[PreferencePair], videos: Path | None, on_bad: OnBad) -> None:
    """JSON Lines under the final name only when complete; `videos` is the folder of the videos, if it is known."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        for pair in pairs:
            out.writelines(as_json_lines(rows(pair, videos, on_bad)))
        if not out.tell():
            raise LabError(f"{path} is not written: without its grounding, every rejected answer reads as the chosen "
                           "one")


def rows(pair: PreferencePair, videos: Path | None, on_bad: OnBad) -> Iterator[dict]:
    sample = pair.chosen
    question = in_seconds(sample.question, sample.question_intervals)
    chosen = render(compose(sample.events, sample.answer, "digits"))
    for wrong in pair.rejected:
        rejected = render(compose(wrong.events, wrong.answer, "digits"))
        if rejected == chosen:
            on_bad(sample.id, f"sample {sample.id}: without its grounding, the rejected answer ({wrong.kind}) reads as "
                              "the chosen one")
            continue
        yield {"prompt": [_turn("user", question)], "chosen": [_turn("assistant", chosen)],
               "rejected": [_turn("assistant", rejected)],
               "videos": [str(find_video(videos, sample.video)) if videos else sample.video], "id": sample.id,
               "kind": wrong.kind, "factor": wrong.factor}


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
