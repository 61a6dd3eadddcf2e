"""A scene as it is asked about, and how a question about it becomes a sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ...ideas.evidence import EVIDENCE, Event
from ..sample import Sample
from . import phrases as say
from .config import WorldConfig
from .scene import Scene, SceneEvent


class Asker:
    """A scene as it is asked about: its annotated events in order of time, and the dice."""

    def __init__(self, scene: Scene, config: WorldConfig, rng: np.random.Generator):
        self.scene, self.config, self.rng = scene, config, rng
        self.events = list(scene.events if scene.annotated is None else scene.annotated)
        self.names = [thing.name for thing in scene.things]
        self.count = Counter((e.thing, e.action) for e in self.events)
        self.per_thing = Counter(e.thing for e in self.events)
        self.per_action = Counter(e.action for e in self.events)

    @property
    def unique(self) -> list[SceneEvent]:
        """Events that their caption alone tells from all others."""
        return [e for e in self.events if self.count[e.thing, e.action] == 1]

    def pick(self, values: Sequence):
        return values[self.rng.integers(len(values))]

    def forms(self, event: SceneEvent) -> dict[str, str]:
        return say.forms(self.names[event.thing], event.action)

    def after(self, event: SceneEvent, step: int = 1) -> SceneEvent | None:
        """The next event (or the one before), where the order is not in doubt."""
        k = self.events.index(event) + step
        if not 0 <= k < len(self.events):
            return None
        rivals = [e for e in self.events if e is not self.events[k] and e.first == self.events[k].first]
        return None if rivals else self.events[k]

    def sample(self, task: str, question: str, events: Sequence[SceneEvent] = (), answer: str = "",
               asked: Sequence[tuple] = (), **fields) -> Sample:
        """`{}` in the question stands for the intervals asked about, in the answer for the events, `{all}` for all."""
        many = ", ".join(["{}"] * len(events))
        return Sample(
            id="", video=self.scene.video, duration=self.scene.duration, task=task, source="world",
            question=question.replace("{}", EVIDENCE),
            events=tuple(Event(*self.scene.interval(e), self.scene.caption(e)) for e in events),
            answer=_pieces(answer.replace("{all}", many)), question_intervals=tuple(asked), **fields)

    def choice(self, task: str, question: str, options: list, right, events: Sequence[SceneEvent] = (),
               answer: str = "", asked: Sequence[tuple] = (), words: Callable = str) -> Sample:
        """Four options in random order, the right one among them."""
        options = [options[k] for k in self.rng.permutation(len(options))]
        correct = options.index(right)
        listed = say.with_options(question, [words(option) for option in options])
        return self.sample(task, listed, events, f"({'ABCDE'[correct]}) {answer}".strip(), asked,
                           options=tuple(options), correct=correct)

    def others(self, right: str, likely: Sequence[str], rest: Sequence[str], n: int = 3) -> list[str]:
        """The right option and three wrong ones: likely ones first."""
        likely = sorted(set(likely) - {right})
        rest = sorted(set(rest) - {right} - set(likely))
        wrong = [group[k] for group in (likely, rest) for k in self.rng.permutation(len(group))]
        return [right, *wrong[:n]]


def _pieces(answer: str) -> tuple[str | int, ...]:
    """Text with `{}` for events, as text interleaved with their indices."""
    pieces: list[str | int] = []
    for k, text in enumerate(answer.split("{}")):
        pieces += [k - 1, text] if k else [text]
    return tuple(piece for piece in pieces if piece != "")
