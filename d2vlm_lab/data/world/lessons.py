"""What the base learns of a world: the words of each frame, then endless questions with answers in plain words.

No interval is ever among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..sample import Sample
from .config import WorldConfig
from .phrases import LEVELS, ORDINALS, PACES, SIDES, USUAL, VERBS
from .scene import Scene, SceneEvent
from .telling import place

NOW, ALL, NOTHING = "what is happening here?", "what happens, in order?", "nothing."
SHARES = {"all": 1, "thing": 1, "yes or no": 1, "who": 1, "next": 1, "nth": 1, "world": 4}  # world: its own questions
RELATIONS = {"after", "next", "before", *ORDINALS, "last", "longest", "every", "all", "anything", "everything"}


def frame_words(config: WorldConfig) -> tuple[str, ...]:
    """A word for each colour, shape and action, and for how and where if captions say it: the columns of labels."""
    words = (*config.colors, *config.shapes, *(VERBS[action][2] for action in config.actions))
    return words if not config.details else tuple(dict.fromkeys((*words, *PACES, *SIDES, *LEVELS)))


def frame_labels(scene: Scene, words: tuple[str, ...]) -> np.ndarray:
    """(F, words) float32: 1 where a thing of that colour or shape is doing something, or does that action."""
    labels = np.zeros((scene.n_frames, len(words)), np.float32)
    for event in scene.events:
        thing = scene.things[event.thing]
        active = [words.index(word) for word in (thing.color, thing.shape, VERBS[event.action][2])]
        labels[event.first:event.last + 1, active] = 1
        if event.into:  # it fades from one colour into the other
            labels[(event.first + event.last + 1) // 2:event.last + 1, [words.index(event.into), active[0]]] = 1, 0
    if SIDES[0] in words:
        _label_details(labels, scene, words)
    return labels


def _label_details(labels: np.ndarray, scene: Scene, words: tuple[str, ...]) -> None:
    """Label how fast a thing that does something is, and where it is on each frame."""
    for event in scene.events:
        how = [words.index(word) for word, pace in PACES.items() if pace == event.pace]
        labels[event.first:event.last + 1, how] = 1
        for frame in range(event.first, event.last + 1):
            for word in place(scene, event.thing, frame):
                labels[frame, words.index(word)] = 1


class Lesson(NamedTuple):
    kind: str  # of SHARES
    question: str
    answer: str


def lessons(scene: Scene, window: tuple[int, int], questions: Sequence[tuple[str, str]],
            rng: np.random.Generator) -> Iterator[Lesson]:
    """Lessons about the frames of `window`, in random order; `questions` are those that `without_times` makes."""
    first, last = window
    events = [event for event in scene.events if event.first <= last and event.last >= first]
    kinds, shares = list(SHARES), np.array(list(SHARES.values())) / sum(SHARES.values())
    whole = (first, last) == (0, scene.n_frames - 1)
    while True:
        kind = kinds[rng.choice(len(kinds), p=shares)]
        if kind == "all":
            happens = ", then ".join(scene.caption(event) for event in events)
            yield Lesson(kind, ALL if whole else NOW, f"{happens}." if events else NOTHING)
        elif kind == "yes or no":
            thing, action = _ask_about(scene, events, rng)
            happened = any((event.thing, event.action) == (thing, action) for event in events)
            yield Lesson(kind, f"does the {scene.things[thing].name} {VERBS[action][0]}?", "yes" if happened else "no")
        elif kind == "world":
            if whole and questions:
                question, answer = questions[int(rng.integers(len(questions)))]
                yield Lesson(kind, question, f"{_key_words(scene, question, rng)} {answer}".strip())
        elif lesson := _about_one(kind, scene, events, whole, rng):
            yield Lesson(kind, *lesson)


def _about_one(kind: str, scene: Scene, events: Sequence[SceneEvent], whole: bool,
               rng: np.random.Generator) -> tuple[str, str] | None:
    """A question about one moment, described by something else that is true of it; only looking there helps."""
    if kind == "thing":
        thing = int(rng.integers(len(scene.things)))
        actions = [event.action for event in events if event.thing == thing]
        answer = f"it {', then '.join(actions)}." if actions else NOTHING
        return f"what does the {scene.things[thing].name} do?", answer
    if not events or (kind != "who" and not whole):
        return None
    k = int(rng.integers(len(events)))
    event = events[k]
    if kind == "who":
        alone = [e.action for e in events].count(event.action) == 1
        return (f"what {event.action}?", f"the {scene.things[event.thing].name}.") if alone else None
    if kind == "next":
        alike = [e for e in events if (e.thing, e.action) == (event.thing, event.action)]
        if alike.index(event) >= len(ORDINALS):
            return None
        nth = f" for the {ORDINALS[alike.index(event)]} time" if len(alike) > 1 else ""
        following = f"{scene.caption(events[k + 1])}." if k + 1 < len(events) else NOTHING
        return f"what happens after {scene.caption(event)}{nth}?", following
    whole_video = rng.random() < 0.5
    place = k if whole_video else [e for e in events if e.thing == event.thing].index(event)
    if place >= len(ORDINALS):  # there is no word for it
        return None
    if whole_video:
        return f"what happens {ORDINALS[place]}?", f"{scene.caption(event)}."
    return f"what does the {scene.things[event.thing].name} do {ORDINALS[place]}?", f"it {event.action}."


def without_times(sample: Sample) -> tuple[str, str] | None:
    """A question of the world and its answer without the times; None where the question has times."""
    if sample.question_intervals:
        return None
    return sample.question, "".join(piece for piece in sample.answer if isinstance(piece, str)).strip()


def is_right(kind: str, text: str, answer: str) -> bool:
    """Whether an answer is right to the letter; for `world`, the key words before the answer may come in any order."""
    if kind == "world":
        written, expected = ([sorted(part.split()) for part in each.split(".")] for each in (text, answer))
        return written == expected
    return text.strip() == answer


def _key_words(scene: Scene, question: str, rng: np.random.Generator) -> str:
    """What a question names, in any order, so that its last state learns to hold all of it, not just the next word."""
    asked = question.split(" (A)")[0]
    word_of = {form: forms[2] for action, forms in VERBS.items() for form in (action, *forms[:2])}
    named = [word for form, word in word_of.items() if re.search(rf"\b{form}\b", asked)]
    nouns = {word for thing in scene.things for word in (thing.color, thing.shape)} | RELATIONS
    named += [word for word in re.findall(r"\w+", asked) if word in nouns]
    rng.shuffle(named)
    return f"{' '.join(named)}." if named else ""


def _ask_about(scene: Scene, events: Sequence[SceneEvent], rng: np.random.Generator) -> tuple[int, str]:
    """Half of the time something that happens, else any thing of the scene with an action of the scene or any other."""
    if events and rng.random() < 0.5:
        event = events[int(rng.integers(len(events)))]
        return event.thing, event.action
    actions = sorted({event.action for event in scene.events} | {str(rng.choice(sorted(USUAL)[:7]))})
    return int(rng.integers(len(scene.things))), actions[rng.integers(len(actions))]
