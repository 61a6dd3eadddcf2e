"""Compare the library with numbers recorded from the authors' code: every quantity, its largest and mean difference.

A folder of recorded numbers has any of `interval/`, `grounding/`, `rivals/`, `streaming/`, `sft/`, `generate/`, `fpo/`,
`training/`; the last four need `checkpoint/` beside them. Everything is computed by the functions that training and
decoding use. Where the authors' code does something that this library does not do, the row names it as `compat`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from d2vlm_lab.errors import LabError

from .compare import Found, Row
from .ideas import grounding_rows, interval_rows
from .rivals import rival_rows
from .streaming import trace_rows

PARTS = ("interval", "grounding", "rivals", "streaming", "sft", "generate", "fpo", "training")
PROMPTS = "preprocess_cases.json"


def parity(folder: Path) -> Found:
    """All rows of a folder, and what in it was not compared."""
    if not any((folder / part).is_dir() for part in PARTS):
        raise LabError(f"{folder}: no recorded numbers here; expected any of {', '.join(PARTS)}")
    rows, skipped = [], []
    for path, compute in _cases(folder):
        compared, left = _guarded(path, compute)
        rows += compared
        skipped += left
    return rows, skipped


def _cases(folder: Path) -> list[tuple[Path, Callable[[Path], Found]]]:
    """Every recorded case and the function that compares it. The checkpoint is read only if a case needs it."""
    cases = [(folder / part, compute) for part, compute in (("interval", interval_rows), ("grounding", grounding_rows),
                                                         ("rivals", rival_rows), ("streaming", trace_rows))]
    cases = [(path, compute) for path, compute in cases if path.is_dir()]
    runs = [path for part in PARTS[4:-1] for path in sorted((folder / part).glob("*"))]
    trained = folder / "training"
    if runs or trained.is_dir():
        from d2vlm_lab.model.reference import import_reference

        from .decoding import decoding_case
        from .preferring import preference_case
        from .prompts import prompt_rows
        from .training import training_case

        model = import_reference(folder / "checkpoint", attention="eager")
        by_part = {"sft": training_case, "generate": decoding_case, "fpo": preference_case}
        for path in runs:
            compute = prompt_rows if path.name == PROMPTS else by_part[path.parent.name]
            cases.append((path, partial(compute, model)))
        if trained.is_dir():
            from .trained import trained_rows

            cases.append((trained, partial(trained_rows, model)))
    return cases


def _guarded(path: Path, compute: Callable[[Path], Found]) -> Found:
    try:
        return compute(path)
    except LabError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise LabError(f"{path}: not recorded as expected ({type(error).__name__}: {error})") from error


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of recorded numbers")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(args: argparse.Namespace) -> int:
    rows, skipped = parity(args.folder)
    ok = all(row.ok for row in rows)
    if args.json:
        finite = [{key: None if value == math.inf else value for key, value in asdict(row).items()} for row in rows]
        print(json.dumps({"rows": finite, "ok": ok, "not_compared": skipped}))
    else:
        _print_table(rows)
    for what in skipped:
        print(f"not compared: {what}", file=sys.stderr)
    return 0 if ok else 1


def _print_table(rows: list[Row]) -> None:
    case, quantity = (max(len(getattr(row, name)) for row in rows) for name in ("case", "quantity"))
    print(f"{'case':{case}}  {'quantity':{quantity}}  {'max':>9}  {'mean':>9}  {'tolerance':>9}")
    for row in rows:
        remarks = f"{'' if row.ok else 'DIFFERS'}  {f'({row.compat})' if row.compat else ''}"
        print(f"{row.case:{case}}  {row.quantity:{quantity}}  {row.max_abs:9.2g}  {row.mean_abs:9.2g}  "
              f"{row.tolerance:9.2g}  {remarks}".rstrip())
    failed = sum(not row.ok for row in rows)
    print(f"{len(rows)} quantities, {failed or 'none'} outside tolerance")
