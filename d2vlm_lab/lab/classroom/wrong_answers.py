"""Exercises of page 09 in which a right answer is made wrong, in one of the four factors.

An answer is given as `events`, a list of intervals in seconds, and `clauses`, a list of pairs: the number of an event
and the words about it. Each judge says first what is broken, then what else has changed, then what is not wrong enough.
"""

from __future__ import annotations

import math

from ...ideas.evidence import overlap
from ...ideas.rejected import FACTORS
from .exercise import Judgement

COLORS = ["red", "blue", "green", "yellow"]
Events, Clauses = list[tuple[float, float]], list[tuple[int, str]]

ONE = [(2.0, 5.0)]
TWO, WORDS = [(1.0, 4.0), (9.0, 11.0)], [(0, "the red disc spins"), (1, "the blue square blinks")]
THREE = [(0.0, 2.0), (5.0, 7.5), (12.0, 15.0)]
SAID = [(0, "the green disc grows"), (1, "the red square spins"), (2, "the red disc slides")]


def _bad_interval(interval, duration: float) -> str | None:
    start, end = interval
    if not (math.isfinite(start) and math.isfinite(end)):
        return f"The interval {interval} should consist of finite numbers."
    if start > end:
        return f"The interval {interval} ends before it starts."
    return f"The interval {interval} leaves the video, which ends at {duration:g} s." \
        if start < 0 or end > duration else None


def _wrong_when(wrong, events: Events, duration: float) -> str | None:
    if len(wrong) != len(events):
        return "The number of events has changed. That is the factor *which*; here, only a time should be wrong."
    changed = [k for k, (new, old) in enumerate(zip(wrong, events)) if tuple(new) != tuple(old)]
    if len(changed) != 1:
        return f"{len(changed)} events have changed. A rejected answer is wrong in exactly one thing: move one event."
    new, old = tuple(wrong[changed[0]]), events[changed[0]]
    if problem := _bad_interval(new, duration):
        return problem
    if abs((new[1] - new[0]) - (old[1] - old[0])) > 1e-6:
        return "The moved event has another length. A shift keeps the length, so that only the moment is wrong."
    if overlap(new, old) >= 0.5:
        return (f"The moved event still overlaps the true one by {overlap(new, old):.2f}. A scorer would call it "
                "found; move it until the overlap is below 0.5.")
    if any(overlap(new, other) >= 0.5 for other in events):
        return "The moved event now lies on another true event, so that the answer may be right after all."
    return None


wrong_when = Judgement(
    "wrong_when", "09", "events duration", look=_wrong_when,
    cases=((ONE, 10.0), ([(6.0, 9.0)], 10.0), (TWO, 16.0), (THREE, 16.0), ([(0.0, 3.0), (4.0, 7.0)], 16.0)),
    hints=("Choose one event and move it by its own length, later or earlier: then it shares nothing with its old "
           "place.",
           "Whether there is room depends on the video and on the other events. Try several shifts, for example all "
           "multiples of half a second, and keep the first one that is inside the video and overlaps no event.",
           "`overlap(a, b)` of the library computes the overlap of two intervals."))


def _wrong_which(wrong, events: Events, clauses: Clauses) -> str | None:
    new_events, new_clauses = wrong
    new_events = [tuple(each) for each in new_events]
    if not new_events:
        return "No event is left. An answer without events cannot be compared factor by factor."
    pointing = [k for k, _ in new_clauses]
    if outside := [k for k in pointing if not 0 <= k < len(new_events)]:
        left = "only event 0 is left" if len(new_events) == 1 else f"only events 0 to {len(new_events) - 1} are left"
        return (f"One of your clauses refers to event {outside[0]}, but {left}, because events are counted from 0. "
                "Remove the clause of the event that you removed, and give new numbers to the clauses of the "
                "events after it.")
    if set(pointing) != set(range(len(new_events))):
        return "One of your events is not mentioned in any clause. If you remove the words, remove the event, too."
    if len(new_events) == len(events):
        return "There are as many events as before. Remove one."
    if len(new_events) > len(events):
        return "There are more events than before. Remove one."
    if len(new_events) < len(events) - 1:
        return "You removed more than one event. Remove one."
    if not set(new_events) < set(events):
        return "The times of the other events have changed. Here, only *which* events there are should be wrong."
    if new_events != [event for event in events if event in new_events]:
        return "The other events are in another order than before. Remove one and keep the others as they are."
    said, kept = ([(among[k], words) for k, words in of if among[k] in new_events]
                  for among, of in ((new_events, new_clauses), (events, clauses)))
    if not set(said) <= set(kept):
        return "A clause now describes another event than before. Every event keeps its own words."
    if said != kept:
        return "The other clauses should stay as they are: each of them once, and in the same order as before."
    return None


wrong_which = Judgement(
    "wrong_which", "09", "events clauses", look=_wrong_which,
    cases=((TWO, WORDS), (THREE, SAID), (THREE, [SAID[1], SAID[0], SAID[2]])),
    hints=("Remove the first event from the list of events.",
           "Remove its clause as well.",
           "All other events have now moved up by one: subtract 1 from the numbers in their clauses."))


def _wrong_what(wrong, clauses: Clauses, colors: list[str]) -> str | None:
    if len(wrong) != len(clauses) or any(len(each) != 2 for each in wrong):
        return "Please return as many clauses as before, each with the number of its event and its words."
    if [k for k, _ in wrong] != [k for k, _ in clauses]:
        return "A clause refers to another event than before. Only its words should be wrong."
    changed = [(new, old) for (_, new), (_, old) in zip(wrong, clauses) if new != old]
    if len(changed) != 1:
        return (f"{len(changed)} clauses have changed. A rejected answer is wrong in exactly one thing: change one "
                "clause.")
    new, old = (text.split() for text in changed[0])
    places = [place for place, (a, b) in enumerate(zip(new, old)) if a != b]
    if len(new) != len(old) or len(places) != 1:
        return "More than the colour has changed in your clause. Exchange one word and leave the others."
    if old[places[0]] not in colors or new[places[0]] not in colors:
        return (f"{old[places[0]]!r} has become {new[places[0]]!r}. Exchange a colour for another colour of the list "
                "`colors`.")
    return None


wrong_what = Judgement(
    "wrong_what", "09", "clauses colors", look=_wrong_what, cases=((WORDS, COLORS), (SAID, COLORS)),
    hints=("Take the words of one clause apart: `words.split()`.",
           "Find the word that is in `colors`, and choose another one of the list.",
           "`' '.join(...)` makes a text of the words again. Leave all other clauses as they are."))


def _wrong_how(wrong, clauses: Clauses) -> str | None:
    wrong, clauses = [tuple(each) for each in wrong], [tuple(each) for each in clauses]
    if wrong == clauses:
        return "Nothing has changed."
    if not set(wrong) <= set(clauses):
        return ("Your answer says something that the right one does not say. *How* is about wording alone: every "
                "clause should be one of the old ones, with the same event.")
    if set(wrong) != set(clauses):
        return "One of the clauses is missing. Here, repeat something without leaving anything out."
    if len(wrong) == len(clauses):
        return "The clauses are only in another order, which is not clearly wrong. Say one of them twice."
    if len(wrong) > len(clauses) + 2 or sum(wrong.count(each) > 1 for each in clauses) > 1:
        return "You repeat more than one clause, or too often. A small mistake teaches more: once or twice is enough."
    if [each for k, each in enumerate(wrong) if each not in wrong[:k]] != clauses:
        return "The order of the clauses has changed as well. Change one thing only."
    return None


wrong_how = Judgement(
    "wrong_how", "09", "clauses", look=_wrong_how, cases=((WORDS,), (SAID,)),
    hints=("Models that are not sure often repeat themselves. Let the answer say one clause twice.",
           "`clauses[:1] + clauses` repeats the first one."))


def _my_mistake(wrong, events: Events, clauses: Clauses, duration: float) -> str | None:
    if not isinstance(wrong, (list, tuple)) or len(wrong) != 3 or wrong[0] not in FACTORS:
        return f"Please return three things: the factor (one of {', '.join(FACTORS)}), the events, and the clauses."
    factor, new_events, new_clauses = wrong[0], [tuple(e) for e in wrong[1]], [tuple(c) for c in wrong[2]]
    for interval in new_events:
        if problem := _bad_interval(interval, duration):
            return problem
    if any(not 0 <= k < len(new_events) for k, _ in new_clauses):
        return "One of your clauses refers to an event that does not exist."
    if new_events == events and new_clauses == clauses:
        return "Nothing has changed: this answer is right."
    if factor == "when" and (new_clauses != clauses or len(new_events) != len(events)):
        return "You call this a mistake of *when*, but more than times has changed."
    if factor in ("what", "how") and new_events != events:
        return f"You call this a mistake of *{factor}*, but the events have changed."
    if factor == "what" and [k for k, _ in new_clauses] != [k for k, _ in clauses]:
        return ("You call this a mistake of *what*, but clauses were added, removed or moved. Change words only, and "
                "keep as many clauses, about the same events, in the same order.")
    if factor == "how" and not _only_worded_badly(new_clauses, clauses):
        return ("You call this a mistake of *how*, but it says something different from the right answer. *How* is "
                "about wording alone: mention every event, and only with words that the right answer has for it.")
    if factor == "which" and len(new_events) == len(events):
        return "You call this a mistake of *which*, but there are as many events as before."
    if not new_events:
        return "No event is left. Some videos have only one event: your mistake has to leave an answer there, too."
    if factor == "which" and any(_words(event, new_events, new_clauses) != _words(event, events, clauses)
                                 for event in new_events if event in events):
        return ("An event that you have kept has other words than before. If you add or remove an event, those after "
                "it get new numbers, and their clauses must use these numbers.")
    return None


def _only_worded_badly(new: Clauses, old: Clauses) -> bool:
    """Whether the same events are mentioned, and nothing is said of them that was not said before."""
    def vocabulary(clauses: Clauses) -> dict[int, set[str]]:
        return {k: {word for j, words in clauses if j == k for word in words.split()} for k, _ in clauses}
    said, right = vocabulary(new), vocabulary(old)
    return said.keys() == right.keys() and all(said[k] <= right[k] for k in said)


def _words(event, events: Events, clauses: Clauses) -> list[str]:
    return [words for k, words in clauses if events[k] == event]


my_mistake = Judgement(
    "my_mistake", "09", "events clauses duration", look=_my_mistake,
    cases=((ONE, WORDS[:1], 10.0), (TWO, WORDS, 16.0), (THREE, SAID, 16.0)),
    hints=("Which mistakes have you seen models make? All intervals a little too late? One event that is described as "
           "two? A shape that is confused with another?",
           "Begin with copies: `list(events)`, `list(clauses)`."))
