"""Questions about a scene, with the one right answer to each: every task of E.T. Bench, and what never happens."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ..sample import Sample
from . import phrases as say
from .asker import Asker
from .config import WorldConfig
from .scene import Scene, SceneEvent

VARIED = ("tvg", "gvq", "epm", "tal")  # tasks of which a video may get more than one question: tvg one for each event


def ask(scene: Scene, config: WorldConfig, rng: np.random.Generator, negatives: bool = True) -> list[Sample]:
    """One question for each task that the scene allows, then more of the varied ones, up to `config.questions`."""
    asker = Asker(scene, config, rng)
    drafts = {task: list(builders(asker)) for task, builders in TASKS.items()}
    chosen, spare = [], {}
    for task, builds in drafts.items():
        order = rng.permutation(len(builds))
        chosen += [builds[k]() for k in order[:1]]
        spare[task] = [builds[k] for k in order[1:]]
    if negatives and rng.random() < config.negatives and (never := _never(asker)):
        chosen.append(never)
    order = rng.permutation(len(chosen))[:config.questions]
    samples = [chosen[k] for k in sorted(order)]
    for build in [build for task in VARIED for build in spare[task]]:
        more = build()
        if len(samples) < config.questions and all(_asked(more) != _asked(sample) for sample in samples):
            samples.append(more)
    return samples


def _asked(sample: Sample) -> tuple:
    return sample.question, sample.question_intervals


def _tvg(a: Asker):
    def moment(event):
        question, answer = a.pick(say.TVG)
        return a.sample("tvg", question.format(**a.forms(event)), [event], answer)

    def nth(event):
        same = [e for e in a.events if (e.thing, e.action) == (event.thing, event.action)]
        words = {**a.forms(event), "nth": say.ORDINALS[same.index(event)]}
        question, answer = a.pick(say.NTH)
        return a.sample("tvg", question.format(**words), [event], answer.replace("{nth}", words["nth"]))

    for event in a.events:
        n = a.count[event.thing, event.action]
        if n <= len(say.ORDINALS):
            yield partial(moment if n == 1 else nth, event)


def _never(a: Asker) -> Sample | None:
    """About something that might have happened: of a thing on screen, or of an action that another thing does."""
    near = [(k, action) for k in range(len(a.names)) for action in a.config.actions if (k, action) not in a.count]
    if not near:
        return None
    name, action = a.names[(pair := a.pick(near))[0]], pair[1]
    return a.sample("tvg", a.pick(say.TVG)[0].format(**say.forms(name, action)), (), say.NEVER)


def _epm(a: Asker):
    def related(event, target, templates):
        question, answer = a.pick(templates)
        caption = a.forms(target)["caption"]
        return a.sample("epm", question.format(**a.forms(event)), [target], answer.replace("{caption}", caption))

    for event in a.unique:
        for step, templates in ((1, say.EPM_NEXT), (-1, say.EPM_BEFORE)):
            if target := a.after(event, step):
                yield partial(related, event, target, templates)
    for thing in a.per_thing:
        mine = [e for e in a.events if e.thing == thing]
        yield partial(related, mine[0], mine[0], say.EPM_FIRST)
        if len(mine) > 1:
            yield partial(related, mine[-1], mine[-1], say.EPM_LAST)


def _tal(a: Asker):
    def every(events, templates):
        question, answer = a.pick(templates)
        return a.sample("tal", question.format(**a.forms(events[0])), events, answer)

    groups = [[e for e in a.events if (e.thing, e.action) == key] for key in a.count]
    repeated = [group for group in groups if len(group) > 1] or groups
    for group in repeated:
        yield partial(every, group, say.TAL)
    for action in a.per_action:
        yield partial(every, [e for e in a.events if e.action == action], say.TAL_ANY)


def _evs(a: Asker):
    question, answer = a.pick(say.EVS)
    yield partial(a.sample, "evs", question, a.events, answer)


def _vhd(a: Asker):
    question, answer = say.VHD_ONE
    for event in a.events:
        if a.per_thing[event.thing] == 1:
            yield partial(a.sample, "vhd", question.format(**a.forms(event)), [event], answer)
    longest = max(a.events, key=lambda e: e.last - e.first)
    if sum(e.last - e.first == longest.last - longest.first for e in a.events) == 1:
        question, answer = say.VHD_LONGEST
        yield partial(a.sample, "vhd", question, [longest], answer)


def _captions(task: str, a: Asker, events: list[SceneEvent], template: tuple[str, str]) -> Sample:
    question, line = template
    captions = [line.format(**a.forms(event)) for event in events]
    draft = a.sample(task, question.format(**a.forms(events[0])), events,
                     " ".join(f"{{}}, {caption}." for caption in captions))
    return replace(draft, events=tuple(replace(e, caption=text) for e, text in zip(draft.events, captions)))


def _dvc(a: Asker):
    yield partial(_captions, "dvc", a, a.events, a.pick(say.DVC))


def _slc(a: Asker):
    most = max(a.per_thing.values())
    for thing in [thing for thing, n in a.per_thing.items() if n == most]:
        mine = [e for e in a.events if e.thing == thing]
        yield partial(_captions, "slc", a, mine, a.pick(say.SLC))


def _tem(a: Asker):
    def again(event, others, templates):
        question, answer = a.pick(templates)
        return a.sample("tem", question, others, answer, [a.scene.interval(event)])

    for event in a.events:
        same = [e for e in a.events if (e.thing, e.action) == (event.thing, event.action) and e is not event]
        mine = [e for e in a.events if e.thing == event.thing and e is not event]
        if same:
            yield partial(again, event, same, say.TEM_SAME)
        elif mine:
            yield partial(again, event, mine, say.TEM_THING)


def _rar(a: Asker):
    def act(event):
        question, form = a.pick(say.RAR)
        likely = [e.action for e in a.events if e.thing == event.thing]
        options = a.others(event.action, [*likely, *a.config.actions], say.VERBS)
        return a.choice("rar", question.format("{}", **a.forms(event)), options, event.action,
                        asked=[a.scene.interval(event)], words=lambda action: say.forms("", action)[form])

    for event in a.events:
        if _alone(a, event):
            yield partial(act, event)


def _eca(a: Asker):
    def part(event):
        right = a.scene.interval(event)
        options = [right, *[a.scene.interval(e) for e in a.events if e is not event]][:4]
        while len(options) < 4:
            options.append(_elsewhere(a, options))
        draft = a.choice("eca", a.pick(say.ECA).format(**a.forms(event)), options, right, words=lambda _: "{}")
        return replace(draft, question_intervals=draft.options)

    for event in a.unique:
        yield partial(part, event)


def _rvq(a: Asker):
    def which(event):
        options = a.others(a.names[event.thing], a.names, _all_names(a.config))
        return a.choice("rvq", a.pick(say.RVQ_OBJECT).format("{}", **a.forms(event)), options, a.names[event.thing],
                        asked=[a.scene.interval(event)], words=lambda name: f"the {name}")

    def color(event):
        things = a.scene.things
        options = a.others(things[event.thing].color, [t.color for t in things], _all_colors(a.config))
        return a.choice("rvq", a.pick(say.RVQ_COLOR).format("{}", **a.forms(event)), options,
                        things[event.thing].color, asked=[a.scene.interval(event)])

    for event in a.events:
        if _alone(a, event):
            yield partial(which, event)
            yield partial(color, event)


def _gvq(a: Asker):
    def what(event):
        question, answer = say.GVQ_ACTION
        options = a.others(event.action, a.config.actions, say.VERBS)
        return a.choice("gvq", question.format(**a.forms(event)), options, event.action, [event], answer)

    def which(event):
        question, answer = a.pick(say.GVQ_OBJECT)
        name = a.names[event.thing]
        return a.choice("gvq", question.format(**a.forms(event)), a.others(name, a.names, _all_names(a.config)), name,
                        [event], answer, words=lambda name: f"the {name}")

    def following(event, target):
        question, answer = say.GVQ_NEXT
        caption, happen = a.scene.caption(target), [a.scene.caption(e) for e in a.events if e is not event]
        rest = [f"the {name} {action}" for name in _all_names(a.config) for action in say.VERBS]
        near = [f"the {name} {action}" for name in a.names for action in a.config.actions]
        options = a.others(caption, happen, near if len(near) > 4 else rest)
        return a.choice("gvq", question.format(**a.forms(event)), options, caption, [target], answer)

    for event in a.events:
        if a.per_thing[event.thing] == 1:
            yield partial(what, event)
        if a.per_action[event.action] == 1:
            yield partial(which, event)
    for event in a.unique:
        if target := a.after(event):
            yield partial(following, event, target)


TASKS = {"rar": _rar, "eca": _eca, "rvq": _rvq, "tvg": _tvg, "epm": _epm, "tal": _tal, "evs": _evs, "vhd": _vhd,
         "dvc": _dvc, "slc": _slc, "tem": _tem, "gvq": _gvq}


def _alone(a: Asker, event: SceneEvent) -> bool:
    """Nothing else happens meanwhile, so the interval alone says which event is meant."""
    return all(e is event or e.last < event.first or e.first > event.last for e in a.events)


def _elsewhere(a: Asker, taken: list[tuple[float, float]]) -> tuple[float, float]:
    """A wrong interval that is clearly not one of those taken."""
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
