"""What the base learns of a world: endless questions and answers in plain words, never an interval among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from . import phrases as say
from .phrases import VERBS
from .scene import Scene, SceneEvent

NOW, ALL, NOTHING = "what is happening here?", "what happens, in order?", "nothing."
KINDS = ("all", "thing", "yes or no", "who", "next", "nth", "told")
SHARES = (1, 1, 1, 1, 1, 1, 4)
RELATIONS = {"after", "next", "before", *say.ORDINALS, "last", "longest", "every", "all", "anything", "everything"}

Lesson = tuple[str, str, str]  # kind, question, answer


def lessons(scene: Scene, window: tuple[int, int], told: Sequence[tuple[str, str]],
            rng: np.random.Generator) -> Iterator[Lesson]:
    """About the frames `window` of a scene, in random order of kind; `told` are its questions without their times."""
    first, last = window
    events = [event for event in scene.events if event.first <= last and event.last >= first]
    shares = np.array(SHARES) / sum(SHARES)
    whole = (first, last) == (0, scene.n_frames - 1)
    while True:
        kind = KINDS[rng.choice(len(KINDS), p=shares)]
        if kind == "all":
            yield kind, (ALL if whole else NOW), _tell(scene, events)
        elif kind == "yes or no":
            thing, action = _ask_about(scene, events, rng)
            happened = any((event.thing, event.action) == (thing, action) for event in events)
            yield kind, f"does the {scene.things[thing].name} {VERBS[action][0]}?", "yes" if happened else "no"
        elif kind == "told" and whole and told:
            question, answer = told[rng.integers(len(told))]
            yield kind, question, " ".join([_key_words(scene, question, rng), answer]).strip()
        elif kind in ("thing", "who", "next", "nth") and (lesson := _about_one(kind, scene, events, whole, rng)):
            yield kind, *lesson


def _about_one(kind: str, scene: Scene, events: Sequence[SceneEvent], whole: bool,
               rng: np.random.Generator) -> tuple[str, str] | None:
    """What can only be answered by looking at one moment, which the question describes by what else is true of it."""
    if kind == "thing":
        thing = int(rng.integers(len(scene.things)))
        did = [event.action for event in events if event.thing == thing]
        return f"what does the {scene.things[thing].name} do?", f"it {', then '.join(did)}." if did else NOTHING
    if not events or (kind != "who" and not whole):
        return None
    k = int(rng.integers(len(events)))
    event = events[k]
    same = [e for e in events if (e.thing, e.action) == (event.thing, event.action)]
    if kind == "who":
        doers = [e for e in events if e.action == event.action]
        return (f"what {event.action}?", f"the {scene.things[event.thing].name}.") if len(doers) == 1 else None
    if kind == "next":
        nth = f" for the {say.ORDINALS[same.index(event)]} time" if len(same) > 1 else ""
        following = f"the {_name(scene, events[k + 1])}." if k + 1 < len(events) else NOTHING
        return f"what happens after the {_name(scene, event)}{nth}?", following
    mine = [e for e in events if e.thing == event.thing]
    if rng.random() < 0.5:
        return f"what happens {say.ORDINALS[k]}?", f"the {_name(scene, event)}."
    nth = say.ORDINALS[mine.index(event)]
    return f"what does the {scene.things[event.thing].name} do {nth}?", f"it {event.action}."


def told_without_times(sample) -> tuple[str, str] | None:
    """A question of the world and the words of its answer, the times left out; none where the question has times."""
    if sample.question_intervals:
        return None
    return sample.question, "".join(piece for piece in sample.answer if isinstance(piece, str)).strip()


def is_right(kind: str, said: str, answer: str) -> bool:
    """To the letter; the key words that open what is told may come in any order."""
    if kind == "told":
        one, other = ([sorted(part.split()) for part in text.split(".")] for text in (said, answer))
        return one == other
    return said.strip() == answer


def _key_words(scene: Scene, question: str, rng: np.random.Generator) -> str:
    """What a question names, in any order: so its last state comes to hold all of it, not only a next word."""
    asked = question.split(" (A)")[0]
    canonical = {form: forms[2] for action, forms in VERBS.items() for form in (action, *forms[:2])}
    named = [word for form, word in canonical.items() if re.search(rf"\b{form}\b", asked)]
    looks = {word for thing in scene.things for word in (thing.color, thing.shape)} | RELATIONS
    named += [word for word in re.findall(r"\w+", asked) if word in looks]
    rng.shuffle(named)
    return f"{' '.join(named)}." if named else ""


def _ask_about(scene: Scene, events: Sequence[SceneEvent], rng: np.random.Generator) -> tuple[int, str]:
    """Half of the time something that happens, else a mix of a thing and an action that are near."""
    if events and rng.random() < 0.5:
        event = events[rng.integers(len(events))]
        return event.thing, event.action
    actions = sorted({event.action for event in scene.events} | {str(rng.choice(sorted(VERBS)[:7]))})
    return int(rng.integers(len(scene.things))), actions[rng.integers(len(actions))]


def _name(scene: Scene, event: SceneEvent) -> str:
    return f"{scene.things[event.thing].name} {event.action}"


def _tell(scene: Scene, events: Sequence[SceneEvent]) -> str:
    return ", then ".join(f"the {_name(scene, event)}" for event in events) + "." if events else NOTHING
