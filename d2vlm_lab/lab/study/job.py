"""A run of a grid: what it is, where it is, what has to be there before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .form import Point


@dataclass(eq=False)
class Job:
    """A point of the grid, or shared work that points start from."""

    point: Point
    record: dict  # what `point.json` will hold
    folder: Path
    notebook: Path
    trains: bool  # otherwise it only examines a checkpoint
    starts: dict[str, Job] = field(default_factory=dict)  # shared work by the @name that the settings have for it
    twin: Job | None = None  # the same run as a point of another study: it is made there and copied
    seed_rank: int = 0  # jobs are run seed by seed, so that an early stop leaves whole comparisons
    prefix: str = ""  # of its title, where several studies are run together
    done: bool = False
    why: str = ""  # it has to be run
    seconds: float | None = None  # that it took, or may take

    @property
    def shared(self) -> bool:
        return self.record["kind"] == "shared"

    @property
    def title(self) -> str:
        return f"{self.prefix}{self.point.variant}, seed {self.point.seed}"

    @property
    def needs(self) -> list[Job]:
        """Jobs that have to be done before this one."""
        return [self.twin] if self.twin else list(self.starts.values())

    def order(self, cwd: Path) -> dict:
        """Everything that a worker needs to run it, on any machine that sees the same folders."""
        folders = {name: _relative(work.folder / "model", cwd) for name, work in self.starts.items()}
        settings, extras = ({key: folders.get(value, value) if isinstance(value, str) else value
                             for key, value in values.items()}
                            for values in (self.record["settings"], self.record["extras"]))
        return {"record": self.record, "folder": str(self.folder.absolute()), "notebook": str(self.notebook),
                "cwd": str(cwd), "parameters": {"settings": settings, "out": _relative(self.folder, cwd), **extras}}


def _relative(path: Path, cwd: Path) -> str:
    """Relative where that is inside the working folder, so that records can move with it."""
    path = path.absolute()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
