"""`python -m tests.parity DIR`: every recorded quantity, and how far the computed one is from it."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as pytest has it: the package is `parity`

from d2vlm_lab.errors import LabError  # noqa: E402
from parity import configure, run  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.parity", description=__doc__)
    configure(parser)
    try:
        return run(parser.parse_args(argv))
    except LabError as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
