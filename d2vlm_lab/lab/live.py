"""A video that is still running: standing questions wait for events, and anything can be asked in between.

    with load(checkpoint).listen("door.mp4") as live:
        live.wait_for("when does the red disc spin?")
        for update in live:
            print(update)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace

import numpy as np

from ..data.groups import encode_question
from ..data.live.sources import SourceNote, TimedFrame
from ..data.sample import Sample, validate
from ..errors import LabError
from ..ideas.clauses import cut, mentions, symbol
from ..ideas.evidence import GroundedAnswer, Interval, Reference, overlap, seconds
from ..ideas.speaking import Rule
from ..judging.predict import Prediction, too_long
from ..model.decoding import Decoding
from ..model.streaming.standing import Closed, StandingQuestion, Update
from ..model.streaming.stream import Block, Stream, start


class Live:
    """A stream that a checkpoint listens to; to be used in a `with`, which closes its source.

    `view` turns frames, and what is kept of them, into something that can be asked; `wording` puts a question into the
    words that the checkpoint knows.
    """

    def __init__(self, stream: Stream, source: AbstractContextManager, view: Callable, wording: Callable[[str], str]):
        self.stream, self.source, self.view, self.wording = stream, source, view, wording
        self.turn: Callable[[], AbstractContextManager] = nullcontext  # entered whenever the model is at work
        self.questions: list[StandingQuestion] = []
        self.silent: set[StandingQuestion] = set()  # those whose words nobody wants
        self.overdue: list[tuple[StandingQuestion, Update]] = []  # updates that come out with the next frame
        self.ended: dict[tuple[StandingQuestion, int], Closed] = {}  # the last closing of each event
        self.pending: list[Update | SourceNote] = []  # what was found at the newest moment and not yet taken
        self.pixels: dict[int, np.ndarray] = {}  # the kept frames, as the tower saw them
        self.open, self.items, self.running = ExitStack(), None, True

    def __enter__(self) -> Live:
        self.items = iter(self.open.enter_context(self.source))
        return self

    def __exit__(self, *error) -> None:
        self.open.close()

    @property
    def closed(self) -> list[Closed]:
        """All events that are over, as far as they are known now."""
        return list(self.ended.values())

    @property
    def now(self) -> float:
        """The second of the newest frame."""
        return self.stream.newest.seconds if self.stream.newest else 0.0

    def wait_for(self, question: str, rule: Rule | None = None, words: bool = True,
                 past: bool = False) -> StandingQuestion:
        """From now on, tell when this happens; with `words`, also what the model says about it once it is over.

        An event that goes on right now is reported with the next frame. With `past`, so are events that are over, as
        far as their frames are kept.
        """
        model, kept, text = self.stream.model, self.stream.kept, self.wording(question)
        sample = validate(Sample("asked", "live", 1.0, "", "lab", text))
        prompt = encode_question(sample, kept.clip(), model.tokenizer, model.prompt, model.method)
        standing = StandingQuestion(model, text, prompt, start(model), rule)
        self.questions.append(standing)
        before = standing.extend(Block(kept.index, kept.seconds, kept.states), self.now)
        known = before if past else [standing.opened(self.now)] if standing.speaker.open else []
        self.overdue += [(standing, update) for update in known]
        if not words:
            self.silent.add(standing)
        return standing

    def __iter__(self) -> Iterator[Update | SourceNote]:
        """What becomes known, and what happens to the source, until the stream ends."""
        return self.until(np.inf)

    def until(self, second: float) -> Iterator[Update | SourceNote]:
        """The same until a frame of this second has come. Whoever leaves early finds the rest in the next loop."""
        if self.stream.newest and self.now >= second and not self.pending:
            return
        for moment in self.moments():
            self.pending = moment
            while self.pending:
                yield self.pending.pop(0)
            if self.now >= second and self.running:
                return

    def moments(self) -> Iterator[list[Update | SourceNote]]:
        """The same in lists: one for each frame or note as it comes, and one for the end of the stream."""
        if self.items is None:
            raise LabError("use `with lab.listen(...) as live:`, so that the source is opened and closed")
        if self.pending:
            rest, self.pending = self.pending, []
            yield rest
        failed = None
        try:
            for item in self.items:
                with self.turn():
                    moment = [*self.said_late(), *self.take(item)]
                yield moment
        except LabError as error:  # what came before it is still read and reported
            failed = error
        self.running = False
        with self.turn():
            try:
                blocks = list(self.stream.end())
            except LabError as error:  # there is no room for the frames that are still waiting
                blocks, failed = [], failed or error
            last = [*self.said_late(), *(update for block in blocks for update in self.look(block)),
                    *(update for standing in self.questions for update in self.said(standing, standing.end(self.now)))]
        yield last
        if failed is not None:
            raise failed

    def said_late(self) -> Iterator[Update]:
        """What was known already when a question was asked."""
        overdue, self.overdue = self.overdue, []
        for standing, update in overdue:
            yield from self.said(standing, [update])

    def take(self, item: TimedFrame | SourceNote) -> Iterator[Update | SourceNote]:
        """A frame, or a note about the source, which is handed on."""
        if isinstance(item, SourceNote):
            yield item
            return
        block = self.stream.add(item)
        self.pixels[item.index] = self.stream.newest.pixels
        if block is not None:
            yield from self.look(block)

    def look(self, block: Block) -> Iterator[Update]:
        """Compare every standing question with frames that have just been read."""
        kept = set(self.stream.kept.index.tolist()) | {frame.index for frame in self.stream.waiting}
        self.pixels = {index: pixels for index, pixels in self.pixels.items() if index in kept}
        for standing in self.questions:
            yield from self.said(standing, standing.extend(block, self.now))

    def said(self, standing: StandingQuestion, updates: list[Update]) -> Iterator[Update]:
        """The updates of a question; those that close an event say in words what it was, and are remembered."""
        for update in updates:
            if isinstance(update, Closed):
                if standing not in self.silent:
                    update = replace(update, text=self.words(update))
                self.ended.pop((standing, update.number), None)  # the newest closing stands last
                self.ended[standing, update.number] = update
            yield update

    def words(self, update: Closed) -> str:
        """What the model says about an event; empty where there is no room for it behind the frames that are kept."""
        try:
            video = self.so_far()
        except LabError:  # not even the frames that are waiting fit
            return ""
        if too_long(self.stream.model, video.clip, update.question):
            return ""
        return about(video.ask(update.question).prediction, update.interval)

    def ask(self, question: str, options=(), intervals=(), decoding: Decoding | None = None):
        """The model's answer about the video so far, as an `Answer` about a video that ends here."""
        return self.so_far().ask(question, options, intervals, decoding)

    def so_far(self):
        """What can be asked now: a video that ends here."""
        kept = self.stream.so_far()
        if not len(kept.index):
            raise LabError("no frame has come yet, so there is nothing to ask about")
        return self.view(np.stack([self.pixels[index] for index in kept.index.tolist()]), kept)


def about(prediction: Prediction, interval: Interval) -> str:
    """The part of an answer that tells of the event in this interval; empty where none of it does."""
    answer: GroundedAnswer = prediction.generated.answer
    spans = [piece.interval for piece in answer.references]
    if not spans:
        return prediction.words
    best = max(range(len(spans)), key=lambda k: overlap(spans[k], interval) if spans[k] else 0.0)
    if not spans[best] or not overlap(spans[best], interval):
        return ""
    number = iter(range(len(spans)))
    pieces = [next(number) if isinstance(piece, Reference) else piece for piece in answer.pieces]
    clause = next(clause for clause in cut(pieces) if symbol(best) in mentions(clause))
    for k, span in enumerate(spans):
        clause = clause.replace(symbol(k), seconds(span) if span else "?")
    return clause.strip()
