"""`d2vlm-lab classroom student|lecturer|collect DIR`: hand exercises out, and see what came back."""

from __future__ import annotations

from pathlib import Path

from ...errors import LabError
from .collect import NOTEBOOK_SECONDS, collect, summary, write_table
from .editions import write_lecturers, write_students

AFTER_LECTURER = """
With nbgrader, in {folder}:
  nbgrader generate_assignment 04_the_grounding_loss    # the edition for students, in release/
  nbgrader autograde 04_the_grounding_loss              # grades what was handed in, in submitted/STUDENT/
Without it, `d2vlm-lab classroom student DIR` and `d2vlm-lab classroom collect DIR` do both."""


def configure(parser) -> None:
    parser.add_argument("action", choices=("student", "lecturer", "collect"),
                        help="student: write the exercises without solutions; lecturer: write them with solutions, "
                             "as a course for nbgrader; collect: run all notebooks in a folder again and make a table "
                             "of points (their code runs with your rights: use a container if you do not trust it)")
    parser.add_argument("folder", metavar="DIR", help="where to write; for collect: one folder for each student")
    parser.add_argument("--out", metavar="CSV", help="collect: where the table goes; by default DIR/points.csv")
    parser.add_argument("--limit", type=int, default=NOTEBOOK_SECONDS, metavar="SECONDS",
                        help="collect: a notebook that takes longer is stopped")


def run(args) -> None:
    folder = Path(args.folder)
    if args.action == "collect":
        if not folder.is_dir():
            raise LabError(f"{folder}: there is no such folder")
        if args.limit < 1:
            raise LabError(f"--limit {args.limit}: give a notebook at least one second")
        out = Path(args.out) if args.out else folder / "points.csv"
        handed_in = collect(folder, args.limit)
        write_table(handed_in, out)
        print(f"\n{summary(handed_in)}\n\nThe table with every exercise: {out}")
        return
    print(*(write_students if args.action == "student" else write_lecturers)(folder), sep="\n")
    if args.action == "lecturer":
        print(AFTER_LECTURER.format(folder=folder))
