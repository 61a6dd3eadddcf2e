"""`d2vlm-lab report`: pages from the files of runs; nothing is run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...errors import LabError
from .read import KEPT, NUMBERS, STUDY

RUNS, PAGES_OF_KEPT = Path("runs/ablations"), Path("runs/kept")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("studies", nargs="*", metavar="STUDY",
                        help="a study by name (its runs here, else its kept results), a folder of runs, or a folder of "
                             f"kept results; without any, all studies that have runs in {RUNS}")
    parser.add_argument("--with", dest="more", nargs="+", default=[], metavar="STUDY",
                        help="further runs of the one study that is named before, such as seeds that another machine "
                             "ran: folders of runs or of kept results; all are shown in one report")
    parser.add_argument("--out", metavar="DIR", type=Path,
                        help="folder for the reports, one for each study; without it `report` beside the runs, and "
                             f"{PAGES_OF_KEPT} for kept results")


def run(args: argparse.Namespace) -> None:
    folders = [find(name) for name in args.studies] or all_studies()
    more = [find(name) for name in args.more]
    if more and len(args.studies) != 1:
        raise LabError(f"--with adds runs to one study; name that study before it (found {len(args.studies)})")
    from .page import write_report  # late: tables and figures take a second to import

    for folder in folders:
        out = args.out or (PAGES_OF_KEPT if (folder / NUMBERS).is_file() else None)
        print(f"report: {write_report(folder, out, more=more)} (from {', '.join(map(str, [folder, *more]))})")


def find(name: str) -> Path:
    """A folder as given, or the runs of the study with that name, or its kept results."""
    for folder in (Path(name), RUNS / name, KEPT / name):
        if (folder / STUDY).is_file():
            return folder
    raise LabError(f"{name}: no runs of a study there, nor in {RUNS / name}, and no results of it are kept; run "
                   f"`d2vlm-lab ablate {name}` first")


def all_studies() -> list[Path]:
    folders = sorted(path.parent for path in RUNS.glob(f"*/{STUDY}"))
    if not folders:
        raise LabError(f"there are no runs in {RUNS}; run `d2vlm-lab ablate STUDY` first, or name a folder")
    return folders
