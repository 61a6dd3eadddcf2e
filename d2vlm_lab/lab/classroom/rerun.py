"""One notebook of a student, run again from its code: `python -m d2vlm_lab.lab.classroom.rerun CELLS RESULTS SECONDS`.

`collect` starts this as a process of its own, so that a notebook that never ends, or that ends Python, harms nobody
else. Outputs that were handed in are not looked at. What each check finds is written as soon as it is known.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

from .desk import verdict_on
from .masters import CHECK, grade_id, role, source
from .pages import find

SHOWS = "demonstration"  # a cell with this tag shows something and gives no points


class TooSlow(BaseException):
    """A cell has run for too long."""


def rerun(cells: list[dict], results: Path, seconds: int) -> None:
    shell = InteractiveShell.instance()
    names = [grade_id(cell).removeprefix(CHECK) for cell in cells if cell["cell_type"] == "code" and grade_id(cell)]
    wanted = [name for name in dict.fromkeys(names) if find(name)]
    with results.open("a", encoding="utf-8") as file:
        def look(name: str) -> None:
            state = "wrong"  # where the function does not come to an end
            with limited(seconds):
                state = verdict_on(find(name), shell.user_ns.get(name, _missing)).state
            file.write(json.dumps({"exercise": name, "state": state}) + "\n")
            file.flush()
            wanted.remove(name)

        for cell in cells:
            name = grade_id(cell).removeprefix(CHECK)
            if cell["cell_type"] != "code" or SHOWS in cell["metadata"].get("tags", []):
                continue
            if grade_id(cell).startswith(CHECK):
                if name in wanted:
                    look(name)
            elif not role(cell)[0]:
                with limited(seconds):
                    shell.run_cell(source(cell))
        for name in list(wanted):  # the cell with the check was deleted
            look(name)


def _missing(*_):
    """Stands for a function that the notebook does not define."""
    raise NotImplementedError


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """`with limited(5):` leaves the block after so many seconds of computing."""
    def stop(*_):
        raise TooSlow

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except TooSlow:
        pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    given, out, limit = sys.argv[1:]
    rerun(json.loads(Path(given).read_text(encoding="utf-8")), Path(out), int(limit))
