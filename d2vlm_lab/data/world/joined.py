"""Questions whose answer joins two or three moments (task `multi`): how often and when, between, around, first, longer.

Each names events by captions that fit no other event, so there is one right answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations

from ..sample import Sample
from . import phrases
from .asker import Asker
from .questions import Draft
from .scene import SceneEvent

MOST = 4  # questions of a video


def joining(a: Asker) -> list[Sample]:
    """Up to four of the questions that join at most `moments` events, in random order, none asked twice."""
    drafts = [draft for needed, draft in possible(a) if needed <= a.config.moments]
    samples: dict[str, Sample] = {}
    for k in a.rng.permutation(len(drafts)):
        if len(samples) < MOST:
            sample = drafts[k]()
            samples.setdefault(sample.question, sample)
    return list(samples.values())


def possible(a: Asker) -> Iterator[tuple[int, Draft]]:
    """How many events each answer names, and the question."""
    for event in a.events:
        alike = a.alike(event)
        if len(alike) > 1 and alike[0] is event:
            number = phrases.NUMBERS[min(len(alike), len(phrases.NUMBERS) - 1)]
            yield len(alike), partial(a.ask, "multi", phrases.MULTI_COUNT, event, alike, number=number)
            yield from _between(a, *alike[:2])
        if len(alike) == 1:
            yield from _around(a, event)
    unique = [event for event in a.events if len(a.alike(event)) == 1]
    for pair in combinations(unique, 2):
        yield from _compared(a, *pair)


def _between(a: Asker, first: SceneEvent, second: SceneEvent) -> Iterator[tuple[int, Draft]]:
    """What happens between two events, where that is exactly one event and all of it lies there."""
    inside = [e for e in a.events if e not in (first, second) and e.last > first.first and e.first < second.last]
    if len(inside) == 1 and first.last < inside[0].first and inside[0].last < second.first:
        yield 3, partial(a.ask, "multi", phrases.MULTI_BETWEEN, first, [first, second, inside[0]],
                         caption=a.scene.caption(inside[0]))


def _around(a: Asker, event: SceneEvent) -> Iterator[tuple[int, Draft]]:
    before, after = a.neighbour(event, -1), a.neighbour(event, 1)
    if before and after:
        yield 2, partial(a.ask, "multi", phrases.MULTI_AROUND, event, [before, after],
                         caption=a.scene.caption(before), other=a.scene.caption(after))


def _compared(a: Asker, *pair: SceneEvent) -> Iterator[tuple[int, Draft]]:
    """Which of two events is first, and which is longer; they are named in random order."""
    def ask(templates: tuple, events: list[SceneEvent], *names: str) -> Sample:
        captions = list(map(a.scene.caption, events))
        asked = [captions[k] for k in a.rng.permutation(2)]
        return a.ask("multi", templates, events[0], events, caption=asked[0], other=asked[1],
                     **dict(zip(names, captions)))  # type: ignore[arg-type]

    earlier, later = sorted(pair, key=lambda e: e.first)
    if earlier.first < later.first:
        yield 2, partial(ask, phrases.MULTI_FIRST, [earlier, later], "earlier", "later")
    shorter, longer = sorted(pair, key=lambda e: e.last - e.first)
    if longer.last - longer.first > shorter.last - shorter.first:
        yield 2, partial(ask, phrases.MULTI_LONGER, [longer, shorter], "longer", "shorter")
