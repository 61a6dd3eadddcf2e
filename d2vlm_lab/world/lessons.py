"""What the base learns of a world: endless questions and answers in plain words, never an interval among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from . import phrases as say
from .phrases import VERBS
from .scene import Scene, SceneEvent

NOW, ALL, NOTHING = "what is happening here?", "what happens, in order?", "nothing."
KINDS = ("all", "thing", "yes or no", "next", "key words", "told")
SHARES = (1, 1, 1, 1, 1, 3)
NAMING = (*say.TVG, *say.NTH, *say.EPM_NEXT, *say.EPM_BEFORE)  # questions that name an event

Lesson = tuple[str, str, str]  # kind, question, answer


def lessons(scene: Scene, window: tuple[int, int], told: Sequence[tuple[str, str]],
            rng: np.random.Generator) -> Iterator[Lesson]:
    """About the frames `window` of a scene, in random order of kind; `told` are its questions without their times."""
    first, last = window
    events = [event for event in scene.events if event.first <= last and event.last >= first]
    whole = (first, last) == (0, scene.n_frames - 1)
    shares = np.array(SHARES) / sum(SHARES)
    while True:
        kind = KINDS[rng.choice(len(KINDS), p=shares)]
        if kind == "all":
            yield kind, (ALL if whole else NOW), _tell(scene, events)
        elif kind == "thing":
            thing = int(rng.integers(len(scene.things)))
            did = [event.action for event in events if event.thing == thing]
            yield (kind, f"what does the {scene.things[thing].name} do?",
                   f"it {', then '.join(did)}." if did else NOTHING)
        elif kind == "yes or no":
            thing, action = _ask_about(scene, events, rng)
            happened = any((event.thing, event.action) == (thing, action) for event in events)
            yield kind, f"does the {scene.things[thing].name} {VERBS[action][0]}?", "yes" if happened else "no"
        elif kind == "next" and whole and len(events) > 1:
            k = int(rng.integers(len(events) - 1))
            yield kind, f"what happens after the {_name(scene, events[k])}?", f"the {_name(scene, events[k + 1])}."
        elif kind == "key words":
            yield kind, *_key_words(scene, *_ask_about(scene, events, rng), rng)
        elif kind == "told" and whole and told:
            yield kind, *told[rng.integers(len(told))]


def told_without_times(sample) -> tuple[str, str] | None:
    """A question of the world and the words of its answer, the times left out; none where the question has times."""
    if sample.question_intervals:
        return None
    return sample.question, "".join(piece for piece in sample.answer if isinstance(piece, str)).strip()


def is_right(kind: str, said: str, answer: str) -> bool:
    """To the letter; key words in any order."""
    if kind == "key words":
        return sorted(said.strip(" .").split()) == sorted(answer.strip(".").split())
    return said.strip() == answer


def _key_words(scene: Scene, thing: int, action: str, rng: np.random.Generator) -> tuple[str, str]:
    """What a question is about, in any order: so its last state comes to hold all that it names, not the next word."""
    name = scene.things[thing].name
    question, _ = NAMING[rng.integers(len(NAMING))]
    words = [*name.split(), VERBS[action][2]]
    rng.shuffle(words)
    return question.format(**say.forms(name, action), nth=say.ORDINALS[rng.integers(3)]), f"{' '.join(words)}."


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
