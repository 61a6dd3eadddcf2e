"""experiments/results/backbones.md names exactly the families that the tests compare."""

import re
from pathlib import Path

import test_families
import test_towers

from d2vlm_lab.model import packed

PAGE = (Path(__file__).parents[2] / "experiments" / "results" / "backbones.md").read_text(encoding="utf-8")


def listed(after):
    """The names in the paragraph behind the one that begins with these words."""
    paragraphs = PAGE.split("\n\n")
    place = next(n for n, text in enumerate(paragraphs) if text.startswith(after))
    return set(re.findall(r"`([^`]+)`", paragraphs[place + 1].replace("\n", " ")))


def test_the_page_lists_what_the_tests_compare():
    assert listed("Equal to their own forward") == set(test_families.EQUAL)
    assert listed("Refused, because what is masked") == set(test_families.REFUSED)
    assert listed("Trained by the faster form") == packed.FAMILIES
    assert listed("Equal to the patches") == set(test_towers.EQUAL)
    assert {name.split(" for ")[0] for name in listed("Refused, because they need")} == set(test_towers.REFUSED)
