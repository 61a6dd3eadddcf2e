"""The first half of `make site`: everything that the site shows, put together in one folder for sphinx-build.

Links between notebooks, results and source files lead to a page each. Exercises are shown as students get them.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import api

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(([^()#\s]+)\)")  # [words](target), but not a picture
ONE_POINT = {  # pages that a study runs for each of its points: what they are executed with here
    "train_and_score": "learn, questions = False, 20",
    "saliency_run": "questions, shown = 20, 2",
    "length_run": "questions, repeats = 20, 3",
    "streaming_run": "learn, questions, frames = False, 20, 512",
}
SETTINGS = """# Set for this site: the shipped checkpoint is asked a few questions.
from d2vlm_lab.config import read_config
from d2vlm_lab.settings import flatten

settings = flatten(read_config("PRESET", {"parts.start": "data/START", "data.world": "../../data/world-walkthrough"}))
out = "../../runs/site/NAME"
"""


def stage(out: Path) -> None:
    """Fill `out`, a folder beside `notebooks`, so that paths such as ../../data in a page stay right."""
    for name in ("conf.py", "index.md", "bring_your_own_video.ipynb", "your_own_data.ipynb",
                 "live.ipynb"):
        copy(NOTEBOOKS / name, out / name)
    for folder in ("_static", "walkthrough", "ablations", "teaching"):
        for path in files(NOTEBOOKS / folder):
            if path.name not in ("slides.md", "handout.md"):  # `d2vlm-lab handouts` makes files of their own from these
                copy(path, out / path.relative_to(NOTEBOOKS))
    for path in files(ROOT / "experiments"):
        if path.suffix in (".md", ".svg", ".png", ".yaml"):
            copy(path, out / path.relative_to(ROOT))
    exercises(out / "exercises")
    api.write(out / "api", lambda path: source_page(path, out))
    for path in [*out.rglob("*.ipynb"), *out.rglob("*.md")]:
        lead_to_pages(path, out)


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and ".ipynb_checkpoints" not in path.parts]


def copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    if path.stem in ONE_POINT and path.suffix == ".ipynb":
        notebook = json.loads(to.read_text(encoding="utf-8"))
        at = next(k for k, cell in enumerate(notebook["cells"]) if "parameters" in cell["metadata"].get("tags", []))
        preset, start = ("tiny-live", "tiny-live") if path.stem == "streaming_run" else ("tiny", "tiny-sft")
        source = SETTINGS.replace("NAME", path.stem).replace("PRESET", preset).replace("START", start)
        source += ONE_POINT[path.stem]
        notebook["cells"].insert(at + 1, {"cell_type": "code", "execution_count": None, "id": "for-this-site",
                                          "metadata": {}, "outputs": [], "source": source})
        to.write_text(json.dumps(notebook), encoding="utf-8")


def exercises(out: Path) -> None:
    """The students' edition, without solutions; nothing where there are no exercises."""
    if not (NOTEBOOKS / "exercises").is_dir():
        return
    from d2vlm_lab.cli import main

    if main(["classroom", "student", str(out)]):
        sys.exit("the exercises could not be written for the site")


def lead_to_pages(path: Path, out: Path) -> None:
    """Links of a page lead to pages of the site; of a link to a file that has none, only the words are left."""
    page = path.relative_to(out)
    home = (ROOT if page.parts[0] == "experiments" else NOTEBOOKS) / page.parent

    def changed(match: re.Match) -> str:
        words, target = match.groups()
        file = (home / target).resolve()
        if "://" in target or not file.is_relative_to(ROOT) or not file.is_file():
            return match[0]
        inside = file.relative_to(NOTEBOOKS if file.is_relative_to(NOTEBOOKS) else ROOT)
        if inside.stem in ("slides", "handout"):
            return f"<a href='{inside.stem}.html'>{words}</a>"
        if inside.suffix == ".py":
            return f"[{words}](/{source_page(inside, out)})"
        if inside.suffix in (".md", ".ipynb") and (out / inside).is_file():
            return f"[{words}](/{inside.as_posix()})"
        return words

    path.write_text(LINK.sub(changed, path.read_text(encoding="utf-8")), encoding="utf-8")


def source_page(path: Path, out: Path) -> str:
    """A page that shows a source file; its name in the site."""
    page = Path("source", path.with_suffix(".md"))
    code = (ROOT / path).read_text(encoding="utf-8")
    (out / page).parent.mkdir(parents=True, exist_ok=True)
    (out / page).write_text(f"---\norphan: true\n---\n# {path}\n\n`````python\n{code}`````\n", encoding="utf-8")
    return page.as_posix()


if __name__ == "__main__":
    target = ROOT / sys.argv[1]
    shutil.rmtree(target, ignore_errors=True)
    stage(target)
