"""Questions about a scene, with the one right answer to each: every task of E.T. Bench, and what never happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ...ideas.evidence import Interval
from ..sample import Sample
from . import phrases
from .asker import Asker
from .config import WorldConfig
from .scene import Scene, SceneEvent

VARIED = ("tvg", "gvq", "epm", "tal")  # a video may get more than one question of these tasks: of tvg one per event
Drafts = Iterator[Callable[[], Sample]]  # the questions of a task that a scene allows, each made when it is called


def ask(scene: Scene, config: WorldConfig, rng: np.random.Generator, negatives: bool = True) -> list[Sample]:
    """One question for each task that the scene allows, then more of the varied ones, up to `config.questions`."""
    asker = Asker(scene, config, rng)
    drafts = {task: list(drafts_of(asker)) for task, drafts_of in TASKS.items()}
    first, more = [], {}
    for task, possible in drafts.items():
        order = rng.permutation(len(possible))
        first += [possible[k]() for k in order[:1]]
        more[task] = [possible[k] for k in order[1:]]
    if negatives and rng.random() < config.negatives and (never := _never(asker)):
        first.append(never)
    samples = [first[k] for k in sorted(rng.permutation(len(first))[:config.questions])]
    for draft in [draft for task in VARIED for draft in more[task]]:
        sample = draft()
        known = [(s.question, s.question_intervals) for s in samples]
        if len(samples) < config.questions and (sample.question, sample.question_intervals) not in known:
            samples.append(sample)
    return samples


def _tvg(a: Asker) -> Drafts:
    for event in a.events:
        alike = a.alike(event)
        if len(alike) == 1:
            yield partial(a.ask, "tvg", phrases.TVG, event, [event])
        elif len(alike) <= len(phrases.ORDINALS):
            yield partial(a.ask, "tvg", phrases.NTH, event, [event], nth=phrases.ORDINALS[alike.index(event)])


def _never(a: Asker) -> Sample | None:
    """About something that might have happened: of a thing on screen, or of an action that another thing does."""
    happened = {(e.thing, e.action) for e in a.events}
    near = [(k, action) for k in range(len(a.names)) for action in a.config.actions if (k, action) not in happened]
    if not near:
        return None
    imagined = SceneEvent(*a.pick(near), 0, 0)
    return a.ask("tvg", [(question, phrases.NEVER) for question, _ in phrases.TVG], imagined, [])


def _epm(a: Asker) -> Drafts:
    def related(event, target, templates):
        return partial(a.ask, "epm", templates, event, [target], caption=a.scene.caption(target))

    for event in a.unique:
        for step, templates in ((1, phrases.EPM_NEXT), (-1, phrases.EPM_BEFORE)):
            if target := a.neighbour(event, step):
                yield related(event, target, templates)
    for thing in a.per_thing:
        events = [e for e in a.events if e.thing == thing]
        yield related(events[0], events[0], phrases.EPM_FIRST)
        if len(events) > 1:
            yield related(events[-1], events[-1], phrases.EPM_LAST)


def _tal(a: Asker) -> Drafts:
    groups = [a.alike(event) for event in a.events if a.alike(event)[0] is event]
    for group in [group for group in groups if len(group) > 1] or groups:
        yield partial(a.ask, "tal", phrases.TAL, group[0], group)
    for action in a.per_action:
        events = [e for e in a.events if e.action == action]
        yield partial(a.ask, "tal", phrases.TAL_ANY, events[0], events)


def _evs(a: Asker) -> Drafts:
    yield partial(a.ask, "evs", [a.pick(phrases.EVS)], a.events[0], a.events)


def _vhd(a: Asker) -> Drafts:
    for event in a.events:
        if a.per_thing[event.thing] == 1:
            yield partial(a.ask, "vhd", phrases.VHD_ONE, event, [event])
    longest = max(e.last - e.first for e in a.events)
    events = [e for e in a.events if e.last - e.first == longest]
    if len(events) == 1:
        yield partial(a.ask, "vhd", phrases.VHD_LONGEST, events[0], events)


def _describe(a: Asker, task: str, events: list[SceneEvent], template: tuple[str, str]) -> Sample:
    question, line = template
    captions = [line.format(**a.forms(event)) for event in events]
    answer = " ".join(f"{{}}, {caption}." for caption in captions)
    return a.sample(task, question.format(**a.forms(events[0])), events, answer, captions=captions)


def _dvc(a: Asker) -> Drafts:
    yield partial(_describe, a, "dvc", a.events, a.pick(phrases.DVC))


def _slc(a: Asker) -> Drafts:
    most = max(a.per_thing.values())
    for thing in [thing for thing, n in a.per_thing.items() if n == most]:
        yield partial(_describe, a, "slc", [e for e in a.events if e.thing == thing], a.pick(phrases.SLC))


def _tem(a: Asker) -> Drafts:
    for event in a.events:
        again = [e for e in a.alike(event) if e is not event]
        active = [e for e in a.events if e.thing == event.thing and e is not event]
        if active:
            templates = phrases.TEM_SAME if again else phrases.TEM_THING
            yield partial(a.ask, "tem", templates, event, again or active, [a.scene.interval(event)])


def _rar(a: Asker) -> Drafts:
    def act(event):
        question, form = a.pick(phrases.RAR)
        likely = [*(e.action for e in a.events if e.thing == event.thing), *a.config.actions]
        return a.ask_with_options("rar", [(question, "")], event, event.action, likely, phrases.VERBS,
                                  asked=[a.scene.interval(event)],
                                  write=lambda action: phrases.forms("", action)[form])

    yield from (partial(act, event) for event in a.events if _alone(a, event))


def _eca(a: Asker) -> Drafts:
    def part(event):
        options = [a.scene.interval(e) for e in (event, *(e for e in a.events if e is not event))][:4]
        while len(options) < 4:
            options.append(_elsewhere(a, options))
        question, answer = a.pick(phrases.ECA)
        sample = a.shuffled("eca", question.format(**a.forms(event)), answer, options, write=lambda _: "{}")
        return replace(sample, question_intervals=sample.options)

    yield from (partial(part, event) for event in a.unique)


def _rvq(a: Asker) -> Drafts:
    def which(event):
        return a.ask_with_options("rvq", phrases.RVQ_OBJECT, event, a.names[event.thing], a.names,
                                  _all_names(a.config), asked=[a.scene.interval(event)], write="the {}".format)

    def color(event):
        colors = [thing.color for thing in a.scene.things]
        return a.ask_with_options("rvq", phrases.RVQ_COLOR, event, colors[event.thing], colors, _all_colors(a.config),
                                  asked=[a.scene.interval(event)])

    for event in a.events:
        if _alone(a, event):
            yield partial(which, event)
            yield partial(color, event)


def _gvq(a: Asker) -> Drafts:
    def what(event):
        return a.ask_with_options("gvq", phrases.GVQ_ACTION, event, event.action, a.config.actions, phrases.VERBS,
                                  [event])

    def which(event):
        return a.ask_with_options("gvq", [a.pick(phrases.GVQ_OBJECT)], event, a.names[event.thing], a.names,
                                  _all_names(a.config), [event], write="the {}".format)

    def following(event, target):
        happen = [a.scene.caption(e) for e in a.events if e is not event]
        others = [f"the {name} {action}" for name in a.names for action in a.config.actions]
        if len(others) <= 4:
            others = [f"the {name} {action}" for name in _all_names(a.config) for action in phrases.VERBS]
        return a.ask_with_options("gvq", phrases.GVQ_NEXT, event, a.scene.caption(target), happen, others, [target])

    for event in a.events:
        if a.per_thing[event.thing] == 1:
            yield partial(what, event)
        if a.per_action[event.action] == 1:
            yield partial(which, event)
    for event in a.unique:
        if target := a.neighbour(event, 1):
            yield partial(following, event, target)


TASKS = {"rar": _rar, "eca": _eca, "rvq": _rvq, "tvg": _tvg, "epm": _epm, "tal": _tal, "evs": _evs, "vhd": _vhd,
         "dvc": _dvc, "slc": _slc, "tem": _tem, "gvq": _gvq}


def _alone(a: Asker, event: SceneEvent) -> bool:
    """Nothing else happens meanwhile, so the interval alone says which event is meant."""
    return all(e is event or e.last < event.first or e.first > event.last for e in a.events)


def _elsewhere(a: Asker, taken: list[Interval]) -> Interval:
    """A wrong interval that is clearly none of those taken."""
    low, high = a.config.event_frames
    for attempt in range(200):
        first = int(a.rng.integers(0, a.config.frames - low))
        last = min(first + int(a.rng.integers(low, high + 1)), a.config.frames) - 1
        span = a.scene.interval(SceneEvent(0, "", first, last))
        far = all(min(span[1], end) - max(span[0], start) <= 0.3 * (span[1] - span[0]) for start, end in taken)
        if span not in taken and (far or attempt > 100):
            return span
    raise AssertionError("a video has more than four intervals")


def _all_names(config: WorldConfig) -> list[str]:
    return [f"{color} {shape}" for color in _all_colors(config) for shape in config.shapes]


def _all_colors(config: WorldConfig) -> list[str]:
    return list(dict.fromkeys([*config.colors, "red", "green", "blue", "yellow"]))
