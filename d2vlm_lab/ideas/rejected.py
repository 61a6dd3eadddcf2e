"""Rejected answers: a grounded answer with one thing made wrong about one of its events.

Four factors can be wrong: *when* an event happens, *which* events there are, *what* happens, *how* it is said. Each
factor has several kinds. An event's two mentions always go wrong together, since both are written from one list of
events. Equal seeds give equal answers, so the order in which random numbers are drawn is part of what this file
promises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle
from random import Random
from typing import Annotated, Literal

from ..errors import LabError
from ..shapes import Positive, Range, Seed, Share, Weight
from .clauses import LIST, SYMBOL, TEXT, Piece, cut, join, mentions, spaced, symbol, words
from .evidence import Event, Interval, overlap

Factor = Literal["when", "which", "what", "how"]
FACTORS: tuple[Factor, ...] = ("when", "which", "what", "how")
FACTS = ("color", "object", "action")  # kinds of *what* for a `Distort` that does not list its own kinds
Part = Annotated[float, Range(0.001, 0.999)]  # a share of a whole: neither all of it nor nothing
Distort = Callable[[str, str, Random], str | None]  # (text, kind of fact, rng) -> text with another such fact, or None
PLACE = "\0"  # stands for the event while the words around it are distorted


@dataclass(frozen=True)
class Recipe:
    """Which rejected answers to make, and how wrong they are."""

    per_sample: Annotated[int, Range(1, 10_000)] = 4
    factors: tuple[Factor, ...] = FACTORS
    kinds: tuple[str, ...] = ()  # empty: every kind of these factors
    shift: tuple[Positive, ...] = (0.5, 1.0, 2.0)  # by how many lengths of the event; one is drawn
    resize: tuple[Part, ...] = (0.25, 0.4)  # shrink to this share of its length, or grow by its inverse
    repeat: tuple[Annotated[int, Range(1, 100)], ...] = (1, 2)  # how many times more
    tolerance: Share = 0.5  # a wrong interval overlaps every true one by less than this (intersection over union)
    grid: Weight = 0.5  # wrong intervals begin and end at multiples of this many seconds; 0: anywhere
    seed: Seed = 0

    def __post_init__(self):
        for name in ("factors", "shift", "resize", "repeat"):
            if not getattr(self, name):
                raise LabError(f"{name}: give at least one value")


@dataclass(frozen=True)
class Rejected:
    """A wrong answer and what is wrong with it."""

    events: tuple[Event, ...]
    answer: tuple[Piece, ...]
    kind: str
    factor: str
    strength: float = 1.0  # in the unit of its kind: lengths of the event, share of its length, number of times
    event: int = 0  # the event of the chosen answer that was changed


@dataclass(frozen=True)
class Words:
    """A `Distort` made of word lists: for each kind of fact its things, each in its forms (`opens`, `opening`)."""

    facts: Mapping[str, Sequence[Sequence[str]]]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.facts)

    def __call__(self, text: str, kind: str, rng: Random) -> str | None:
        """One thing that the text names is replaced everywhere by another of its kind, in the same form."""
        things = [[thing] if isinstance(thing, str) else list(thing) for thing in self.facts.get(kind, ())]
        named = [thing for thing in things if _any_of(thing).search(text)]
        if not named or len(things) < 2:
            return None
        old = rng.choice(named)
        new = rng.choice([thing for thing in things if thing is not old])
        same_form = {word.lower(): new[min(k, len(new) - 1)] for k, word in enumerate(old)}

        def exchange(match: re.Match) -> str:
            word = same_form[match[0].lower()]
            return word[0].upper() + word[1:] if match[0][0].isupper() else word

        return _any_of(old).sub(exchange, text)


def rejected_answers(events: Sequence[Event], answer: Sequence[Piece], duration: float, recipe: Recipe,
                     distort: Distort | None = None, name: str = "") -> list[Rejected]:
    """Up to `recipe.per_sample` different wrong answers, one factor after the other; drawn from the seed and `name`."""
    if not events:
        raise LabError(f"sample {name}: the answer has no events; there is nothing to make wrong")
    rng = Random(f"{recipe.seed} {name}")
    kinds = {factor: wanted_kinds(recipe, factor, distort) for factor in recipe.factors}
    factors = [factor for factor in recipe.factors if kinds[factor]]
    rng.shuffle(factors)
    made: dict[tuple, Rejected] = {}
    failures = 0
    for factor in cycle(factors):
        if len(made) >= recipe.per_sample or failures >= 4 * len(factors):
            break
        failures += 1
        for kind in rng.sample(kinds[factor], len(kinds[factor])):
            new = perturb(events, answer, duration, kind, recipe, distort, rng)
            if new and (new.events, new.answer) not in made:
                made[new.events, new.answer] = new
                failures = 0
                break
    return list(made.values())


def wanted_kinds(recipe: Recipe, factor: Factor, distort: Distort | None) -> list[str]:
    """The kinds of a factor that the recipe asks for; which facts can be distorted depends on `distort`."""
    kinds = [kind for kind, (its_factor, _) in KINDS.items() if its_factor == factor]
    if factor == "what" and distort is not None:
        kinds += [kind for kind in getattr(distort, "kinds", FACTS) if kind not in KINDS]
    return [kind for kind in kinds if not recipe.kinds or kind in recipe.kinds]


def perturb(events: Sequence[Event], answer: Sequence[Piece], duration: float, kind: str, recipe: Recipe,
            distort: Distort | None = None, rng: Random | None = None) -> Rejected | None:
    """The answer with one thing of this kind wrong; None where the answer or the video leaves no room for it."""
    end = max(duration - recipe.grid, *(event.end for event in events))
    chosen = {symbol(k): event for k, event in enumerate(events)}
    draft = Draft(dict(chosen), cut(answer), end, recipe, distort, rng or Random(recipe.seed))
    factor, make = KINDS.get(kind, ("what", None))
    touched = make(draft) if make else draft.distort_fact(kind)
    if touched is None:
        return None
    renumber = str.maketrans({key: symbol(n) for n, key in enumerate(draft.events)})
    wrong = tuple(draft.events.values()), join([clause.translate(renumber) for clause in draft.clauses])
    if wrong == (tuple(events), join(cut(answer))):
        return None
    return Rejected(*wrong, kind, factor, float(draft.strength), list(chosen).index(touched))


@dataclass
class Draft:
    """A copy of the chosen answer, and the ways to make it wrong.

    Each way returns the event that it changed, or None where there is no room for it. Events are known by their
    symbols, which stay the same as other events come or go.
    """

    events: dict[str, Event]  # by symbol, in the order in which the answer grounds them
    clauses: list[str]
    end: float  # the last second that an interval may reach
    recipe: Recipe
    distort: Distort | None
    rng: Random
    strength: float = 1.0

    # When it happens.

    def shift(self) -> str | None:
        """An event earlier or later, by a multiple of its own length."""
        k, self.strength = self.any_event(), self.rng.choice(self.recipe.shift)
        start, end = self.events[k].interval
        by = max(self.snap(self.strength * (end - start)), self.recipe.grid)
        ways = [span for span in ((start + by, end + by), (start - by, end - by)) if self.is_wrong(span)]
        return self.move(k, self.rng.choice(ways)) if ways else None

    def resize(self) -> str | None:
        """An event much shorter or much longer, around its middle."""
        k, share = self.any_event(), self.rng.choice(self.recipe.resize)
        (start, end), snap = self.events[k].interval, self.snap
        shorter = (snap(start + (end - start) * (1 - share) / 2), snap(start + (end - start) * (1 + share) / 2))
        length = (end - start) / share
        first = snap(min(max(0.0, (start + end - length) / 2), max(0.0, self.end - length)))
        ways = {share: shorter, 1 / share: (first, snap(first + length))}
        if not (strengths := [strength for strength, span in ways.items() if self.is_wrong(span)]):
            return None
        self.strength = self.rng.choice(strengths)
        return self.move(k, ways[self.strength])

    def swap(self) -> str | None:
        """Two events at each other's time."""
        if (pair := self.distinguishable_pair()) is None:
            return None
        first, second = (self.events[k].interval for k in pair)
        self.move(pair[1], first)
        return self.move(pair[0], second)

    # Which events there are.

    def delete(self) -> str | None:
        k = self.any_event()
        event, removed = self.events[k], self.remove(k)
        still_there = any(self.same_time(event, other) for other in self.events.values())
        return k if removed and not still_there else None

    def add(self) -> str | None:
        """An event as long as another one, where nothing happens."""
        like = self.events[self.any_event()]
        length = like.end - like.start
        starts = [self.snap(self.rng.uniform(0, max(0.0, self.end - length))) for _ in range(8)]
        free = [start for start in starts if start + length <= self.end + 1e-9 and all(
            start > event.end or start + length < event.start for event in self.events.values())]
        if not free:
            return None
        earlier = [k for k, event in self.events.items() if event.start < free[0]]
        k = earlier[-1] if earlier else next(iter(self.events))
        event = Event(free[0], free[0] + length)
        return k if self.insert(k, event, after=bool(earlier), reworded=True) else None

    def merge(self) -> str | None:
        """Two neighbours as one event."""
        order = sorted(self.events, key=lambda k: self.events[k].start)
        if len(order) < 2:
            return None
        at = self.rng.randrange(len(order) - 1)
        i, j = order[at:at + 2]
        first, second = self.events[i], self.events[j]
        self.move(i, (min(first.start, second.start), max(first.end, second.end)))
        changes_nothing = self.same_time(self.events[i], first) and self.same_time(self.events[i], second)
        return i if self.remove(j) and not changes_nothing else None

    # What happens.

    def distort_fact(self, kind: str) -> str | None:
        """Another fact of this kind in the words about one event, unless another event at that time makes them true."""
        clauses = {k: clause for k in self.events if (clause := self.clause_about(k))}
        alone = [k for k, clause in clauses.items() if mentions(clause) == [k]]
        if self.distort is None or not alone:
            return None
        k = self.rng.choice(alone)
        new, old = self.distorted(clauses[k], kind), self.events[k]
        if new is None or any(words(clause) == words(new) and self.same_time(self.events[n], old)
                              for n, clause in clauses.items() if n != k):
            return None
        self.rewrite({clauses[k]: [new]})
        self.events[k] = replace(old, caption=words(new) if old.caption else "")
        return k

    def order(self) -> str | None:
        """Another word of order (first, second) where `distort` knows one; else two events in each other's words."""
        if k := self.distort_fact("order"):
            return k
        if (pair := self.distinguishable_pair()) is None:
            return None
        i, j = pair
        a, b, exchange = self.clause_about(i), self.clause_about(j), str.maketrans(i + j, j + i)
        assert a is not None and b is not None, "a pair is distinguishable by its clauses"
        self.rewrite({a: [spaced(b, like=a).translate(exchange)], b: [spaced(a, like=b).translate(exchange)]})
        first, second = self.events[i], self.events[j]
        self.events |= {i: replace(first, caption=second.caption), j: replace(second, caption=first.caption)}
        return i

    # How it is said.

    def repeat_text(self) -> str | None:
        """The words about an event once or twice more."""
        k, self.strength = self.any_event(), self.rng.choice(self.recipe.repeat)
        clause = self.clause_about(k) or ""
        phrase = max(map(words, re.split(SYMBOL, clause)), key=len)
        if not phrase:
            return None
        self.rewrite({clause: [clause.replace(phrase, " ".join([phrase] * (self.strength + 1)), 1)]})
        return k

    def repeat_event(self) -> str | None:
        """An event once or twice more, at the same time and in the same words."""
        k, self.strength = self.any_event(), self.rng.choice(self.recipe.repeat)
        inserted = [self.insert(k, self.events[k], after=True, reworded=False) for _ in range(self.strength)]
        return k if all(inserted) else None

    # Steps that several of these ways share.

    def any_event(self) -> str:
        return self.rng.choice(list(self.events))

    def snap(self, time: float) -> float:
        grid = self.recipe.grid
        return round(time / grid) * grid if grid else time

    def same_time(self, a: Event, b: Event) -> bool:
        """Whether a scorer would take the interval of one event for that of the other."""
        return overlap(a.interval, b.interval) >= self.recipe.tolerance

    def is_wrong(self, interval: Interval) -> bool:
        """Whether an interval lies inside the video, and a scorer would take it for the interval of no event."""
        inside = -1e-9 <= interval[0] <= interval[1] <= self.end + 1e-9
        return inside and not any(self.same_time(Event(*interval), event) for event in self.events.values())

    def move(self, k: str, interval: Interval) -> str:
        self.events[k] = replace(self.events[k], start=interval[0], end=interval[1])
        return k

    def clause_about(self, k: str) -> str | None:
        """The one clause that mentions the event, once; None if several do, or if it also describes other events."""
        clause, *more = [clause for clause in self.clauses if k in clause] or [""]
        alone_or_listed = mentions(clause) == [k] or LIST.fullmatch(clause) and clause.count(k) == 1
        return clause if alone_or_listed and not more else None

    def distinguishable_pair(self) -> tuple[str, str] | None:
        """Two events that differ in time and in words, so that exchanging either makes the answer wrong."""
        texts = {k: words(clause) for k in self.events if (clause := self.clause_about(k))}
        pairs = [(i, j) for i, j in combinations(texts, 2)
                 if texts[i] != texts[j] and not self.same_time(self.events[i], self.events[j])]
        return self.rng.choice(pairs) if pairs else None

    def rewrite(self, new: dict[str, list[str]]) -> None:
        """Clauses replaced by others, or by none."""
        self.clauses = [clause for old in self.clauses for clause in new.get(old, [old])]

    def remove(self, k: str) -> bool:
        """Take an event and its mention out; False where its words do not allow it or nothing would be left."""
        del self.events[k]
        if (clause := self.clause_about(k)) is None:
            return False
        listed = f"{k}{TEXT}" if mentions(clause)[0] == k else f"{TEXT}{k}"  # with the comma on its inner side
        self.rewrite({clause: [] if mentions(clause) == [k] else [re.sub(listed, "", clause)]})
        return bool(self.events and self.clauses)

    def insert(self, k: str, event: Event, after: bool, reworded: bool) -> bool:
        """Put one more event next to event k, in its words or, if asked and possible, in others like them."""
        if (clause := self.clause_about(k)) is None:
            return False
        caption, new = self.events[k].caption, symbol(len(self.events))
        if self.describes(clause, k):
            other = self.reworded(clause) if reworded else None
            caption = words(other) if other else caption
            added = (other or clause).replace(k, new)
            self.rewrite({clause: [clause, spaced(added)] if after else [added, spaced(clause)]})
        else:
            self.rewrite({clause: [clause.replace(k, f"{k}, {new}" if after else f"{new}, {k}")]})
        entries = list(self.events.items())
        entries.insert(list(self.events).index(k) + after, (new, replace(event, caption=caption)))
        self.events = dict(entries)
        return True

    def describes(self, clause: str, k: str) -> bool:
        """Whether a clause says what happens, so that one more event needs its own clause; otherwise it only points."""
        caption = self.events[k].caption.lower()
        says_what = len(self.clauses) > 1 or clause[0] == k or caption != "" and caption in words(clause).lower()
        return mentions(clause) == [k] and says_what

    def reworded(self, clause: str) -> str | None:
        """A clause about one event with another fact of any kind."""
        kinds = list(getattr(self.distort, "kinds", FACTS)) if self.distort else []
        self.rng.shuffle(kinds)
        return next((other for kind in kinds if (other := self.distorted(clause, kind))), None)

    def distorted(self, clause: str, kind: str) -> str | None:
        """A clause about one event with another fact in its words."""
        event, = mentions(clause)
        text = clause.replace(event, PLACE)
        new = self.distort(text, kind, self.rng) if self.distort else None
        if new is None or new == text:
            return None
        if new.count(PLACE) != 1:
            raise LabError(f"distorting {text!r} must keep the place of its event, but returned {new!r}")
        return new.replace(PLACE, event)


# A new kind is a method above and an entry here.
KINDS: dict[str, tuple[Factor, Callable[[Draft], str | None]]] = {
    "shift": ("when", Draft.shift), "resize": ("when", Draft.resize), "swap": ("when", Draft.swap),
    "delete": ("which", Draft.delete), "add": ("which", Draft.add), "merge": ("which", Draft.merge),
    "order": ("what", Draft.order),
    "repeat_text": ("how", Draft.repeat_text), "repeat_event": ("how", Draft.repeat_event)}


def _any_of(forms: Sequence[str]) -> re.Pattern:
    longest_first = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)", re.IGNORECASE)
