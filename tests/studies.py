"""Studies of a few seconds: a notebook that does what the test says, and a grid over it."""

import io
import json
from pathlib import Path

import psutil
import yaml

from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.lab.study.plan import make_plan
from d2vlm_lab.lab.study.progress import Progress
from d2vlm_lab.lab.study.runner import Grid, choose
from d2vlm_lab.lab.study.study import read_study

GIVEN = "settings = {}\nout = ''\n# The metric of these studies is 'f1'.\n"
WRITE = "import json, pathlib\npathlib.Path(out, 'metrics.json').write_text(json.dumps({'f1': settings['seed']}))"


def write_notebook(path: Path, *cells: str, parameters: str = "") -> Path:
    """A notebook with a parameters cell before `cells`."""
    sources = [GIVEN + parameters, *cells]
    code = [{"cell_type": "code", "metadata": {"tags": ["parameters"]} if i == 0 else {}, "execution_count": None,
             "outputs": [], "source": source, "id": f"cell-{i}"} for i, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps({"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def small_world(folder: Path) -> Path:
    return make_world(folder / "world", WorldConfig(videos=10), workers=1)


def write_study(folder: Path, *cells: str, world: Path | str = "", parameters: str = "", **changes) -> Path:
    """A study file in `folder`, with its notebook."""
    notebook = write_notebook(folder / "run.ipynb", *(cells or [WRITE]), parameters=parameters)
    tree = {"name": "tried", "question": "Does it run?", "hypothesis": "It does.", "notebook": str(notebook),
            "preset": "tiny", "metrics": ["f1"], "reference": "full", "seeds": [0], "base": {},
            "variants": {"full": {}, "without": {"method.semantics": "off"}}} | changes
    if world:
        tree["base"] = tree["base"] | {"data.world": str(world)}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def plan_of(path: Path, profile: str = "", seeds=()):
    study, _ = read_study(str(path))
    return make_plan(study, profile, path.parent / "out", seeds)


def run_study(path: Path, place, retries: int = 1, **wanted) -> dict[str, dict]:
    """Run what is to do; the states by title."""
    grid = Grid(choose(plan_of(path), **wanted), place, path.parent, Progress(io.StringIO()), retries)
    return {job.title: state for job, state in grid.run()}


def folder_of(path: Path, title: str) -> Path:
    return next(job.folder for job in plan_of(path) if job.title == title)


def shown(folder: Path) -> str:
    """All that an executed notebook shows as text."""
    cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
    return "\n".join(str(output.get("text", "")) + str(output.get("data", {}).keys()) + " ".join(
        output.get("traceback", [])) for cell in cells for output in cell.get("outputs", ()))


def alive(pid: str | int) -> bool:
    """Whether there is such a process that still does something."""
    return psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
