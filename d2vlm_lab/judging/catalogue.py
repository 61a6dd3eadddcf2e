"""The catalogue of metrics: every name that can stand in a study's `metrics.json`, with what it means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..config import NAMED, Preference
from ..errors import LabError
from ..settings import suggest


@dataclass(frozen=True)
class Metric:
    name: str
    label: str  # a few words, for the axis of a figure
    unit: str  # empty where the label says it all
    meaning: str  # one sentence
    higher_is_better: bool | None  # None: neither is better by itself; read it beside other metrics
    tasks: tuple[str, ...] = ()  # the exam must ask questions of at least one of these tasks; empty: of any


# The tasks of E.T. Bench whose answers have intervals, and one of the world: a short label, and what is asked.
TASKS = {
    "tvg": ("when-questions", "questions that ask when a named event happens"),
    "gvq": ("what-and-when questions", "multiple-choice questions whose answer also says when"),
    "epm": ("related events", "questions that ask for an event by its relation to another one"),
    "tal": ("all times of an action", "questions that ask for every time at which something happens"),
    "evs": ("summaries", "requests for the intervals that sum up the video"),
    "vhd": ("highlights", "requests for a highlight of the video"),
    "dvc": ("dense captions", "requests to describe every event with its time"),
    "slc": ("steps", "requests to describe one thing's events, step by step, with their times"),
    "tem": ("events like one shown", "questions that ask for the events that are like the one in a given interval"),
    "multi": ("joined moments", "questions whose answer joins two or three moments"),
}
REFUSALS = ("refused", "refused_wrongly", "refusal_F1")  # in the table of every study
# Where the asked event stands among the other events of its video.
ROLES = {
    "alone": ("events without a rival", "the asked event overlaps no other event"),
    "inner": ("events inside another", "the asked event lies inside another event"),
    "outer": ("events around another", "another event lies inside the asked one"),
    "crossing": ("events across another", "the asked event and another one overlap in part"),
}
_LOSSES = {"answer": ("answer loss", "nats per token", "the loss of the answer's words"),
           "grounding": ("grounding loss, weighted", "", "the grounding loss times its weight"),
           "consistency": ("consistency loss, weighted", "", "the consistency loss times its weight"),
           "citing": ("citing loss, weighted", "", "the loss of choosing a proposal times its weight, for the "
                      "formulation `cite` alone")}
_FORCED = "teacher-forced on the true answers of held-out questions"

# Metrics of a group of questions; `{}` is the group.
_OF_QUESTIONS = (
    Metric("F1@0.5", "F1 at overlap 0.5", "", "F1 between predicted and true intervals, matched one to one where they "
           "overlap by at least one half (intersection over union); mean over {}.", True),
    Metric("mIoU", "mean overlap", "IoU", "Intersection over union of each true interval with the predicted one that "
           "it is matched to, 0 where there is none; mean over {}.", True),
    Metric("exact_text", "texts word for word right", "share", "Share of answers whose words, without the times, are "
           "exactly those of the true answer; over {}.", True),
    Metric("surplus", "intervals too many", "per answer", "Number of predicted intervals minus number of true ones, "
           "negative where too few are predicted, so 0 is best; mean over {}.", None),
)
_OF_ROLES = (
    Metric("found", "found", "share", "Share of questions about one event, where {}, for which a predicted interval "
           "overlaps the true one by at least one half (intersection over union).", True),
    Metric("captured", "answered with the other one", "share", "Share of questions about one event, where {}, whose "
           "predicted intervals overlap the other event more than the asked one.", False),
    Metric("questions", "questions", "number", "Number of questions about one event, where {}.", None),
)
_STANDS = "of questions that stand from the beginning of their video (evaluation.live)"
_LIVE = (
    Metric("during_F1@0.5", "asked during the event: F1 at overlap 0.5", "", "F1 at an overlap of one half for "
           "questions that are asked when half of their event is over, and whose truth is that half (evaluation.live).",
           True),
    Metric("live_F1_at_end", "standing questions: F1 at the end", "", "F1 at an overlap of one half between what is "
           f"claimed at the end of a video and the truth, {_STANDS}.", True),
    Metric("live_F1_at_any_moment", "standing questions: F1 at any moment", "", "F1 at an overlap of one half between "
           "what is claimed and the part of the truth that has happened by then, mean over every half second of a "
           f"video, {_STANDS}.", True),
    Metric("live_noticed", "standing questions: events noticed", "share", "Share of the true events that are found, "
           f"with an overlap of at least one half, {_STANDS}.", True),
    Metric("live_delay", "delay of the first notice", "s", "Seconds from the start of an event to the first word about "
           f"it, mean over events that are found, {_STANDS}.", False),
    Metric("live_delay_median", "delay of the first notice, median", "s", "Seconds from the start of an event to the "
           f"first word about it, median over events that are found, {_STANDS}.", False),
    Metric("live_early", "notices before the event", "per question", "Number of events that are noticed before they "
           f"begin, {_STANDS}.", False),
    Metric("live_false", "false notices", "per question", "Number of notices of events that are not there, withdrawn "
           f"ones included, {_STANDS}.", False),
    Metric("live_revisions", "revisions", "per question", "Number of events that are revised or withdrawn after they "
           f"were announced, {_STANDS}.", False),
)
_AS_MANY = "Among the answers with as many events as there are: the share with"
_OTHERS = (
    Metric("dvc_caption_F1", "dense captions right, times aside", "F1", "F1 between the sentences of a dense caption "
           "and the true ones, whatever their times are.", True, ("dvc",)),
    Metric("dvc_joint_F1@0.5", "dense captions right at the right time", "F1", "F1 between predicted and true events, "
           "matched one to one where the caption is the same and the intervals overlap by at least one half; a "
           "sentence without an interval is an event too many.", True, ("dvc",)),
    Metric("dvc_words_F1@0.5", "dense captions: words right at the right time", "F1", "F1 between predicted and "
           "true events, matched one to one where the intervals overlap by at least one half; a pair counts as much as "
           "the F1 of the words of both captions.", True, ("dvc",)),
    Metric("named_boundary_error", "named events: distance of the ends", "s", "Seconds between the ends of predicted "
           "and true intervals, mean over both ends; over events that are found (overlap at least one half) in "
           "questions that name one event; missing where none is.", False, NAMED),
    Metric("dvc_boundary_error", "dense captions: distance of the ends", "s", "Seconds between the ends of predicted "
           "and true intervals, mean over both ends; over events that are found (overlap at least one half) in dense "
           "captions; missing where none is.", False, ("dvc",)),
    Metric("refused", "refused where nothing happens", "share", "Share of questions about an event that never happens "
           "whose answer rightly gives no interval.", True, NAMED),
    Metric("refused_wrongly", "refused where something happens", "share", "Share of questions that name one event "
           "whose answer wrongly gives no interval.", False, NAMED),
    Metric("refusal_F1", "refusing, F1", "", "F1 of refusing: giving no interval where nothing happens, and only "
           "there; both kinds of questions count alike.", True, NAMED),
    Metric("second_F1@0.5", "second mentions: F1 at overlap 0.5", "", "F1 at an overlap of one half of the intervals "
           "that answers give in their second stage; over answers that ground events first and refer to them later. "
           "Missing for styles of answers that have no second stage with intervals.", True),
    Metric("mentions_agree", "overlap of both mentions", "IoU", "Intersection over union of the first and the second "
           "mention of the same event; over answers that ground events first and refer to them later.", True),
    Metric("second_drift", "drift of second mentions", "s", "Seconds between the ends of the first and the second "
           "mention of the same event, mean over both ends; over answers that ground events first and refer to them "
           "later.", False),
    Metric("blind_words", "what words need of the frames", "nats per token", "By how much the loss of the answer's "
           f"words, without `<evi>` and `</evi>`, grows if they may not look at any frame, {_FORCED}; what `<evi>` "
           "carries remains. Missing if they never may look at frames.", None),
    Metric("exposure_gap", "what pointing wrongly costs the words", "nats per token", "By how much the loss of the "
           "answer's words, without `<evi>` and `</evi>`, grows if `<evi>` carries the frames of the interval that it "
           f"finds, and not of the true one, {_FORCED}. Missing if `<evi>` carries nothing.", False),
    Metric("mistakes_any", "answers with a mistake", "share", "Share of answers about events that are wrong in any of "
           "the four factors of a rejected answer.", False),
    Metric("mistakes_which", "answers about more or fewer events", "share", "Share of answers about events that point "
           "at more or fewer events than there are, or name more or fewer.", False),
    Metric("mistakes_how", "answers that repeat themselves", "share", "Share of answers about events that say words "
           "twice in a row, or a sentence again in more sentences than are due.", False),
    Metric("mistakes_when", "answers with a wrong time", "share", f"{_AS_MANY} an interval that overlaps the true one "
           "by less than one half.", False),
    Metric("mistakes_what", "answers with wrong words", "share", f"{_AS_MANY} a sentence that is not the true one.",
           False),
    Metric("read_at_0.5", "intervals read correctly, teacher-forced", "share", "Share of the evidence tokens whose "
           f"interval overlaps the true one by at least one half, {_FORCED}.", True),
    Metric("proposed_at_0.5", "intervals that were proposed, teacher-forced", "share", "Share of the evidence tokens "
           f"for which a proposal overlaps the true interval by at least one half, whether or not it is the one that "
           f"is chosen, {_FORCED}; for the formulation `cite` alone.", True),
    Metric("spread", "spread of evidence states", "variance", "Variance of the states of evidence tokens, "
           f"{_FORCED}; close to 0, all evidence tokens have become alike.", None),
    *(Metric(f"held_out_{name}", f"held-out {label}", unit, f"{meaning.capitalize()}, {_FORCED}.", False)
      for name, (label, unit, meaning) in _LOSSES.items()),
    *(Metric(f"prefers_{factor}", f"true answers preferred to wrong ones: {factor}", "share", "Share of wrong answers "
             f"to which the model gives a lower probability than to the true answer, where the error is in the factor "
             f"`{factor}`; for the formulation `sigmoid` alone.", True) for factor in Preference.factors),
    *_LIVE,
    Metric("seconds", "time on the clock", "s", "Seconds on the clock for the training, if there is one, and the "
           "exam, in the last attempt.", False),
    Metric("cpu_seconds", "CPU time", "s", "CPU seconds of the training, if there is one, and the exam, in the last "
           "attempt.", False),
    Metric("training_seconds", "training, time on the clock", "s", "Seconds on the clock for training, over all "
           "attempts, and for encoding videos that no run has read before; in a report, with the shared work that a "
           "run starts from.", False),
    Metric("training_cpu_seconds", "training, CPU time", "s", "CPU seconds of training, over all attempts, and of "
           "encoding videos that no run has read before; in a report, with the shared work that a run starts from.",
           False),
    Metric("memory_mb", "memory of the process at its peak", "MB", "The most memory that the process has ever held.",
           False),
    Metric("gpu_memory_mb", "GPU memory at its peak", "MB", "The most GPU memory that tensors have ever held; missing "
           "without a GPU.", False),
    Metric("frame_ms", "one more frame", "ms", "CPU milliseconds to read the next frame of a stream after thousands of "
           "frames; measured by streaming_run.ipynb, missing where frames see the whole video.", False),
    Metric("frame_growth", "a late frame against an early one", "", "CPU time of a frame near the end of a stream "
           "divided by that of a frame near its beginning; measured by streaming_run.ipynb.", False),
    Metric("answer_ms", "one answer", "ms", "Milliseconds to read the frames of one video and answer one question "
           "about it, median of several repetitions; measured by length_run.ipynb.", False, ("tvg",)),
    Metric("answer_memory_mb", "tensors of one answer at their peak", "MB", "The most memory that tensors take while "
           "one question is answered, weights aside; measured by length_run.ipynb.", False, ("tvg",)),
    Metric("frames_seen", "frames in the language model", "number", "Number of frames of one video that the language "
           "model sees; measured by length_run.ipynb.", None, ("tvg",)),
)


def _grouped(metrics: tuple[Metric, ...], group: str, label: str, words: str,
             tasks: tuple[str, ...] = ()) -> Iterator[Metric]:
    for metric in metrics:
        yield replace(metric, name=f"{group}_{metric.name}", label=f"{label}: {metric.label}",
                      meaning=metric.meaning.format(words), tasks=tasks)


def _all() -> Iterator[Metric]:
    yield from _grouped(_OF_QUESTIONS, "named", "named events", "questions that name one event", NAMED)
    for task, (label, words) in TASKS.items():
        yield from _grouped(_OF_QUESTIONS, task, label, words, (task,))
    for role, (label, words) in ROLES.items():
        kinds = tuple(metric for metric in _OF_ROLES if (role, metric.name) != ("alone", "captured"))
        yield from _grouped(kinds, role, label, words)
    yield from _OTHERS


CATALOGUE = {metric.name: metric for metric in _all()}


def metric(name: str) -> Metric:
    """The entry of a metric by its name in `metrics.json`."""
    if name not in CATALOGUE:
        raise LabError(f"no metric {name!r}{suggest(name, CATALOGUE)}")
    return CATALOGUE[name]
