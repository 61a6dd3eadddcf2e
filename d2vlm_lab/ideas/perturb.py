"""Rejected answers: a grounded answer with one stated thing wrong about one of its events.

Factors: *when* it happens, *which* events there are, *what* happens, *how* it is told. An event's two mentions are
always wrong together, since both are written from the list of events. The kinds are in `kinds.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from ..errors import LabError
from .clauses import Piece, cut, join
from .evidence import Event
from .kinds import FACTORS, FACTS, KINDS, Chosen, Distort, Factor, Recipe, fact, overlap

__all__ = ["FACTORS", "FACTS", "KINDS", "Distort", "Factor", "Recipe", "Rejected", "Words", "overlap", "perturb",
           "rejected_answers", "wanted_kinds"]


@dataclass(frozen=True)
class Rejected:
    """A wrong answer and what is wrong with it."""

    events: tuple[Event, ...]
    answer: tuple[Piece, ...]
    kind: str
    factor: str
    strength: float = 1.0  # in the unit of its kind: lengths, share of the length, times
    event: int = 0  # of the chosen answer, that was touched


@dataclass(frozen=True)
class Words:
    """Facts told in so many words: kind -> things, each with its forms (`moves left`, `move left`, ...)."""

    facts: Mapping[str, Sequence[Sequence[str]]]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.facts)

    def __call__(self, text: str, kind: str, rng: Random) -> str | None:
        """One thing that the text names, replaced everywhere in it by another of its kind."""
        things = [[thing] if isinstance(thing, str) else list(thing) for thing in self.facts.get(kind, ())]
        named = [thing for thing in things if _any_of(thing).search(text)]
        if not named or len(things) < 2:
            return None
        old = rng.choice(named)
        new = rng.choice([thing for thing in things if thing is not old])
        form = {word.lower(): new[min(k, len(new) - 1)] for k, word in enumerate(old)}

        def other(match: re.Match) -> str:
            word = form[match[0].lower()]
            return word[0].upper() + word[1:] if match[0][0].isupper() else word

        return _any_of(old).sub(other, text)


def rejected_answers(events: Sequence[Event], answer: Sequence[Piece], duration: float, recipe: Recipe,
                     distort: Distort | None = None, name: str = "") -> list[Rejected]:
    """Up to `recipe.per_sample` different wrong answers, factors in turn. The same seed and name, the same ones."""
    if not events:
        raise LabError(f"sample {name}: the answer has no events; there is nothing to perturb")
    rng = Random(f"{recipe.seed} {name}")
    left = {factor: wanted_kinds(recipe, factor, distort) for factor in recipe.factors}
    factors = [factor for factor in recipe.factors if left[factor]]
    rng.shuffle(factors)
    found: list[Rejected] = []
    failures = 0
    while factors and len(found) < recipe.per_sample and failures < 4 * len(factors):
        factors.append(factors.pop(0))
        one = _first_new(left[factors[-1]], found, lambda kind: perturb(
            events, answer, duration, kind, recipe, distort, rng), rng)
        failures = 0 if one else failures + 1
        found += [one] if one else []
    return found


def _first_new(kinds: Sequence[str], old: Sequence[Rejected], make: Callable[[str], Rejected | None],
               rng: Random) -> Rejected | None:
    """One of these kinds, tried in random order, that is not among the old ones."""
    drafts = (make(kind) for kind in rng.sample(list(kinds), len(kinds)))
    return next((new for new in drafts if new and all(
        (new.events, new.answer) != (known.events, known.answer) for known in old)), None)


def perturb(events: Sequence[Event], answer: Sequence[Piece], duration: float, kind: str, recipe: Recipe,
            distort: Distort | None = None, rng: Random | None = None) -> Rejected | None:
    """The answer with one thing of this kind wrong; None where the answer or the video has no room for it."""
    events, rng = tuple(events), rng or Random(recipe.seed)
    end = max(duration - recipe.grid, *(event.end for event in events))
    chosen = Chosen(events, cut(answer), end, recipe, distort, rng)
    factor, make = KINDS.get(kind, ("what", None))
    draft = make(chosen) if make else fact(chosen, kind)
    if draft is None:
        return None
    changed, parts, strength, touched = draft
    pieces = join(parts)
    if (tuple(changed), pieces) == (events, join(chosen.parts)):
        return None
    return Rejected(tuple(changed), pieces, kind, factor, float(strength), touched)


def wanted_kinds(recipe: Recipe, factor: Factor, distort: Distort | None) -> list[str]:
    """Of one factor, those that the recipe asks for; what facts there are depends on the words."""
    known = [kind for kind, (own, _) in KINDS.items() if own == factor]
    if factor == "what" and distort is not None:
        known += [kind for kind in getattr(distort, "kinds", FACTS) if kind not in KINDS]
    return [kind for kind in known if not recipe.kinds or kind in recipe.kinds]


def _any_of(forms: Sequence[str]) -> re.Pattern:
    longest = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{longest})(?!\w)", re.IGNORECASE)
