"""A scene as questions see it: its annotated events, random choices, and how words become a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from ...ideas.evidence import EVIDENCE, Event, Interval
from ..datasets.times import pieces_of
from ..sample import Sample
from . import phrases
from .config import WorldConfig
from .scene import Scene, SceneEvent
from .surgery import reworded
from .telling import details

Picked = TypeVar("Picked")


class Asker:
    """Asks about the annotated events of a scene, in order of time; `rng` makes every random choice."""

    def __init__(self, scene: Scene, config: WorldConfig, rng: np.random.Generator):
        self.scene, self.config, self.rng = scene, config, rng
        self.events = list(scene.events if scene.annotated is None else scene.annotated)
        self.names = [thing.name for thing in scene.things]
        self.all_colors = list(dict.fromkeys([*config.colors, "red", "green", "blue", "yellow"]))
        self.all_names = [f"{color} {shape}" for color in self.all_colors for shape in config.shapes]
        self.per_thing = Counter(e.thing for e in self.events)
        self.per_action = Counter(e.action for e in self.events)

    def alike(self, event: SceneEvent) -> list[SceneEvent]:
        """The events with the same caption as this one, including this one."""
        return [e for e in self.events if (e.thing, e.action) == (event.thing, event.action)]

    def of_thing(self, thing: int) -> list[SceneEvent]:
        return [e for e in self.events if e.thing == thing]

    def neighbour(self, event: SceneEvent, step: int) -> SceneEvent | None:
        """The next event (step 1) or the one before (step -1), unless another one begins on the same frame."""
        k = self.events.index(event) + step
        if not 0 <= k < len(self.events):
            return None
        rivals = [e for e in self.events if e is not self.events[k] and e.first == self.events[k].first]
        return None if rivals else self.events[k]

    def pick(self, values: Sequence[Picked]) -> Picked:
        return values[int(self.rng.integers(len(values)))]

    def forms(self, event: SceneEvent) -> dict[str, str]:
        return phrases.forms(self.names[event.thing], event.action)

    def details(self, event: SceneEvent) -> str:
        """What a long caption says after who does what; nothing if captions are short."""
        return details(self.scene, event, self.events, self.config.details) if self.config.details else ""

    def ask(self, task: str, templates: Sequence[tuple[str, str]], about: SceneEvent,
            events: Sequence[SceneEvent] = (), asked: Sequence[Interval] = (), options: Sequence = (),
            write: Callable[..., str] = str, captions: Sequence[str] = (), **words: str) -> Sample:
        """A question in one of the templates with its answer, which refers to `events`.

        `write` turns the options into text. The first of `options` is right, but the question has them in random order.
        """
        question, answer = self.pick(reworded(templates, self.config, self.scene.split, self.rng))
        words = {"all": ", ".join([EVIDENCE] * len(events)), **self.forms(about), **words}
        question = question.format(EVIDENCE, **words)
        answer = answer.format(*[EVIDENCE] * max(1, len(events)), **words)
        correct = None
        if options:
            right, options = options[0], [options[k] for k in self.rng.permutation(len(options))]
            correct = options.index(right)
            question = phrases.with_options(question, [write(option) for option in options])
            answer = f"({'ABCDE'[correct]}) {answer}".strip()
        captions = captions or [self.scene.caption(event) for event in events]
        return Sample("", self.scene.video, self.scene.duration, task, "world", question,
                      tuple(Event(*self.scene.interval(e), caption) for e, caption in zip(events, captions)),
                      pieces_of(answer), tuple(asked), tuple(options), correct)

    def options(self, right: str, likely: Sequence[str], others: Iterable[str]) -> list[str]:
        """The right option and three wrong ones: likely ones first, then others."""
        likely = sorted(set(likely) - {right})
        others = sorted(set(others) - {right, *likely})
        wrong = [group[k] for group in (likely, others) for k in self.rng.permutation(len(group))]
        return [right, *wrong[:3]]

    def action_options(self, event: SceneEvent) -> list[str]:
        return self.options(event.action, self.config.actions, phrases.USUAL)

    def thing_options(self, event: SceneEvent) -> list[str]:
        return self.options(self.names[event.thing], self.names, self.all_names)
