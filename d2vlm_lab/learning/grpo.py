"""The reward stage: answers are drawn from the model, rewarded, and the better ones made more likely.

    loss = - mean over the drawn answers of [ sum or mean over actions of  a log p  -  kl * KL(p || q) ]

The actions of an answer are its tokens and its intervals, p is the model, q the model as it was when this stage began,
and a the advantage: how much better the answer was rewarded than the others to the same question. A group of answers
that were all rewarded alike teaches nothing. It is left out, and counts as 0 in the mean.

With `exact`, the rewards of drawn intervals are not compared. Instead the expected reward under the distribution over
all intervals is computed, and its gradient is followed, which has no noise from drawing. The k-th interval that an
answer grounds, in the order of time, is rewarded for the k-th true event; intervals too many or too few count 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import Reward
from ..data.batch import Batch, tensor_to_seconds
from ..data.plan import plan_of
from ..ideas import intervals, policy
from ..ideas.rewards import SET_REWARDS, pair_rewards
from ..model.d2vlm import D2VLM, Output, evaluation
from ..model.drawing import draw_answers
from .drawn import Answer, DrawnBatch, drawn_batch, prompts_of, read_drawn, truths_of
from .fpo import Reference


@dataclass
class RewardedAnswers:
    """Drawn answers to Q questions, G to each, and what they are worth."""

    answers: list[Answer]  # Q * G, in the order of the questions
    parts: list[dict[str, float]]  # the parts of the reward of each answer
    rewards: Tensor  # (Q, G)


@dataclass
class ReferenceOutput:
    """What the model as it was when this stage began says about the answers that are learned from."""

    words: Tensor  # (T,) log-probabilities of their tokens
    logits: Tensor  # (E, F) of their intervals


@dataclass
class Draw:
    """Rewarded answers, and what is learned from those with a signal."""

    rewarded: RewardedAnswers
    selected: DrawnBatch  # the answers that are learned from
    reference: ReferenceOutput | None  # None if the divergence has no weight
    old: dict[str, Tensor] | None = None  # log-probabilities at the first update after drawing


class Rewards:
    """Draws answers to the questions of a batch, and turns their rewards into a loss."""

    def __init__(self, settings: Reward, model: D2VLM, seed: int = 0):
        self.settings, self.seed = settings, seed
        self.before = Reference(model) if settings.kl > 0 else None
        self.kept: list[Draw] = []  # from the last step that drew answers, one for each of its batches
        self.step, self.place = -1, 0  # the optimizer step, and the number of the batch within it

    def draw(self, model: D2VLM, batch: Batch, step: int) -> Draw:
        """Answers to the questions of a batch. With several updates, the answers of an earlier step are used again."""
        if not model.training:
            return self.draw_anew(model, batch, "held out")  # the same random numbers at every evaluation
        self.place = self.place + 1 if step == self.step else 0
        self.step = step
        if step % self.settings.updates:
            return self.kept[self.place % len(self.kept)]  # the last step of a pass may have drawn for fewer batches
        with evaluation(model):
            draw = self.draw_anew(model, batch, f"{self.seed} {step}")
        self.kept = [*self.kept[:self.place], draw]
        return draw

    def draw_anew(self, model: D2VLM, batch: Batch, key: str) -> Draw:
        settings = self.settings
        rewarded = rewarded_answers(model, batch, settings, key)
        # The exact form learns about intervals even if all answers were rewarded alike.
        wanted = policy.has_signal(rewarded.rewards) | (settings.form == "exact")
        groups = wanted.nonzero().squeeze(1).tolist() or [0]  # one without a signal if there is no other
        selected = drawn_batch(model, batch, rewarded.answers, groups, settings.supervised > 0)
        return Draw(rewarded=rewarded, selected=selected, reference=self.reference(model, selected))

    def __call__(self, model: D2VLM, draw: Draw, out: Output) -> tuple[Output, dict[str, Tensor]]:
        """The output with the loss of the drawn answers, and what to log."""
        settings, selected = self.settings, draw.selected
        n, whole = len(selected.answers), draw.rewarded.rewards.numel()
        words, spans = Words.of(out, selected), Spans.of(out, selected)
        now = {"words": words.log_p, "spans": spans.log_p}
        if draw.old is None:
            draw.old = {name: value.detach() for name, value in now.items()}
        expected = self.expected(selected, spans, out) if settings.form == "exact" else None
        advantage = self.advantages(draw, expected).to(out.log_p.device)

        gain = policy.by_answer(policy.clipped_gain(words.log_p, draw.old["words"], advantage[words.answer],
                                                    settings.clip), words.answer, n)
        if expected is None:
            gain = gain + policy.by_answer(
                policy.clipped_gain(spans.log_p, draw.old["spans"], advantage[spans.answer], settings.clip),
                spans.answer, n)
        else:
            gain = gain + expected
        divergence = divergence_of(draw, words, spans, n)
        if settings.form == "grpo":  # the mean over the actions of an answer
            actions = torch.bincount(torch.cat([words.answer, spans.answer]), minlength=n)
            gain, divergence = gain / actions, divergence / actions
        loss = -(gain - settings.kl * divergence).sum() / whole
        parts = {name: settings.supervised * value for name, value in out.parts.items()} if settings.supervised else {}
        parts["reward"] = settings.weight * loss
        notes = self.notes(draw.rewarded) | ({} if draw.reference is None else {"kl": divergence.detach()})
        return replace(out, loss=sum(parts.values()), parts=parts), notes

    def advantages(self, draw: Draw, expected: Tensor | None) -> Tensor:
        """(n,) the advantages of the answers that are learned from."""
        rewards = draw.rewarded.rewards[draw.selected.groups]
        if expected is not None:  # the expected reward of the intervals replaces that of the drawn ones
            rewards = expected.detach().cpu().view_as(rewards) + torch.tensor(
                [answer.other_rewards(self.settings) for answer in draw.selected.answers]).view_as(rewards)
        return policy.advantages(rewards, self.settings.form == "grpo").flatten()

    def expected(self, selected: DrawnBatch, spans: Spans, out: Output) -> Tensor:
        """(n,) the expected reward of the intervals of each answer, given its words."""
        weights = {name: weight for name, weight in self.settings.weights.items() if name in SET_REWARDS}
        # If no answer has an interval, the heads get a gradient of 0: of several processes, each waits for that of all.
        total = out.similarity.new_zeros(len(selected.answers)) + 0 * spans.log_p.sum()
        for match in selected.matches:
            table = 0
            for name, weight in weights.items():
                every = intervals.all_intervals(match.seconds)
                table = table + weight * pair_rewards(name, every, match.truth, self.settings.beta)
            rows, n_frames = match.mentions, len(match.seconds)
            value = intervals.expected_reward(spans.logits[rows, :n_frames], table)
            total = total.index_add(0, spans.answer[rows], value * match.share)
        return total + sum(weights.values()) * selected.nothing.to(total)

    def reference(self, model: D2VLM, selected: DrawnBatch) -> ReferenceOutput | None:
        """What the model before this stage says about the answers; None if the divergence has no weight."""
        if self.before is None:
            return None
        out = self.before(model, selected.batch)
        return ReferenceOutput(words=Words.of(out, selected).log_p, logits=Spans.of(out, selected).logits)

    def notes(self, rewarded: RewardedAnswers) -> dict[str, Tensor]:
        """Numbers for the log, over all drawn answers, also those without a signal."""
        answers, rewards = rewarded.answers, rewarded.rewards
        tokens = sum(len(answer.ids) for answer in answers)
        entropies = [entropy for answer in answers for entropy in answer.entropies]
        notes = {"reward": rewards.mean(), "signal": policy.has_signal(rewards).float().mean(),
                 "readable": mean([answer.readable for answer in answers]),
                 "length": torch.tensor(tokens / len(answers)),
                 "entropy_words": torch.tensor(-sum(answer.log_p for answer in answers) / tokens),
                 "entropy_intervals": mean(entropies)}
        for name in self.settings.weights:
            notes[f"reward_{name}"] = mean([parts[name] for parts in rewarded.parts])
        return notes


def divergence_of(draw: Draw, words: Words, spans: Spans, n: int) -> Tensor:
    """(n,) divergence from the earlier model: of words as drawn, of intervals exactly; 0 if it has no weight."""
    if draw.reference is None:
        return words.log_p.new_zeros(n)
    of_words = policy.drawn_divergence(words.log_p, draw.reference.words)
    of_spans = intervals.divergence(spans.logits, draw.reference.logits, spans.mask)
    return policy.by_answer(of_words, words.answer, n) + policy.by_answer(of_spans, spans.answer, n)


def rewarded_answers(model: D2VLM, batch: Batch, settings: Reward, key: str) -> RewardedAnswers:
    """Answers that are drawn to every question of a batch, and their rewards.

    `key` and the name of a sample decide what is drawn: it is the same in any process and after an interruption.
    """
    truths, names = truths_of(model, batch), [f"{key} {name}" for name in batch.names]
    with evaluation(model):
        drawn = draw_answers(model, prompts_of(model, batch), names, settings.answers, settings.max_new_tokens)
    answers = [read_drawn(model, one, truths[n // settings.answers]) for n, one in enumerate(drawn)]
    parts = [answer.parts(settings) for answer in answers]
    rewards = [answer.reward(settings, each) for answer, each in zip(answers, parts)]
    return RewardedAnswers(answers, parts, torch.tensor(rewards).view(-1, settings.answers))


@dataclass
class Words:
    """The tokens of the drawn answers as actions: T of them."""

    answer: Tensor  # (T,) the drawn answer to which each token belongs
    log_p: Tensor  # (T,)

    @classmethod
    def of(cls, out: Output, selected: DrawnBatch) -> Words:
        answer = selected.answer_of_text[out.target_row]
        drawn = answer >= 0  # the others belong to true answers
        return cls(answer[drawn], out.log_p[drawn])


@dataclass
class Spans:
    """The intervals of the drawn answers as actions: E of them."""

    answer: Tensor  # (E,)
    logits: Tensor  # (E, F)
    mask: Tensor  # (E, F)
    log_p: Tensor  # (E,)

    @classmethod
    def of(cls, out: Output, selected: DrawnBatch) -> Spans:
        mention = plan_of(selected.batch).mention
        answer = selected.answer_of_text[selected.batch.row[mention]]
        drawn = answer >= 0
        logits, mask = out.similarity[drawn].float(), out.frame_mask[drawn]
        log_p = intervals.log_probability(logits, selected.batch.interval[mention][drawn].round(), mask)
        return cls(answer[drawn], logits, mask, log_p)


class IntervalLoss:
    """1 minus the expected overlap with the true interval, as a loss on the true answers; nothing is drawn."""

    def __init__(self, settings: Reward):
        self.settings = settings

    def __call__(self, model: D2VLM, batch: Batch, out: Output) -> tuple[Output, dict[str, Tensor]]:
        value = expected_overlap(out, batch)
        parts = {name: self.settings.supervised * part for name, part in out.parts.items()}
        parts["reward"] = self.settings.weight * (1 - value).sum() / max(1, len(value)) + 0 * out.log_p.sum()
        mention = plan_of(batch).supervised_mentions
        entropy = intervals.entropy(out.similarity[mention].detach(), out.frame_mask[mention])
        return replace(out, loss=sum(parts.values()), parts=parts), {"reward_iou": value.detach(),
                                                                     "entropy_intervals": entropy}


def expected_overlap(out: Output, batch: Batch) -> Tensor:
    """(E,) the expected overlap of each evidence token of the true answers with its true interval, both in seconds."""
    plan = plan_of(batch)
    supervised, values = plan.supervised_mentions, []
    truth, video = batch.interval[plan.mention][supervised], batch.video[batch.row[plan.mention][supervised]]
    logits, mask = out.similarity[supervised].float(), out.frame_mask[supervised]
    for number, seconds in enumerate(batch.seconds):
        here = (video == number).nonzero().squeeze(1)
        true = tensor_to_seconds(truth[here], seconds)[:, None, None]
        table = pair_rewards("iou", intervals.all_intervals(seconds), true)
        n_frames = len(seconds)
        values.append(intervals.expected_reward(logits[here, :n_frames], table, mask[here, :n_frames]))
    return torch.cat(values)


def mean(values: Sequence[float]) -> Tensor:
    return torch.tensor([float(value) for value in values]).mean() if values else torch.tensor(float("nan"))
