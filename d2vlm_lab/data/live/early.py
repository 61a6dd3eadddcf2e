"""Questions that are asked while the video is still running. Training sees them as a live model will get them.

    frames   0 1 2 3 4 5 6 7 8 9 ...
    event          [-------]
    asked now            ^          sees the frames before ^, and the event ends there for now
    standing  ^                     sees no frame, and is compared with all of them: its events come later
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from ..batch import Clip, Text
from ..sample import Sample


def asked_early(text: Text, clip: Clip, rng: random.Random) -> Text:
    """The text, asked at a random moment after its last event has begun; what it points to ends then at the latest."""
    begun = max((start for start, _ in text.intervals), default=0.0)
    asked = rng.randint(min(math.floor(begun) + 2, len(clip.timestamps)), len(clip.timestamps))
    ends = [(start, min(end, asked - 1.0)) for start, end in text.intervals]
    return replace(text, asked=asked, intervals=ends)


def can_stand(sample: Sample) -> bool:
    """Whether a question can be asked before its video begins: it must not name an interval, which is unknown then."""
    return not sample.question_intervals and not sample.options


def standing(answered: Text, prompt: Text) -> Text:
    """The prompt alone, asked before the video begins; it waits for all events that its answer grounds.

    After frames, the end of a prompt has to point at the first event only, as the first `<evi>` of an answer does. So a
    standing question is read before all frames, no matter when it is asked.
    """
    return replace(prompt, asked=0, standing=tuple(dict.fromkeys(answered.intervals)))
