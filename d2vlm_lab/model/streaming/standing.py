"""Questions that stand while a video runs: "tell me when the red disc spins".

Such a question is read once, right after the start of the prompt: before all frames, as in training. The state at its
end is what would predict an `<evi>`. From then on it is only compared with each new frame: its evidence curve is
extended and never computed again. `ideas/speaking.py` reads the curve and decides when to speak; here its events get
their times.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch

from ...config import Method
from ...data.batch import Text, collate
from ...errors import LabError
from ...ideas.evidence import Interval
from ...ideas.speaking import Change, Rule, Speaker, end, step
from ..d2vlm import D2VLM, evaluation
from ..passes import one_pass
from .memory import Kept
from .stream import Block

CURVE = 4096  # number of the newest values of a curve that are kept


@dataclass(frozen=True)
class Update:
    """What has become known about an event that a standing question waits for."""

    question: str
    number: int  # number of the event among the events of this question, from 0
    seconds: float  # second of the video at which this was said
    interval: Interval  # seconds; the end of an event that goes on is its newest frame
    confidence: float  # mean of the evidence curve over the interval
    latency: float  # seconds since the reported beginning or end of the event

    def __str__(self) -> str:
        name, (first, last) = type(self).__name__.lower(), self.interval
        return f"{self.seconds:.1f} s: {name} {first:.1f} - {last:.1f} s ({self.confidence:.2f}): {self.question}"


class Opened(Update):
    """An event has begun."""


class Extended(Update):
    """An event goes on."""


@dataclass(frozen=True)
class Closed(Update):
    """An event is over."""

    text: str = ""  # what the model says about it; empty if nobody wants to know

    def __str__(self) -> str:
        return super().__str__() + (f" {self.text}" if self.text else "")


class Revised(Update):
    """An event was closed, but it goes on: it ends later than was said."""


class Withdrawn(Update):
    """An event was too short and does not count. It was never closed."""


KINDS: dict[str, type[Update]] = {
    "opened": Opened, "extended": Extended, "closed": Closed, "revised": Revised, "withdrawn": Withdrawn}


class StandingQuestion:
    """A question that follows what was kept when it was asked, its curve so far, and the events in the curve."""

    def __init__(self, model: D2VLM, question: str, prompt: Text, kept: Kept, rule: Rule | None = None):
        check_stands(model)
        self.model, self.question, self.rule, self.speaker = model, question, rule or Rule(), Speaker()
        self.evidence = evidence_of(model, prompt, kept)
        self.curve: deque[float] = deque(maxlen=CURVE)
        self.seconds: deque[float] = deque(maxlen=CURVE)
        self.begun: dict[int, float] = {}  # number of an event: its first second, which may no longer be in `seconds`

    @torch.no_grad()
    def extend(self, block: Block, now: float) -> list[Update]:
        """Compare the question with the frames of a block; returns what they say about its events at second `now`."""
        frames = self.model.frame_head(block.states[None])
        video = torch.zeros(1, dtype=torch.long, device=frames.device)
        values = self.model.compare(self.evidence, frames, video)[0].sigmoid().tolist()
        updates = []
        for seconds, value in zip(block.seconds.tolist(), values):
            self.curve.append(value)
            self.seconds.append(seconds)
            self.speaker, change = step(self.speaker, value, self.rule)
            updates += [self.update(change, now)] if change else []
        return updates

    def opened(self, now: float) -> Update:
        """The event that is going on, as if it had just been noticed."""
        return self.update(Change("opened", self.speaker.open), now)

    def end(self, now: float) -> list[Update]:
        """No frame follows: an open event ends here."""
        self.speaker, change = end(self.speaker, self.rule)
        return [self.update(change, now)] if change else []

    def update(self, change: Change, now: float) -> Update:
        number = change.span.number
        self.begun = {other: second for other, second in self.begun.items() if other >= number - 1}  # none is older
        first = self.begun.setdefault(number, self.shown_at(change.span.first))
        interval = (first, self.shown_at(change.span.last))
        happened = interval[0] if change.kind == "opened" else interval[1]
        return KINDS[change.kind](self.question, number, now, interval, change.span.confidence,
                                  now - happened)

    def shown_at(self, frame: int) -> float:
        """The second of a frame, by its number since the question was asked."""
        return self.seconds[max(0, frame - (self.speaker.frame - len(self.seconds)))]


def stands(method: Method) -> bool:
    """Whether a method compares its evidence with every frame by itself, so that questions can stand."""
    return method.formulation == "sigmoid" and method.points


def check_stands(model: D2VLM) -> None:
    """An error for a model whose questions cannot stand."""
    if not stands(model.method):
        raise LabError("a standing question compares its evidence with every frame by itself; that needs "
                       f"method.formulation=sigmoid and a style with evidence tokens, but this checkpoint has "
                       f"{model.method.formulation} and {model.method.style}")


@torch.no_grad()
def evidence_of(model: D2VLM, prompt: Text, kept: Kept) -> torch.Tensor:
    """(1, D) output of the evidence head at the end of a question after what is kept, which would predict `<evi>`."""
    clip, prefix = kept.clip(), kept.prefix()
    batch = collate([clip], [[prompt]], model.tokenizer, model.prompt).to(model.device)
    with evaluation(model):
        states = one_pass(model.language, batch, prefix, model.embed(batch, prefix))
        return model.evidence_head(states.head[:, -1])
