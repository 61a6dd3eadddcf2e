"""A file of drawn answers: for each question the answers of a checkpoint and their rewards, one question a line.

The first line names the checkpoint and the number of answers. A stage of rewards that begins with this checkpoint can
then leave out the questions whose answers were all rewarded alike, since these teach nothing. Files of several shards,
one after the other, are a file, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import NotRequired, TypedDict

from ..errors import LabError
from ..files import write_json_lines
from ..reader import read_lines
from ..shapes import fit


class Head(TypedDict):
    """The first line of a file, or of the part of it that comes from one shard."""

    checkpoint: str
    shard: NotRequired[str]  # I/N; older files are whole


class Line(TypedDict):
    """Each of the other lines."""

    sample: str
    question: str
    rewards: list[float]
    answers: list[str]


@dataclass(frozen=True)
class DrawnGroup:
    sample: str  # its id
    question: str
    rewards: Sequence[float]
    answers: Sequence[str]  # with the times in seconds

    @property
    def teaches(self) -> bool:
        return max(self.rewards) > min(self.rewards)


def write_groups(path: Path, checkpoint: str, answers: int, groups: Iterable[DrawnGroup], shard: str = "0/1") -> None:
    head = {"checkpoint": checkpoint, "answers": answers, "shard": shard}
    write_json_lines(path, chain([head], (group.__dict__ for group in groups)))


def read_groups(path: Path, checkpoint: str, start: str) -> list[DrawnGroup]:
    """The groups of a file, which must have been drawn from the checkpoint that is in the folder `start`."""
    shards: list[str] = []
    groups, lines = [], read_lines(path)
    for number, line in chain([next(lines, (1, {}))], lines):
        if not shards or "checkpoint" in line:
            head = fit(line, Head, f"{path}: line {number}")
            if (drawn_from := head["checkpoint"]) != checkpoint:
                raise LabError(f"{path}: its answers were drawn from the checkpoint {drawn_from}, but parts.start is "
                               f"{start} ({checkpoint}); make it again from that checkpoint with make-groups")
            shards.append(head.get("shard", "0/1"))
            continue
        line = fit(line, Line, f"{path}: line {number}")
        group = DrawnGroup(*(line[name] for name in Line.__annotations__))
        if not len(group.rewards) == len(group.answers) > 0:
            raise LabError(f"{path}: line {number}: rewards has {len(group.rewards)} numbers for {len(group.answers)} "
                           "answers; each answer needs one, and there must be at least one")
        groups.append(group)
    check_shards(shards, path)
    return groups


def check_shards(shards: Sequence[str], path: Path) -> None:
    """An error if the file of one shard was not put into the file of all of them."""
    total = shards[0].partition("/")[2]
    missing = next(shard for k in count() if (shard := f"{k}/{total}") not in shards)
    if missing != f"{total}/{total}":
        raise LabError(f"{path}: the answers of shard {missing} are not in it; draw them with --shard {missing}, and "
                       "put the files of all shards one after the other")
