"""Questions about a scene, with the one right answer to each: every task of E.T. Bench, and what never happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ...ideas.evidence import EVIDENCE, Interval
from ..sample import Sample
from . import phrases
from .asker import Asker
from .config import WorldConfig
from .scene import Scene, SceneEvent

VARIED = ("tvg", "gvq", "epm", "tal")  # a video may get several questions of these tasks: for tvg, one for each event
Draft = Callable[[], Sample]  # makes a question, with its random choices, when it is called


def ask(scene: Scene, config: WorldConfig, rng: np.random.Generator, negatives: bool = True) -> list[Sample]:
    """One question for each task that the scene allows, then more of the varied ones, up to `config.questions`.

    Of the questions about what never happens, all after the first one come on top of that number.
    """
    asker = Asker(scene, config, rng)
    first, more = [], {}
    for task, possible in drafts(asker).items():
        order = rng.permutation(len(possible))
        first += [possible[k]() for k in order[:1]]
        more[task] = [possible[k] for k in order[1:]]
    imagined = _imagined(asker) if negatives and rng.random() < config.negatives else []
    if imagined:
        first.append(_never(asker, imagined))
    samples = [first[k] for k in sorted(rng.permutation(len(first))[:config.questions])]
    for draft in [draft for task in VARIED for draft in more[task]]:
        sample = draft()
        known = [(s.question, s.question_intervals) for s in samples]
        if len(samples) < config.questions and (sample.question, sample.question_intervals) not in known:
            samples.append(sample)
    return samples + [_never(asker, imagined) for _ in range(min(config.nevers - 1, len(imagined)))]


def drafts(a: Asker) -> dict[str, list[Draft]]:
    """The questions of each task that the scene allows."""
    # An event that is alone can be named by its interval, and one that is unique by its caption.
    alone = [e for e in a.events if all(o is e or o.last < e.first or o.first > e.last for o in a.events)]
    unique = [e for e in a.events if len(a.alike(e)) == 1]
    most = max(a.per_thing.values())
    busiest = [a.of_thing(thing) for thing, n in a.per_thing.items() if n == most]
    return {
        "rar": [partial(_rar, a, event) for event in alone],
        "eca": [partial(_eca, a, event) for event in unique],
        "rvq": [partial(question, a, event) for event in alone for question in (_rvq_object, _rvq_color)],
        "tvg": list(_tvg(a)),
        "epm": list(_epm(a, unique)),
        "tal": list(_tal(a)),
        "evs": [partial(a.ask, "evs", [a.pick(phrases.EVS)], a.events[0], a.events)],
        "vhd": list(_vhd(a)),
        "dvc": [partial(_describe, a, "dvc", a.events, a.pick(phrases.DVC))],
        "slc": [partial(_describe, a, "slc", events, a.pick(phrases.SLC)) for events in busiest],
        "tem": list(_tem(a)),
        "gvq": list(_gvq(a, unique)),
    }


def _imagined(a: Asker) -> list[SceneEvent]:
    """What might have happened: an action of a thing on screen that it never does."""
    happened = {(e.thing, e.action) for e in a.events}
    return [SceneEvent(thing, action, 0, 0) for thing in range(len(a.names)) for action in a.config.actions
            if (thing, action) not in happened]


def _never(a: Asker, imagined: list[SceneEvent]) -> Sample:
    """A question about one of these events, which is taken from the list."""
    event = a.pick(imagined)
    imagined.remove(event)
    return a.ask("tvg", [(question, phrases.NEVER) for question, _ in phrases.TVG], event)


def _tvg(a: Asker) -> Iterator[Draft]:
    for event in a.events:
        alike = a.alike(event)
        if len(alike) == 1:
            yield partial(a.ask, "tvg", phrases.TVG, event, [event])
        elif len(alike) <= len(phrases.ORDINALS):
            yield partial(a.ask, "tvg", phrases.NTH, event, [event], nth=phrases.ORDINALS[alike.index(event)])


def _epm(a: Asker, unique: list[SceneEvent]) -> Iterator[Draft]:
    related: list[tuple[SceneEvent, SceneEvent | None, Sequence[tuple[str, str]]]] = [
        (event, a.neighbour(event, step), templates) for event in unique
        for step, templates in ((1, phrases.EPM_NEXT), (-1, phrases.EPM_BEFORE))]
    for events in map(a.of_thing, a.per_thing):
        related.append((events[0], events[0], phrases.EPM_FIRST))
        if len(events) > 1:
            related.append((events[-1], events[-1], phrases.EPM_LAST))
    for event, target, templates in related:
        if target:
            yield partial(a.ask, "epm", templates, event, [target], caption=a.scene.caption(target))


def _tal(a: Asker) -> Iterator[Draft]:
    groups = [a.alike(event) for event in a.events if a.alike(event)[0] is event]
    for group in [group for group in groups if len(group) > 1] or groups:
        yield partial(a.ask, "tal", phrases.TAL, group[0], group)
    for action in a.per_action:
        events = [e for e in a.events if e.action == action]
        yield partial(a.ask, "tal", phrases.TAL_ANY, events[0], events)


def _vhd(a: Asker) -> Iterator[Draft]:
    for event in a.events:
        if a.per_thing[event.thing] == 1:
            yield partial(a.ask, "vhd", phrases.VHD_ONE, event, [event])
    longest = max(e.last - e.first for e in a.events)
    events = [e for e in a.events if e.last - e.first == longest]
    if len(events) == 1:
        yield partial(a.ask, "vhd", phrases.VHD_LONGEST, events[0], events)


def _describe(a: Asker, task: str, events: list[SceneEvent], template: tuple[str, str]) -> Sample:
    question, line = template
    captions = [line.format(**a.forms(event)) + a.details(event) for event in events]
    answer = " ".join(f"{{}}, {caption}." for caption in captions)
    return a.ask(task, [(question, answer)], events[0], events, captions=captions)


def _tem(a: Asker) -> Iterator[Draft]:
    for event in a.events:
        again = [e for e in a.alike(event) if e is not event]
        active = [e for e in a.of_thing(event.thing) if e is not event]
        if active:
            templates = phrases.TEM_SAME if again else phrases.TEM_THING
            yield partial(a.ask, "tem", templates, event, again or active, [a.scene.interval(event)])


def _rar(a: Asker, event: SceneEvent) -> Sample:
    question, form = a.pick(phrases.RAR)
    return a.ask("rar", [(question, "")], event, asked=[a.scene.interval(event)], options=a.action_options(event),
                 write=lambda action: phrases.forms("", action)[form])


def _eca(a: Asker, event: SceneEvent) -> Sample:
    options = [a.scene.interval(e) for e in (event, *(e for e in a.events if e is not event))][:4]
    while len(options) < 4:
        options.append(_elsewhere(a, options))
    sample = a.ask("eca", phrases.ECA, event, options=options, write=lambda interval: EVIDENCE)
    return replace(sample, question_intervals=tuple(span for span in sample.options if not isinstance(span, str)))


def _rvq_object(a: Asker, event: SceneEvent) -> Sample:
    return a.ask("rvq", phrases.RVQ_OBJECT, event, asked=[a.scene.interval(event)], options=a.thing_options(event),
                 write="the {}".format)


def _rvq_color(a: Asker, event: SceneEvent) -> Sample:
    colors = [thing.color for thing in a.scene.things]
    return a.ask("rvq", phrases.RVQ_COLOR, event, asked=[a.scene.interval(event)],
                 options=a.options(colors[event.thing], colors, a.all_colors))


def _gvq(a: Asker, unique: list[SceneEvent]) -> Iterator[Draft]:
    for event in a.events:
        if a.per_thing[event.thing] == 1:
            yield partial(_gvq_action, a, event)
        if a.per_action[event.action] == 1:
            yield partial(_gvq_object, a, event)
    for event in unique:
        if following := a.neighbour(event, 1):
            yield partial(_gvq_next, a, event, following)


def _gvq_action(a: Asker, event: SceneEvent) -> Sample:
    return a.ask("gvq", phrases.GVQ_ACTION, event, [event], options=a.action_options(event))


def _gvq_object(a: Asker, event: SceneEvent) -> Sample:
    template = a.pick(phrases.GVQ_OBJECT)
    return a.ask("gvq", [template], event, [event], options=a.thing_options(event), write="the {}".format)


def _gvq_next(a: Asker, event: SceneEvent, following: SceneEvent) -> Sample:
    happen = [a.scene.caption(e) for e in a.events if e is not event]
    others = [f"the {name} {action}" for name in a.names for action in a.config.actions]
    if len(others) <= 4:
        others = [f"the {name} {action}" for name in a.all_names for action in phrases.USUAL]
    return a.ask("gvq", phrases.GVQ_NEXT, event, [following],
                 options=a.options(a.scene.caption(following), happen, others))


def _elsewhere(a: Asker, taken: list[Interval]) -> Interval:
    """A wrong interval that overlaps little with those taken."""
    low, high = a.config.event_frames
    for attempt in range(200):
        first = int(a.rng.integers(0, a.config.frames - low))
        last = min(first + int(a.rng.integers(low, high + 1)), a.config.frames) - 1
        span = a.scene.interval(SceneEvent(0, "", first, last))
        far = all(min(span[1], end) - max(span[0], start) <= 0.3 * (span[1] - span[0]) for start, end in taken)
        if span not in taken and (far or attempt > 100):
            return span
    raise AssertionError("a video has more than four intervals")
