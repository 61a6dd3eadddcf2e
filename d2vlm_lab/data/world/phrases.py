"""The words of the world. The phrasing of a question fixes that of its answer, so there is one right answer to each."""

from __future__ import annotations

from collections.abc import Sequence

# What a thing does: "it ..." -> "does it ...?", "it is ...", and the one word that labels it on a frame.
VERBS = {
    "moves left": ("move left", "moving left", "left"),
    "moves right": ("move right", "moving right", "right"),
    "moves up": ("move up", "moving up", "up"),
    "moves down": ("move down", "moving down", "down"),
    "spins": ("spin", "spinning", "spins"),
    "grows": ("grow", "growing", "grows"),
    "shrinks": ("shrink", "shrinking", "shrinks"),
    "blinks": ("blink", "blinking", "blinks"),
    "appears": ("appear", "appearing", "appears"),
    "changes color": ("change color", "changing color", "changes"),
}
USUAL = tuple(VERBS)[:9]  # from which wrong options are drawn
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
PACES = {"slowly": 0.6, "quickly": 1.5}  # how fast an event is where captions tell it
SIDES, LEVELS = ("left side", "middle", "right side"), ("top", "middle", "bottom")  # thirds of the picture

# Questions with their answers. {name}, {does}, {do} and {doing} are of the event that a question is about, {nth} says
# which of several such events it is, {caption} is of the event that answers it; {} is an interval, {all} all of them.
TVG = (
    ("when does the {name} {do}?", "It happens in {}."),
    ("find the moment when the {name} {does}.", "The moment is {}."),
    ("the {name} is {doing}: when is that?", "That is in {}."),
)
NTH = (
    ("when does the {name} {do} for the {nth} time?", "The {nth} time is in {}."),
    ("find the {nth} time the {name} {does}.", "The {nth} one is {}."),
)
NEVER = "That does not happen."
EPM_NEXT = (
    ("what comes next after the {name} {does}, and when?", "Next, {caption} in {}."),
    ("the {name} {does}. when is the event after that?", "After that, {caption} in {}."),
)
EPM_BEFORE = (
    ("what comes right before the {name} {does}, and when?", "Before, {caption} in {}."),
    ("the {name} {does}. when is the event before that?", "Before that, {caption} in {}."),
)
EPM_FIRST = (("when does the {name} do something for the first time?", "At first, {caption} in {}."),)
EPM_LAST = (("when does the {name} do something for the last time?", "At last, {caption} in {}."),)
TAL = (
    ("find every time the {name} {does}.", "It happens in {all}."),
    ("list all moments when the {name} is {doing}.", "The moments are {all}."),
)
TAL_ANY = (
    ("when does anything {do}? find all times.", "It happens in {all}."),
    ("find everything that is {doing}.", "The moments are {all}."),
)
EVS = (
    ("which parts of the video are worth keeping?", "Keep {all}."),
    ("sum up the video: when does anything happen?", "The parts are {all}."),
)
VHD_ONE = (("show the {name} in action.", "The highlight is {}."),)
VHD_LONGEST = (("where is the longest event?", "The longest one is {}."),)
DVC = (  # here with the caption of each event instead of the answer
    ("describe every event and when it happens.", "the {name} {does}"),
    ("what is happening, one event after another?", "a {name} is {doing}"),
)
SLC = (
    ("list what the {name} does, step by step.", "the {name} {does}"),
    ("what is the {name} doing, step by step?", "a {name} is {doing}"),
)
TEM_SAME = (
    ("when else does what happens in {} happen?", "It happens again in {all}."),
    ("find the event of {} again.", "It is again in {all}."),
)
TEM_THING = (("when else is the object of {} in action?", "It is also in action in {all}."),)

# Questions with options: the answer is the letter of the right one, and what follows it.
RAR = (  # here with the form of the options instead of the answer
    ("what does the {name} do in {}?", "does"),
    ("in {}, the {name} is doing what?", "doing"),
)
ECA = (("when does the {name} {do}?", ""), ("in which part is the {name} {doing}?", ""))
RVQ_OBJECT = (("which object is in action in {}?", ""), ("in {}, what is {doing}?", ""))
RVQ_COLOR = (("which color has the object that {does} in {}?", ""),)
GVQ_ACTION = (("what does the {name} do, and when?", "It happens in {}."),)
GVQ_OBJECT = (("what {does}, and when?", "It happens in {}."), ("which object is {doing}, and when?", "That is in {}."))
GVQ_NEXT = (("what happens right after the {name} {does}, and when?", "It happens in {}."),)


# Questions whose answer joins two or three moments. {other} is the caption of another event, {number} counts.
MULTI_COUNT = (
    ("how many times does the {name} {do}, and when?", "{number} times, in {all}."),
    ("count how often the {name} {does}, with all times.", "{number} times, in {all}."),
)
MULTI_BETWEEN = (
    ("what happens between the first two times that the {name} {does}?", "Between {} and {}, {caption} in {}."),
)
MULTI_AROUND = (
    ("what happens right before and right after the {name} {does}?", "Before, {caption} in {}. After, {other} in {}."),
)
MULTI_FIRST = (("what is first: {caption}, or {other}?", "First, {earlier} in {}. Later, {later} in {}."),)
MULTI_LONGER = (("what takes longer: {caption}, or {other}?", "Longer, {longer} in {}. Shorter, {shorter} in {}."),)


def forms(name: str, action: str) -> dict[str, str]:
    """The words with which a question speaks of a thing and of what it does."""
    do, doing, _ = VERBS[action]
    return {"name": name, "does": action, "do": do, "doing": doing}


def with_options(question: str, options: list[str]) -> str:
    return f"{question} " + " ".join(f"({letter}) {option}" for letter, option in zip("ABCDE", options))


Facts = dict[str, list[tuple[str, ...]]]  # kind of fact -> its values, each in all its forms


def facts(colors: Sequence[str], shapes: Sequence[str], actions: Sequence[str], details: int = 0) -> Facts:
    """What a wrong answer can change about an event.

    `details` are the parts of long captions, as in `telling.details`: how, where, and after or before what.
    """
    known: Facts = {
        "color": [(color,) for color in colors], "object": [(shape,) for shape in shapes],
        "action": [(action, *VERBS[action][:2]) for action in actions],
        "order": [(f"{word} time", f"{word} one") for word in ORDINALS],
        "sequence": [("next,", "after that,"), ("before,", "before that,")],
        "option": [(f"({letter})",) for letter in "ABCD"]}
    numbers = range(1, len(NUMBERS))
    parts: tuple[Facts, ...] = (
        {"pace": [(pace,) for pace in PACES],
         "number": [(counted(n, "time"), counted(n, "quarter turn")) for n in numbers]},
        {"side": [(side,) for side in SIDES[::2]], "level": [(level,) for level in LEVELS[::2]]},  # without the middle
        {"relation": [("before the",), ("after the",)]})
    for part in parts[:details]:
        known |= part
    return known


def counted(n: int, word: str) -> str:
    """`one time`, `two times`; beyond the largest number that has a word, that one."""
    return f"{NUMBERS[min(n, len(NUMBERS) - 1)]} {word}{'s' if n > 1 else ''}"
