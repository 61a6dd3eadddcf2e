"""A file of drawn answers: for each question the answers of a checkpoint and their rewards, one question a line.

The first line names the checkpoint and the number of answers. A stage of rewards that begins with this checkpoint can
then leave out the questions whose answers were all rewarded alike, since these teach nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError
from ..files import atomic_path


@dataclass(frozen=True)
class DrawnGroup:
    sample: str  # its id
    question: str
    rewards: Sequence[float]
    answers: Sequence[str]  # with the times in seconds

    @property
    def teaches(self) -> bool:
        return max(self.rewards) > min(self.rewards)


def write_groups(path: Path, checkpoint: str, answers: int, groups: Iterable[DrawnGroup]) -> None:
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as out:
        out.write(json.dumps({"checkpoint": checkpoint, "answers": answers}) + "\n")
        for group in groups:
            out.write(json.dumps(group.__dict__, ensure_ascii=False) + "\n")


def read_groups(path: Path, checkpoint: str, start: str) -> list[DrawnGroup]:
    """The groups of a file, which must have been drawn from the checkpoint that is in the folder `start`."""
    try:
        first, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        drawn_from = first["checkpoint"]
    except OSError as error:
        raise LabError(f"{path}: no readable group file ({error.strerror})") from None
    except (ValueError, TypeError, KeyError):
        raise LabError(f"{path}: no file of make-groups; its first line must name the checkpoint") from None
    if drawn_from != checkpoint:
        raise LabError(f"{path}: its answers were drawn from the checkpoint {drawn_from}, but parts.start is {start} "
                       f"({checkpoint}); make it again from that one with make-groups")
    groups = []
    for number, line in enumerate(lines, 2):
        try:
            groups.append(DrawnGroup(**line))
        except TypeError as error:
            raise LabError(f"{path}, line {number}: no group with sample, question, rewards and answers "
                           f"({error})") from None
    return groups
