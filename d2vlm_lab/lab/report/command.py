"""`d2vlm-lab report`: pages from the files of runs; nothing is run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import LabError
from .page import write_report
from .read import STUDY

RUNS = Path("runs/ablations")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("studies", nargs="*", metavar="STUDY",
                        help="a study by name, a folder of its runs, or a folder of kept results; without any, all "
                             f"studies that have runs in {RUNS}")
    parser.add_argument("--out", metavar="DIR", help="folder for the reports, one for each study (default: `report` "
                                                     "beside the runs)")


def run(args: argparse.Namespace) -> None:
    for folder in [find(name) for name in args.studies] or all_studies():
        print(f"report: {write_report(folder, Path(args.out) if args.out else None)}")


def find(name: str) -> Path:
    """A folder as given, or the runs of the study with that name."""
    for folder in (Path(name), RUNS / name):
        if (folder / STUDY).is_file():
            return folder
    raise LabError(f"{name}: no runs of a study there, nor in {RUNS / name}; run `d2vlm-lab ablate {name}` first")


def all_studies() -> list[Path]:
    folders = sorted(path.parent for path in RUNS.glob(f"*/{STUDY}"))
    if not folders:
        raise LabError(f"there are no runs in {RUNS}; run `d2vlm-lab ablate STUDY` first, or name a folder")
    return folders
