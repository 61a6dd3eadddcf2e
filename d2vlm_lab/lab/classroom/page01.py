"""Exercises of page 01: seconds and frames, overlap, and how far one gets without looking."""

from __future__ import annotations

from random import Random

from ...ideas.evidence import overlap
from .exercise import Comparison, Judgement, Mistake, prediction

dice = Random(1)


def _length(a) -> float:
    return a[1] - a[0]


def _shared(a, b) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


event_seconds = Comparison(
    "event_seconds", "01", "first last fps",
    hints=("Frame 0 is shown at 0 seconds. At two frames a second, when is frame 3 shown?",
           "A frame number divided by the number of frames in a second is a time in seconds.",
           "Do this for the first and for the last frame, and return both times as a pair."),
    returns="a pair of two numbers, (start, end)",
    right=lambda first, last, fps: (first / fps, last / fps),
    cases=[(2, 5, 2.0), (0, 0, 1.0), (3, 4, 0.5), *((k, k + dice.randint(0, 9), dice.choice([1.0, 2.0, 4.0]))
                                                     for k in range(8))],
    mistakes=(
        Mistake("Your interval ends when the last frame disappears. In this world an interval ends at the time at "
                "which its last frame is shown, so that both ends are frames that belong to the event.",
                lambda first, last, fps: (first / fps, (last + 1) / fps)),
        Mistake("You multiply by the frame rate. With more frames in a second, the same frame is shown earlier, not "
                "later.", lambda first, last, fps: (first * fps, last * fps)),
        Mistake("You return frame numbers. An interval in an answer is given in seconds.",
                lambda first, last, fps: (first, last)),
        Mistake("Your second number is how long the event lasts. An interval is its start and its end.",
                lambda first, last, fps: (first / fps, (last - first) / fps))))

iou = Comparison(
    "iou", "01", "a b",
    hints=("Draw two intervals on a line. The shared part begins at the later start and ends at the earlier end.",
           "If the earlier end comes before the later start, nothing is shared: the shared time is 0, never negative.",
           "The time that both cover together is the sum of both lengths minus the shared time, which would otherwise "
           "be counted twice. If it is 0, compare the intervals themselves."),
    returns="one number between 0 and 1",
    right=overlap,
    cases=[((0.0, 4.0), (2.0, 4.0)), ((0.0, 4.0), (2.0, 6.0)), ((0.0, 2.0), (5.0, 6.0)), ((3.0, 3.0), (3.0, 3.0)),
           ((3.0, 3.0), (4.0, 4.0)), ((1.0, 9.0), (2.0, 3.0)),
           *(((s := dice.uniform(0, 9), s + dice.uniform(0, 5)), (t := dice.uniform(0, 9), t + dice.uniform(0, 5)))
             for _ in range(12))],
    mistakes=(
        Mistake("Two intervals that do not touch share no time at all; your shared time becomes negative.",
                lambda a, b: (both := min(a[1], b[1]) - max(a[0], b[0])) / (_length(a) + _length(b) - both)),
        Mistake("You divide by the sum of both lengths. The shared time is in both of them, so it is counted twice; "
                "equal intervals would only get one half.",
                lambda a, b: _shared(a, b) / (_length(a) + _length(b))),
        Mistake("You divide by the length of one interval only. An answer that covers the whole video would then be "
                "perfect.", lambda a, b: _shared(a, b) / _length(b)),
        Mistake("You divide by the length of one interval only. An answer of one instant inside the event would then "
                "be perfect.", lambda a, b: _shared(a, b) / _length(a)),
        Mistake("You return the shared time in seconds. To get a number between 0 and 1, divide it by the time that "
                "both cover together.", _shared),
        Mistake("Two equal instants, such as (3, 3) and (3, 3), cover no time, but agree completely: return 1.",
                lambda a, b: _shared(a, b) / union if (union := _length(a) + _length(b) - _shared(a, b)) else 0.0)))

blind_score = Comparison(
    "blind_score", "01", "events duration",
    hints=("The answer is always (0, duration). How much time does it share with an event, and how much time do both "
           "cover together?",
           "The overlap with one event is its length divided by the length of the video.",
           "Take the mean over the events."),
    returns="one number between 0 and 1",
    right=lambda events, duration: sum(overlap(e, (0.0, duration)) for e in events) / len(events),
    cases=[([(2.0, 6.0)], 16.0), ([(0.0, 4.0), (4.0, 12.0)], 16.0), ([(0.0, 16.0)], 16.0),
           ([(1.0, 2.0), (3.0, 4.5), (8.0, 9.0)], 20.0)],
    mistakes=(
        Mistake("You add up the overlaps of all events. The score of a strategy is the mean over questions; a sum "
                "grows with their number.", lambda events, duration: sum(map(_length, events)) / duration),
        Mistake("You keep the best event only. Every question counts, even where the strategy fails.",
                lambda events, duration: max(map(_length, events)) / duration),
        Mistake("Your fraction is upside down: it is larger than 1 for short events. The shared time is the length of "
                "the event.", lambda events, duration: sum(duration / _length(e) for e in events) / len(events)),
        Mistake("You score 1 for every event, because the answer contains it. But it also contains time "
                "outside the event, so divide by the time that both cover together.",
                lambda events, duration: 1.0)))


def _without_looking() -> dict:
    two, four = [(0.0, 4.0), (8.0, 12.0)], [(0.0, 2.0), (4.0, 6.0), (8.0, 10.0), (12.0, 14.0)]
    return {"whole video, event of 4 s": overlap((0.0, 16.0), (3.0, 7.0)),
            "whole video, event of 8 s": overlap((0.0, 16.0), (3.0, 11.0)),
            "oracle, 2 events": sum(overlap(a, b) for a in two for b in two) / 4,
            "oracle, 4 events": sum(overlap(a, b) for a in four for b in four) / 16}


without_looking = prediction(
    "without_looking", "01", truth=_without_looking, tolerance=0.011,
    hints=("The whole video covers 16 s. Which part of these 16 s is the event?",
           "The oracle names one of the events at random. How often is it the right one, and what is the overlap then? "
           "What is it in all other cases?"),
    explains={"whole video, event of 4 s": "the answer and the event share 4 s, and together they cover 16 s.",
              "whole video, event of 8 s": "the answer and the event share 8 s, and together they cover 16 s.",
              "oracle, 2 events": "one time in two, the oracle names the event that was asked for; otherwise its "
                                  "answer shares nothing with that event.",
              "oracle, 4 events": "with more events to choose from, the oracle is right less often."})


def _same_score(pair) -> str | None:
    truth = (4.0, 8.0)
    if len(pair) != 2 or any(len(each) != 2 for each in pair):
        return "Please return two intervals: ((start, end), (start, end))."
    late, wide = pair
    for name, each in (("first", late), ("second", wide)):
        if each[0] > each[1]:
            return f"Your {name} interval ends before it starts."
    if abs(_length(late) - 4.0) > 0.01:
        return "Your first interval should be as long as the true one, 4 s. Only its place should be wrong."
    if not (wide[0] <= truth[0] and wide[1] >= truth[1]):
        return "Your second interval should contain the whole event, and be too long."
    for name, each in (("first", late), ("second", wide)):
        if abs(overlap(each, truth) - 0.5) > 0.01:
            return f"The overlap of your {name} interval with (4, 8) is {overlap(each, truth):.2f}, not 0.50."
    return None


same_score = Judgement(
    "same_score", "01", "", look=_same_score,
    hints=("The second interval contains the event. So the two share the whole event, 4 s, and together they cover "
           "exactly the second interval. How long must it be?",
           "The first interval is the true one, moved by x seconds. The two share 4 - x seconds, and together they "
           "cover 4 + x. For which x is (4 - x) / (4 + x) one half?"))

EXERCISES = (event_seconds, iou, blind_score, without_looking, same_score)
