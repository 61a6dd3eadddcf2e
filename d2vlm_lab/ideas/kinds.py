"""The ways to make an answer wrong: when, which, what, how. Each returns a draft, or None where there is no room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from ..errors import LabError
from .clauses import Part, beside, part_of, references, renumber, without, words
from .evidence import Event, Interval

Factor = Literal["when", "which", "what", "how"]
FACTORS: tuple[Factor, ...] = ("when", "which", "what", "how")
Distort = Callable[[str, str, Random], str | None]  # (text, kind of fact, dice) -> another such fact in it, or None
GAP = "\0"  # stands for an event while the words around it are distorted


@dataclass(frozen=True)
class Recipe:
    """Which perturbations, and how strong."""

    per_sample: int = 4
    factors: tuple[Factor, ...] = FACTORS
    kinds: tuple[str, ...] = ()  # empty: all of these factors
    shift: tuple[float, ...] = (0.5, 1.0, 2.0)  # by how many lengths of the event; one is drawn
    resize: tuple[float, ...] = (0.25, 0.4)  # shrink to this share of its length, or grow by its inverse
    repeat: tuple[int, ...] = (1, 2)  # how often once more
    tolerance: float = 0.5  # a wrong interval overlaps every true one by less than this (intersection over union)
    grid: float = 0.5  # seconds between the times that a wrong interval may have; 0 is any
    seed: int = 0


@dataclass(frozen=True)
class Chosen:
    """What a perturbation works on."""

    events: tuple[Event, ...]
    parts: list[Part]
    end: float  # the last second that an interval may reach
    recipe: Recipe
    distort: Distort | None
    rng: Random

    def snap(self, time: float) -> float:
        grid = self.recipe.grid
        return round(time / grid) * grid if grid else time

    def wrong(self, interval: Interval) -> bool:
        """Inside the video, and out of the scorer's tolerance for every true event."""
        inside = -1e-9 <= interval[0] <= interval[1] <= self.end + 1e-9
        return inside and all(overlap(interval, event.interval) < self.recipe.tolerance for event in self.events)

    def told_apart(self, i: int, j: int) -> bool:
        """Whether the words about two events differ, so that exchanging their times or words is a mistake."""
        a, b = part_of(self.parts, i), part_of(self.parts, j)
        return None not in (a, b) and a != b and words(self.parts[a]) != words(self.parts[b])

    def moved(self, k: int, interval: Interval) -> tuple[Event, ...]:
        event = replace(self.events[k], start=interval[0], end=interval[1])
        return (*self.events[:k], event, *self.events[k + 1:])


Draft = tuple[Sequence[Event], Sequence[Part], float, int] | None  # events, parts, strength, touched event


def overlap(a: Interval, b: Interval) -> float:
    """Intersection over union; two equal instants overlap fully."""
    both = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - both
    return both / union if union > 0 else float(a == b)


# when

def _shift(c: Chosen) -> Draft:
    k, strength = c.rng.randrange(len(c.events)), c.rng.choice(c.recipe.shift)
    start, end = c.events[k].interval
    by = max(c.snap(strength * (end - start)), c.recipe.grid)
    ways = [span for span in ((start + by, end + by), (start - by, end - by)) if c.wrong(span)]
    return (c.moved(k, c.rng.choice(ways)), c.parts, strength, k) if ways else None


def _resize(c: Chosen) -> Draft:
    k, share = c.rng.randrange(len(c.events)), c.rng.choice(c.recipe.resize)
    start, end = c.events[k].interval
    less = (c.snap(start + (end - start) * (1 - share) / 2), c.snap(start + (end - start) * (1 + share) / 2))
    more = (end - start) / share
    first = c.snap(min(max(0.0, (start + end - more) / 2), max(0.0, c.end - more)))
    ways = [(span, s) for span, s in ((less, share), ((first, c.snap(first + more)), 1 / share)) if c.wrong(span)]
    if not ways:
        return None
    span, strength = c.rng.choice(ways)
    return c.moved(k, span), c.parts, strength, k


def _swap(c: Chosen) -> Draft:
    if (pair := _two_told_apart(c)) is None:
        return None
    i, j = pair
    events = list(c.moved(i, c.events[j].interval))
    events[j] = replace(c.events[j], start=c.events[i].start, end=c.events[i].end)
    return events, c.parts, 1.0, i


# which

def _delete(c: Chosen) -> Draft:
    k = c.rng.randrange(len(c.events))
    rest = c.events[:k] + c.events[k + 1:]
    still_found = any(overlap(c.events[k].interval, e.interval) >= c.recipe.tolerance for e in rest)
    parts = without(c.parts, k)
    if not rest or still_found or not parts:
        return None
    return rest, renumber(parts, lambda n: n - (n > k)), 1.0, k


def _add(c: Chosen) -> Draft:
    like = c.rng.choice(c.events)
    length = like.end - like.start
    starts = [c.snap(c.rng.uniform(0, max(0.0, c.end - length))) for _ in range(8)]
    free = [s for s in starts if s + length <= c.end + 1e-9 and all(
        s > e.end or s + length < e.start for e in c.events)]
    if not free:
        return None
    before = [k for k, event in enumerate(c.events) if event.start < free[0]]
    k = before[-1] if before else 0
    return _inserted(c, k, Event(free[0], free[0] + length), bool(before), distorted=True)


def _merge(c: Chosen) -> Draft:
    order = sorted(range(len(c.events)), key=lambda k: c.events[k].start)
    if len(order) < 2:
        return None
    at = c.rng.randrange(len(order) - 1)
    i, j = order[at:at + 2]
    a, b = c.events[i], c.events[j]
    span = (min(a.start, b.start), max(a.end, b.end))
    parts = without(c.parts, j)
    if not parts or min(overlap(span, a.interval), overlap(span, b.interval)) >= c.recipe.tolerance:
        return None
    events = c.moved(i, span)
    return events[:j] + events[j + 1:], renumber(parts, lambda n: n - (n > j)), 1.0, i


# what

FACTS = ("color", "object", "action")


def fact(c: Chosen, kind: str) -> Draft:
    told = [k for k in range(len(c.events)) if _alone(c, k) is not None]
    if not told or c.distort is None:
        return None
    k = c.rng.choice(told)
    at = _alone(c, k)
    part = _distorted(c, c.parts[at], kind)
    if part is None or _happens_there(c, k, part):
        return None
    return _renamed(c.events, k, part), [*c.parts[:at], part, *c.parts[at + 1:]], 1.0, k


def _order(c: Chosen) -> Draft:
    """Words of order exchanged for others (first, second); or the words about two events exchanged."""
    if draft := fact(c, "order"):
        return draft
    if (pair := _two_told_apart(c)) is None:
        return None
    i, j = pair
    exchange = {i: j, j: i}
    parts = list(c.parts)
    a, b = (part_of(parts, k) for k in pair)
    parts[a], parts[b] = (renumber([part], lambda n: exchange.get(n, n))[0] for part in (_like(parts[b], parts[a]),
                                                                                       _like(parts[a], parts[b])))
    events = list(c.events)
    events[i], events[j] = (replace(events[k], caption=events[other].caption) for k, other in ((i, j), (j, i)))
    return events, parts, 1.0, i


# how

def _repeat_text(c: Chosen) -> Draft:
    k, times = c.rng.randrange(len(c.events)), c.rng.choice(c.recipe.repeat)
    if (at := part_of(c.parts, k)) is None:
        return None
    part = c.parts[at]
    longest = max((piece for piece in part if isinstance(piece, str)), key=lambda text: len(words([text])), default="")
    said = words([longest])
    if not said:
        return None
    again = longest.replace(said, " ".join([said] * (times + 1)), 1)
    part = [again if piece is longest else piece for piece in part]
    return c.events, [*c.parts[:at], part, *c.parts[at + 1:]], times, k


def _repeat_event(c: Chosen) -> Draft:
    k, times = c.rng.randrange(len(c.events)), c.rng.choice(c.recipe.repeat)
    state = c
    for _ in range(times):
        draft = _inserted(state, k, c.events[k], True, distorted=False)
        if draft is None:
            return None
        state = replace(c, events=tuple(draft[0]), parts=list(draft[1]))
    return state.events, state.parts, times, k


KINDS: dict[str, tuple[Factor, Callable[[Chosen], Draft]]] = {
    "shift": ("when", _shift), "resize": ("when", _resize), "swap": ("when", _swap),
    "delete": ("which", _delete), "add": ("which", _add), "merge": ("which", _merge),
    "order": ("what", _order),
    "repeat_text": ("how", _repeat_text), "repeat_event": ("how", _repeat_event)}


def _inserted(c: Chosen, k: int, event: Event, after: bool, distorted: bool) -> Draft:
    """One more event next to event k, told in its words (or, if asked and possible, in others like them)."""
    if (at := part_of(c.parts, k)) is None:
        return None
    told = c.parts[at] if _tells(c, k, at) else None
    event = replace(event, caption=c.events[k].caption)
    if told is not None and distorted and c.distort is not None:
        kinds = list(getattr(c.distort, "kinds", FACTS))
        c.rng.shuffle(kinds)
        other = next((part for kind in kinds if (part := _distorted(c, told, kind))), None)
        told, event = (other, replace(event, caption=words(other))) if other else (told, event)
    new = k + after
    spread = renumber(c.parts, lambda n: n + (n >= new))
    told = None if told is None else renumber([told], lambda n: n + (n >= new))[0]
    parts = beside(spread, k + (k >= new), new, told, after)
    return ([*c.events[:new], event, *c.events[new:]], parts, 1.0, k) if parts else None


def _tells(c: Chosen, k: int, at: int) -> bool:
    """Whether the part says what happens, so that another event needs a part of its own; else it only points."""
    part = c.parts[at]
    alone, dense = len(references(part)) == 1, len(c.parts) > 1 or not isinstance(part[0], str)
    caption = c.events[k].caption.lower()
    return alone and (dense or bool(caption) and caption in words(part).lower())


def _alone(c: Chosen, k: int) -> int | None:
    at = part_of(c.parts, k)
    return at if at is not None and len(references(c.parts[at])) == 1 else None


def _two_told_apart(c: Chosen) -> tuple[int, int] | None:
    n = len(c.events)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if c.told_apart(i, j)
             and overlap(c.events[i].interval, c.events[j].interval) < c.recipe.tolerance]
    return c.rng.choice(pairs) if pairs else None


def _distorted(c: Chosen, part: Part, kind: str) -> Part | None:
    """A part about one event with another fact in its words."""
    event = references(part)[0]
    text = "".join(piece if isinstance(piece, str) else GAP for piece in part)
    new = c.distort(text, kind, c.rng)
    if new is None or new == text:
        return None
    if new.count(GAP) != 1:
        raise LabError(f"distorting {text!r} must keep the place of its event, found {new!r}")
    left, right = new.split(GAP)
    return [piece for piece in (left, event, right) if piece != ""]


def _happens_there(c: Chosen, k: int, part: Part) -> bool:
    """Whether these words are true of another event at the same time."""
    rivals = [n for n, event in enumerate(c.events)
              if n != k and overlap(event.interval, c.events[k].interval) >= c.recipe.tolerance]
    return any(words(part) == words(c.parts[at]) for n in rivals if (at := part_of(c.parts, n)) is not None)


def _renamed(events: Sequence[Event], k: int, part: Part) -> tuple[Event, ...]:
    caption = words(part) if events[k].caption else ""
    return (*events[:k], replace(events[k], caption=caption), *events[k + 1:])


def _like(part: Part, other: Part) -> Part:
    """The part with or without a blank in front, as the other one has it."""
    blank = isinstance(other[0], str) and other[0][:1].isspace()
    bare = [part[0].lstrip(), *part[1:]] if isinstance(part[0], str) else part
    return [" ", *bare] if blank else [piece for piece in bare if piece != ""]
