"""The README is short, and the tree in it is true."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = re.search(r"```\n(d2vlm_lab/.*?)```", README, re.DOTALL)[1]
FLOORS = ("", "ideas", "data", "model", "learning", "judging", "lab", "lab/commands")


def described():
    """Folder -> the words that the tree says about it."""
    words, folders = {}, []
    for line in TREE.splitlines():
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        if name.endswith("/") and depth < 3:
            folders = [*folders[:depth], name]
            words["".join(folders)] = line.split()[1:]
        else:
            words["".join(folders)] += line.split()
    return words


def test_it_can_be_read_in_one_sitting():
    assert len(README.splitlines()) < 150


@pytest.mark.parametrize("floor", FLOORS)
def test_the_files_of_a_floor_stand_in_its_line_behind_the_colon_and_nothing_else_does(floor):
    folder = ROOT / "d2vlm_lab" / floor
    words = " ".join(described()[f"{folder.relative_to(ROOT).as_posix()}/"])
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert sorted(words.rpartition(": ")[2].split()) == sorted(files)


def test_every_folder_of_the_library_stands_in_the_tree_and_nothing_else_does():
    folders = {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / "d2vlm_lab").rglob("*.py")}
    assert {name for name in described() if name.startswith("d2vlm_lab/")} == folders


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="needs a git checkout")
def test_every_folder_of_the_project_stands_in_the_tree():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    folders = {path.partition("/")[0] + "/" for path in listed.splitlines() if "/" in path and path[0] != "."}
    assert {name for name in described() if name.count("/") == 1} == folders


def test_every_path_in_the_tree_exists():
    for folder, words in described().items():
        assert (ROOT / folder).is_dir()
        for word in (word.rstrip(":;,") for word in words):
            if word.endswith(("/", ".py", ".ipynb")):
                assert (ROOT / folder / word).exists(), f"{folder}{word}"


def test_every_link_of_a_document_leads_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "experiments").rglob("*.md"), ROOT / "data" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)}: {target}"
