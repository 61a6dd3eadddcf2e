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
    assert len(test_families.EQUAL) == 50 and len(test_towers.EQUAL) == 32
    assert listed("These 50 families give the same numbers") == set(test_families.EQUAL)
    assert listed("These are refused, because what is masked") == set(test_families.REFUSED)
    assert listed("These are trained by the faster form") == packed.FAMILIES
    assert listed("These 32 entries give the same patches") == set(test_towers.EQUAL)
    towers = listed("These are refused, because they need")
    assert {name.split(" for ")[0] for name in towers} == set(test_towers.REFUSED)
