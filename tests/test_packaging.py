import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Import names that differ from the name of the package.
PACKAGE = {"yaml": "pyyaml", "PIL": "pillow", "IPython": "ipython", "dask_jobqueue": "dask-jobqueue"}
# Packages that a declared one cannot do without.
BROUGHT = {"tokenizers": "transformers", "huggingface_hub": "transformers", "jupyter_client": "jupyterlab",
           "nbformat": "nbconvert", "pygments": "ipython"}
# The plug-in for lmms-eval, which brings loguru and has no extra: it cannot be installed with its dependencies.
HOST = {"d2vlm_lab/lab/harness/model.py": {"lmms_eval", "loguru"}, "d2vlm_lab/lab/harness/__init__.py": {"lmms_eval"}}
# Rooms that only the extra `lab` furnishes: grids, reports, pictures with widgets.
FURNISHED = ("lab/study/", "lab/report/", "lab/plots/", "lab/classroom/", "lab/teaching/", "lab/lesson")


def requirements(texts):
    return [Requirement(text) for text in texts if not text.startswith("d2vlm_lab")]


def locked():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.lock").read_text().splitlines())
    return {canonicalize_name(r.name): next(iter(r.specifier)).version for r in map(Requirement, filter(None, lines))}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("requirement", requirements(
    [*PROJECT["dependencies"], *EXTRAS["lab"], *EXTRAS["captions"], *EXTRAS["test"]]), ids=str)
def test_the_lock_is_within_the_ranges(requirement):
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)], prereleases=True)


def test_what_the_library_imports_is_declared_and_the_method_needs_no_notebook():
    core = {canonicalize_name(r.name) for r in requirements(PROJECT["dependencies"])}
    everything = core | {canonicalize_name(r.name) for extra in EXTRAS.values() for r in requirements(extra)}
    for file in sorted((ROOT / "d2vlm_lab").rglob("*.py")):
        place = file.relative_to(ROOT / "d2vlm_lab").as_posix()
        optional = place.startswith(FURNISHED) or place.endswith(("captions.py", "torchcodec_reader.py"))
        for name in set(imports(file)) - set(sys.stdlib_module_names) - HOST.get(f"d2vlm_lab/{place}", set()):
            package = canonicalize_name(PACKAGE.get(name, BROUGHT.get(name, name)))
            assert package in (everything if optional else core), f"{place} imports {name}"


def test_a_command_without_its_extra_says_what_to_install(tmp_path):
    """In a process in which the packages of `lab` cannot be found."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfor name in ('bleach', 'papermill', 'distributed', 'seaborn'): sys.modules[name] = None\n")
    process = subprocess.run([sys.executable, "-m", "d2vlm_lab.cli", "report", "evidence", "--out", str(tmp_path)],
                             capture_output=True, text=True,
                             env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert process.returncode == 2 and "pip install 'd2vlm_lab[lab]'" in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_the_badges_are_true():
    """What they say is what the project declares, and what is checked."""
    badges = re.findall(r"!\[([^\]]*)\]\(https://img\.shields\.io/badge/([^)]*)\)", (ROOT / "README.md").read_text())
    words = {link.split("-")[0]: link.split("-")[1] for _, link in badges}
    pythons = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    assert words == {"python": "_|_".join(pythons), "licence": PROJECT["license"], "typed": "ideas_and_data"}
    others = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["other-pythons"]
    assert pythons == ["3.11", *others["strategy"]["matrix"]["python"]]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert packages == ["d2vlm_lab.ideas", "d2vlm_lab.data"]


def test_the_workflow_runs_what_a_developer_runs():
    """The workflow on a code host and the project's own check run the same two commands."""
    workflow, check = (ROOT / ".github/workflows/ci.yml").read_text(), (ROOT / ".ci/run").read_text()
    for command in ("make test\n", "make test-all\n"):
        assert command in workflow and command in check
