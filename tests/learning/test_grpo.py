"""The reward stage: what is drawn is what the model would write, and what is learned is what the rewards say."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from interruption import train_until_interrupted
from small import clip, history, mixed, text, tiny_model
from small import model as small_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT, Reward, RunConfig, read_config
from d2vlm_lab.data.batch import IGNORE, Clip, collate
from d2vlm_lab.data.group_file import read_groups
from d2vlm_lab.data.groups import Collator, Groups, group_by_video
from d2vlm_lab.data.plan import plan_of
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas import intervals, policy
from d2vlm_lab.ideas.evidence import parse
from d2vlm_lab.ideas.rewards import pair_rewards
from d2vlm_lab.lab.run import dry_run, train
from d2vlm_lab.learning.drawn import (
    Answer,
    Truth,
    drawn_batch,
    in_style,
    matches_of,
    prompts_of,
    read_drawn,
    true_text,
    truths_of,
)
from d2vlm_lab.learning.grpo import IntervalLoss, Rewards, Spans, Words, expected_overlap
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import checkpoint_id, load, save
from d2vlm_lab.model.drawing import DrawnAnswer, chance, draw_answers
from d2vlm_lab.model.start import start
from d2vlm_lab.settings import from_dict, override

QUICK = ["parts.start=data/tiny-sft", "training.steps=4", "training.videos=4", "training.log_every=1",
         "training.eval_every=2", "training.save_every=2", "evaluation.samples=2", "evaluation.tasks=[tvg]",
         "evaluation.max_new_tokens=30", "training.learning_rate=1e-4",
         "training.rest_learning_rate=1e-4", "reward.answers=4", "reward.max_new_tokens=40"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rewards")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    return folder / "world"


@pytest.fixture
def config(world):
    return read_config("tiny", [*QUICK, f"data.world={world}", "reward.form=grpo"])


@pytest.fixture(scope="module")
def trained(world):
    """The checkpoint that comes along, ready to be trained, and a batch of four questions about it."""
    config = read_config("tiny", [*QUICK, f"data.world={world}", "reward.form=grpo"])
    torch.manual_seed(0)
    model = prepare(start(config), config)
    split, _ = splits(config)
    groups = Groups(group_by_video(split.samples, 2, 0), reader(config, model.frames, split.videos), model.tokenizer,
                    model.prompt, model.method)
    return model, Collator(model.tokenizer, model.prompt)([groups[k] for k in range(2)])["batch"]


def drawn_by(model, batch, answers=4, limit=40):
    model.eval()
    return draw_answers(model, prompts_of(model, batch), batch.names, answers, limit)


def answers_of(model, batch, drawn, size=4):
    truths = truths_of(model, batch)
    return [read_drawn(model, one, truths[n // size]) for n, one in enumerate(drawn)]


# Drawing.

def test_answers_drawn_together_are_those_drawn_one_question_at_a_time(trained):
    model, batch = trained
    together = drawn_by(model, batch)
    assert len(together) == 4 * len(batch.ids)
    prompts = prompts_of(model, batch)
    for n in range(len(batch.ids)):
        one = replace(prompts, ids=prompts.ids[[n]], mask=prompts.mask[[n]], labels=prompts.labels[[n]],
                      video=prompts.video[[n]], row=torch.zeros(int((prompts.row == n).sum()), dtype=torch.long),
                      column=prompts.column[prompts.row == n], interval=prompts.interval[prompts.row == n],
                      role=prompts.role[prompts.row == n], pairs=prompts.pairs[:0], names=[prompts.names[n]])
        alone = draw_answers(model, one, [batch.names[n]], 4, 40)
        assert [(a.ids, a.intervals) for a in alone] == [(a.ids, a.intervals) for a in together[4 * n:4 * n + 4]]


@pytest.mark.parametrize("limit", [6, 40])
def test_answers_that_share_what_came_before_are_those_that_have_copies(trained, monkeypatch, limit):
    model, batch = trained
    monkeypatch.setattr(model, "fast", True)
    shared = drawn_by(model, batch, limit=limit)
    monkeypatch.setattr(model, "fast", False)
    copied = drawn_by(model, batch, limit=limit)
    assert [(a.ids, a.intervals, a.finished) for a in shared] == [(a.ids, a.intervals, a.finished) for a in copied]
    assert all(a.log_p == pytest.approx(b.log_p, abs=1e-4) for a, b in zip(shared, copied))
    assert max(len(a.ids) for a in shared) <= limit and len({len(a.ids) for a in shared}) > 1 or limit == 6


@pytest.mark.parametrize("changes", [{"num_key_value_heads": 2}, {"sliding_window": 6}])
def test_shared_keys_serve_grouped_heads_and_sliding_windows(changes, monkeypatch):
    import small
    from transformers import AutoModelForCausalLM, MistralConfig

    def language(layers=4, width=32, **_):
        torch.manual_seed(0)
        settings = {"vocab_size": 260, "hidden_size": width, "intermediate_size": 64, "num_hidden_layers": layers,
                    "num_attention_heads": 4, "num_key_value_heads": 4, "initializer_range": 0.2,
                    "sliding_window": None} | changes
        return AutoModelForCausalLM.from_config(MistralConfig(**settings))

    monkeypatch.setattr(small, "language", language)
    model = small_model()
    assert model.sparing
    _, _, batch = mixed(model)
    batch = replace(batch, names=[str(n) for n in range(len(batch.ids))])
    shared = drawn_by(model, batch, 3, 8)
    model.fast = False
    copied = drawn_by(model, batch, 3, 8)
    assert [a.ids for a in shared] == [a.ids for a in copied]
    assert [a.intervals for a in shared] == [a.intervals for a in copied]


def test_what_is_drawn_has_the_probability_with_which_it_is_learned(trained):
    """The text pass of training gives each drawn token and each curve the probability that it was drawn with."""
    model, batch = trained
    answers = answers_of(model, batch, drawn_by(model, batch))
    selected = drawn_batch(model, batch, answers, range(len(batch.ids)), with_truth=False)
    with torch.no_grad():
        out = model(selected.batch)
    words, spans = Words.of(out, selected), Spans.of(out, selected)
    n = len(answers)
    total = policy.by_answer(words.log_p, words.answer, n)
    assert torch.allclose(total, torch.tensor([a.log_p for a in answers]), atol=1e-3)
    assert torch.bincount(words.answer, minlength=n).tolist() == [len(a.ids) for a in answers]
    entropies = [entropy for a in answers for entropy in a.entropies]
    assert torch.allclose(intervals.entropy(spans.logits, spans.mask), torch.tensor(entropies), atol=1e-3)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    log_p = torch.tensor([0.5, 0.0, 0.2, 0.3]).double().log().expand(20000, -1)
    drawn = intervals.pick(log_p.exp(), chance("name", 20000)[:, 0])
    shares = torch.bincount(drawn, minlength=4) / 20000
    assert torch.allclose(shares, torch.tensor([0.5, 0.0, 0.2, 0.3]), atol=0.015) and shares[1] == 0
    assert torch.equal(chance("name", 5), chance("name", 5)) and not torch.equal(chance("name", 5), chance("other", 5))


# What an answer is worth.

def test_the_true_answer_gets_every_reward_in_full(trained):
    model, batch = trained
    weights = Reward(form="grpo", giou=1, matched_giou=1, wasserstein2=1, precision_iou=1, words=1)
    for n, truth in enumerate(truths_of(model, batch)):
        ids = [token for token in batch.labels[n].tolist() if token != IGNORE]
        mentions = (batch.row == n) & batch.in_answer
        frames = [tuple(span) for span in batch.interval[mentions].round().long().tolist()]
        answer = read_drawn(model, DrawnAnswer(ids, frames, finished=True), truth)
        assert answer.readable and answer.words == truth.words and len(answer.intervals) == len(truth.intervals)
        apart = len(truth.intervals) < 2 or np.all(np.diff(sorted(truth.intervals), axis=0)[:, 0] > 0)
        for name, part in answer.parts(weights).items():
            if name == "words":
                assert part == 1
            elif len(truth.intervals) <= 1 and apart:  # true ends may lie between frames
                assert part > 0.75, name


@pytest.mark.parametrize("text, style, right", [
    ("<evi></evi> It happens in <evi>.", "interleaved", True), ("It never happens.", "interleaved", True),
    ("<evi> It happens in <evi>.", "interleaved", False), ("It happens in <evi>.", "interleaved", False),
    ("<evi></evi> In <evi> and in <evi>.", "interleaved", False), ("</evi> It happens.", "interleaved", False),
    ("<evi></evi> It happens.", "factorized", True), ("<evi></evi> It happens in <evi>.", "factorized", False),
    ("It happens in <evi>.", "coupled", True), ("<evi></evi> It happens in <evi>.", "coupled", False)])
def test_an_answer_is_readable_only_in_the_style_of_the_method(text, style, right):
    answer = parse(text, [(0.0, 1.0)] * text.count("<evi>"), style)
    assert in_style(answer, replace(RunConfig().method, style=style)) is right


def answer_with(spans, truth, words="", readable=True):
    text = "<evi>" * len(spans) + ("</evi> " if spans else "") + words
    return Answer(ids=[], frames=[], answer=parse(text, spans), readable=readable,
                  truth=Truth(tuple(truth), "never", np.arange(8) / 2), log_p=0.0, entropies=[])


def test_refusing_pays_where_nothing_happens_and_costs_where_something_does():
    settings = Reward(form="grpo", iou=0, wasserstein=0, refusal=2.0, words=1.0)
    event, other = (1.0, 2.0), (0.0, 1.0)
    worth = [answer_with(spans, truth, "never").reward(settings) for spans, truth in
             (([], []), ([event], []), ([], [event]), ([other], [event]))]
    assert worth == [3.0, 1.0, -1.0, 1.0]
    assert answer_with([event], [event], "never", readable=False).reward(settings) == -1.0


# What is learned.

@pytest.fixture
def stage(trained):
    def make(**changes):
        model, batch = trained
        model.train()
        settings = {"form": "grpo", "answers": 4, "max_new_tokens": 40, "kl": 0.0} | changes
        return model, batch, Rewards(Reward(**settings), model, 0)
    return make


def gradients(model, stage, batch, step=0):
    model.zero_grad()
    draw = stage.draw(model, batch, step)
    out, notes = stage(model, draw, model(draw.selected.batch))
    out.loss.backward()
    return draw, out, notes, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", ["grpo", "dr_grpo"])
def test_leaving_out_groups_without_a_signal_changes_no_gradient(stage, form, monkeypatch):
    model, batch, rewards = stage(form=form, iou=0.0, wasserstein=0.0, words=1.0)  # some are always said alike
    draw, _, notes, skipping = gradients(model, rewards, batch)
    assert len(draw.selected.groups) < len(batch.ids) and notes["signal"] == len(draw.selected.groups) / len(batch.ids)
    monkeypatch.setattr(policy, "has_signal", lambda rewards: torch.ones(len(rewards), dtype=torch.bool))
    draw, _, _, whole = gradients(model, rewards, batch)
    assert len(draw.selected.groups) == len(batch.ids)
    assert all(torch.allclose(skipping[name], whole[name], atol=1e-6) for name in whole)


@pytest.mark.parametrize("form", ["grpo", "dr_grpo", "exact"])
def test_a_step_makes_better_answers_more_likely_than_worse_ones(stage, form):
    model, batch, rewards = stage(form=form)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    draw, _, _, grads = gradients(model, rewards, batch)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in grads:
                value -= 1e-4 * grads[name] / math.sqrt(sum(g.square().sum() for g in grads.values()))
        model.eval()
        out = model(draw.selected.batch)
    words, spans = Words.of(out, draw.selected), Spans.of(out, draw.selected)
    n = len(draw.selected.answers)
    moved = (policy.by_answer(words.log_p - draw.old["words"], words.answer, n)
             + policy.by_answer(spans.log_p - draw.old["spans"], spans.answer, n))
    advantage = rewards.advantages(draw, None)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(before[name])
    assert (moved * advantage).sum() > 0


def test_nothing_is_learned_where_every_answer_is_worth_the_same(stage):
    model, batch, rewards = stage(iou=0.0, wasserstein=0.0, refusal=1e-9, unreadable=0.0)
    draw, out, notes, grads = gradients(model, rewards, batch)
    assert notes["signal"] == 0 and len(draw.selected.groups) == 1
    assert all(not g.any() for g in grads.values())


def test_the_exact_form_computes_the_reward_of_single_intervals(stage):
    """Of an answer with one interval for one event it is the mean over all intervals; a refusal has its own."""
    model, batch, rewards = stage(form="exact", wasserstein=0.0)
    draw, out, _, grads = gradients(model, rewards, batch)
    selected = draw.selected
    spans = Spans.of(out, selected)
    expected = rewards.expected(selected, spans, out)
    first, checked = 0, 0
    for n, answer in enumerate(selected.answers):
        if answer.readable and len(answer.intervals) == 1 == len(answer.truth.intervals):
            size = len(answer.truth.seconds)
            p = intervals.log_probabilities(spans.logits[[first], :size]).exp()[0]
            every = intervals.all_intervals(torch.tensor(answer.truth.seconds))
            value = (p * pair_rewards("iou", every, torch.tensor(answer.truth.intervals[0]))).sum()
            assert expected[n].item() == pytest.approx(value.item(), abs=1e-5)
            checked += 1
        elif not answer.readable:
            assert expected[n] == 0
        first += len(answer.frames)
    assert checked > 2 and any(g.any() for g in grads.values())
    # Rightly without an interval: the full reward.
    silent = replace(selected, nothing=torch.ones_like(selected.nothing))
    assert torch.allclose(rewards.expected(silent, spans, out), expected + (~selected.nothing).float())


def test_the_exact_form_reaches_the_heads_also_where_no_answer_has_an_interval(stage):
    """Processes that train together wait for each other's gradients of all weights that were used."""
    model, batch, rewards = stage(form="exact")
    draw = rewards.draw(model, batch, 0)
    draw.selected = replace(draw.selected, matches=[])
    model.zero_grad()
    out, _ = rewards(model, draw, model(draw.selected.batch))
    out.loss.backward()
    assert all(value.grad is not None for part in model.heads for value in part.parameters())


def test_a_step_with_fewer_batches_at_the_end_of_the_data_is_followed_by_a_whole_one(stage):
    """With two updates for each draw, a whole step may use again what a shorter one has drawn."""
    model, batch, rewards = stage(updates=2, max_new_tokens=4)
    drawn = rewards.draw(model, batch, 0)
    assert [rewards.draw(model, batch, 1) for _ in range(3)] == [drawn] * 3


def test_the_reference_is_the_model_as_it_was(stage):
    model, batch, rewards = stage(kl=0.5)
    draw, out, notes, _ = gradients(model, rewards, batch)
    assert notes["kl"].abs().max() < 1e-5
    with torch.no_grad():
        head = model.evidence_head[3].weight
        kept = head.clone()
        head.mul_(0.5)
    draw, out, moved, grads = gradients(model, rewards, batch)
    free, _ = Rewards(replace(rewards.settings, kl=0.0), model, 0)(model, draw, out)
    with torch.no_grad():
        head.copy_(kept)
    assert moved["kl"].min() >= 0 and moved["kl"].max() > 0.01
    words, spans = Words.of(out, draw.selected), Spans.of(out, draw.selected)
    n, reference = len(draw.selected.answers), draw.reference
    by_hand = policy.by_answer(policy.drawn_divergence(words.log_p, reference.words), words.answer, n)
    by_hand += policy.by_answer(intervals.divergence(spans.logits, reference.logits, spans.mask), spans.answer, n)
    by_hand /= torch.bincount(torch.cat([words.answer, spans.answer]), minlength=n)  # the mean over actions
    assert torch.allclose(moved["kl"], by_hand, atol=1e-6)
    expected = 0.5 * by_hand.sum().item() / draw.rewarded.rewards.numel()
    assert (out.loss - free.loss).item() == pytest.approx(expected, rel=1e-3)


def test_several_updates_learn_from_one_draw_within_the_clipped_range(stage):
    model, batch, rewards = stage(updates=2)
    first, _, _, grads = gradients(model, rewards, batch, 0)
    again, _, _, _ = gradients(model, rewards, batch, 1)
    assert again is first
    third, _, _, _ = gradients(model, rewards, batch, 2)
    assert third is not first
    first.old = {name: value - 1.0 for name, value in first.old.items()}  # all have become 2.7 times as likely
    out, _ = rewards(model, first, model(first.selected.batch))
    model.zero_grad()
    out.loss.backward()
    clipped = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    old, reached = first.old, []  # how far an answer may become more probable before it gets no gradient any more
    for bound in (0.2, 5.0):
        stage_of = Rewards(replace(rewards.settings, clip=bound), model, 0)
        model.zero_grad()
        moved, _ = stage_of(model, replace(first, old=old), model(first.selected.batch))
        moved.loss.backward()
        reached.append(sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None))
    assert reached[0] < reached[1]  # 2.7 times as probable is beyond 1.2, and within 6
    better = policy.clipped_gain(torch.tensor([0.0, 0.0], requires_grad=True), torch.tensor([-1.0, -1.0]),
                                 torch.tensor([1.0, -1.0]))
    assert better.tolist() == pytest.approx([1.2, -math.e])
    assert sum(g.square().sum() for g in clipped.values()) != sum(g.square().sum() for g in grads.values())


def test_true_answers_can_be_learned_beside_the_drawn_ones(stage):
    model, batch, rewards = stage(supervised=1.0)
    draw, out, _, _ = gradients(model, rewards, batch)
    n = len(draw.selected.groups)
    supervised = draw.selected.batch.supervised
    assert supervised.sum() == n and (draw.selected.answer_of_text[supervised] == -1).all()
    assert set(out.parts) == {"answer", "grounding", "consistency", "reward"}
    some = replace_texts(batch, draw.selected.groups)
    assert some == [(t.ids, t.columns) for t in (true_text(draw.selected.batch, int(k)) for k in
                                                 supervised.nonzero().squeeze(1))]
    with torch.no_grad():
        alone = model(batch).parts
    if n == len(batch.ids):
        assert out.parts["answer"].item() == pytest.approx(alone["answer"].item(), rel=1e-4)


def replace_texts(batch, groups):
    return [(text.ids, text.columns) for text in (true_text(batch, n) for n in groups)]


def test_policy_formulas():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5], [3.0, 1.0, 2.0, 2.0]])
    scaled, plain = policy.advantages(rewards), policy.advantages(rewards, scaled=False)
    assert torch.allclose(scaled[0], torch.tensor([1.0, -1.0, -1.0, 1.0])) and (scaled[1] == 0).all()
    assert torch.allclose(plain[2], torch.tensor([1.0, -1.0, 0.0, 0.0])) and scaled.sum(-1).abs().max() < 1e-6
    assert policy.has_signal(rewards).tolist() == [True, False, True]
    x = torch.tensor([-1.0, -2.0], requires_grad=True)
    policy.clipped_gain(x, x.detach(), torch.tensor([2.0, -3.0])).sum().backward()
    assert x.grad.tolist() == [2.0, -3.0]  # that of advantage * log p
    assert policy.drawn_divergence(torch.tensor([-1.0]), torch.tensor([-1.0])).item() == 0
    assert policy.drawn_divergence(torch.tensor([-1.0]), torch.tensor([-2.0])).item() == pytest.approx(math.exp(-1))


def test_an_interval_of_an_answer_with_too_many_is_rewarded_in_part():
    event, other = (1.0, 2.0), (0.0, 1.0)
    answers = [answer_with([event], [event], "once"), answer_with([event, other], [event], "twice")]
    answers = [replace(answer, frames=[(0, 1)] * len(answer.intervals)) for answer in answers]
    match, = matches_of(answers, 2, torch.device("cpu"))
    assert match.mentions.tolist() == [0, 2] and match.share.tolist() == [1.0, 0.5]


# The direct loss.

def test_the_interval_loss_is_one_minus_the_expected_overlap_and_falls(trained):
    model, batch = trained
    model.train()
    loss = IntervalLoss(Reward(form="iou_loss"))
    mentions = len(plan_of(batch).supervised_mentions)
    out = model(batch)
    value = expected_overlap(out, batch)
    assert value.shape == (mentions,) and (value >= 0).all() and (value <= 1).all()
    staged, notes = loss(model, batch, out)
    assert staged.loss.item() == pytest.approx(1 - value.mean().item(), abs=1e-5)
    assert notes["reward_iou"].shape == (mentions,)
    staged.loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())
    model.zero_grad()


def test_the_overlap_of_a_question_asked_early_counts_only_intervals_that_it_has_seen():
    net, shown = small_model(frame_block=3), clip(12)
    asked = replace(text(net, shown, events=((0.5, 2.0),)), asked=6)
    short = Clip(shown.features[:6], shown.timestamps[:6])
    early, alone = (collate([each], [[written]], net.tokenizer, net.prompt)
                    for each, written in ((shown, asked), (short, replace(asked, asked=None))))
    out = net(early)
    out.similarity.retain_grad()
    value = expected_overlap(out, early)
    torch.testing.assert_close(value, expected_overlap(net(alone), alone), atol=1e-5, rtol=1e-5)
    value.sum().backward()
    assert out.similarity.grad[:, :6].all() and not out.similarity.grad[:, 6:].any()


# Runs.

def test_a_reward_stage_runs_logs_and_goes_on_exactly_where_it_was_interrupted(config, tmp_path, monkeypatch):
    config = override(config, {"training.steps": 3, "training.save_every": 1, "training.eval_every": 3,
                               "reward.kl": 0.04})
    whole = train(config, tmp_path / "whole", str)
    logged = history(tmp_path / "whole")
    assert {"reward", "reward_iou", "reward_wasserstein", "signal", "readable", "entropy_words", "entropy_intervals",
            "kl", "length", "loss_reward"} <= set(logged[0])
    assert any("eval_reward" in line for line in logged) and "named_mIoU" in whole["validation"]

    train_until_interrupted(config, tmp_path / "interrupted", monkeypatch)
    assert train(config, tmp_path / "interrupted", str)["checkpoint"] == whole["checkpoint"]


@pytest.mark.parametrize("form", ["dr_grpo", "exact", "iou_loss"])
def test_every_form_runs(config, tmp_path, form):
    short = override(config, {"reward.form": form, "training.steps": 2, "reward.supervised": 1.0})
    train(short, tmp_path / form, str)
    logged = history(tmp_path / form)
    assert all(math.isfinite(line["loss"]) for line in logged if "loss" in line)
    assert {"reward_iou", "entropy_intervals", "loss_answer", "loss_reward"} <= set(logged[0])


@pytest.mark.slow
def test_two_processes_take_the_step_of_one_at_the_same_global_batch(config, tmp_path):
    """What is drawn depends on the sample alone, and every process has as many answers, so the mean is the same."""
    other = ("training.steps=", "training.save_every=", "training.eval_every=", "training.videos=")
    words = [*(word for word in QUICK if not word.startswith(other)), f"data.world={config.data.world}",
             "reward.form=grpo", "training.steps=1", "training.save_every=1", "training.eval_every=1"]
    for name, launcher, videos in (
            ("one", [sys.executable, "-m", "d2vlm_lab.cli"], 4),
            ("two", [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29533", "-m",
                     "d2vlm_lab.cli"], 2)):
        ran = subprocess.run([*launcher, "train", "tiny", *words, f"training.videos={videos}", "--out",
                              str(tmp_path / name)], capture_output=True, text=True, cwd=ROOT,
                             env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    begin, one, two = (load(path).state_dict() for path in (
        ROOT / "data" / "tiny-sft", tmp_path / "one" / "model", tmp_path / "two" / "model"))
    moved = [torch.cat([(end[name] - begin[name]).flatten() for name in begin if name in end]) for end in (one, two)]
    assert moved[0].norm() > 0 and torch.cosine_similarity(*moved, dim=0) > 0.99


@pytest.mark.parametrize("changes, message", [
    ({"method.style": "digits"}, "rewards the intervals of evidence tokens; method.style=digits has none"),
    ({"method.formulation": "softmax"}, "only method.formulation=sigmoid gives"),
    ({"method.evidence_from": "predicted"}, "that was drawn for it; set method.evidence_from=true .found predicted"),
    ({"reward.answers": 1}, "reward.answers is 1; .*at least 2"),
    ({"preference.form": "fpo"}, "two ways to learn after supervised training"),
    ({"reward.iou": 0, "reward.wasserstein": 0}, "every reward has the weight 0"),
    ({"reward.updates": 3, "training.save_every": 4}, "must be a multiple of reward.updates=3"),
    ({"reward.form": "off", "reward.file": "groups.jsonl"}, "reward.file: set reward.form"),
    ({"reward.kl": -1}, "reward.kl: expected a number from 0 to"),
    ({"reward.form": "gpro"}, "did you mean 'grpo'")])
def test_settings_that_cannot_work_are_refused_before_anything_runs(changes, message):
    with pytest.raises(LabError, match=message):
        override(RunConfig(), {"reward.form": "grpo"} | changes)


def test_a_model_that_was_never_taught_to_ground_cannot_draw(config, tmp_path):
    save(tiny_model(), tmp_path / "base")
    with pytest.raises(LabError, match="never trained to ground; name a trained checkpoint"):
        train(override(config, {"parts.start": str(tmp_path / "base"), "adapter.rank": 4}), tmp_path / "run", str)


def test_the_overlap_is_a_loss_of_supervised_training_too(config, tmp_path):
    """Beside the other losses, it needs no model that was taught to ground before."""
    save(tiny_model(), tmp_path / "base")
    alone = override(config, {"parts.start": str(tmp_path / "base"), "reward.form": "off", "adapter.rank": 4,
                              "training.steps": 1, "training.save_every": 1, "training.learning_rate": 0.0,
                              "training.rest_learning_rate": 0.0, "method.semantic_layer": 1})
    with_overlap = override(alone, {"reward.form": "iou_loss", "reward.supervised": 1.0, "reward.weight": 0.5})
    losses = {}
    for name, each in (("alone", alone), ("overlap", with_overlap)):
        train(each, tmp_path / name, str)
        losses[name] = history(tmp_path / name)[0]
    added = 0.5 * (1 - losses["overlap"]["reward_iou"])
    assert losses["overlap"]["loss_reward"] == pytest.approx(added, abs=1e-4) and added > 0
    assert losses["overlap"]["loss"] == pytest.approx(losses["alone"]["loss"] + added, abs=1e-3)


# A file of drawn answers.

@pytest.fixture
def group_file(config, tmp_path):
    words = ["make-groups", "tiny", *QUICK, f"data.world={config.data.world}", "reward.form=grpo", "data.limit=2",
             "data.tasks=[tvg, rar]", "--out", str(tmp_path / "groups.jsonl")]
    assert main(words) == 0
    return tmp_path / "groups.jsonl"


def test_a_stage_trains_on_the_questions_of_a_group_file_that_teach_something(config, group_file, tmp_path, capsys):
    first, *lines = map(json.loads, group_file.read_text().splitlines())
    assert first == {"checkpoint": checkpoint_id(ROOT / "data" / "tiny-sft"), "answers": 4, "shard": "0/1"}
    assert all(len(line["rewards"]) == len(line["answers"]) == 4 for line in lines)
    teaching = {line["sample"] for line in lines if max(line["rewards"]) > min(line["rewards"])}
    assert 0 < len(teaching) < len(lines)
    short = override(config, {"reward.file": str(group_file), "training.steps": 1, "training.save_every": 1})
    said = []
    train(short, tmp_path / "run", said.append)
    assert any(line.startswith(f"{len(teaching):,} samples") for line in "\n".join(said).splitlines())


def test_the_files_of_all_shards_one_after_the_other_are_the_file_of_all_questions(config, group_file, tmp_path):
    parts, checkpoint = [], checkpoint_id(ROOT / "data" / "tiny-sft")
    for k in range(2):
        out = tmp_path / f"part-{k}.jsonl"
        words = ["make-groups", "tiny", *QUICK, f"data.world={config.data.world}", "reward.form=grpo", "data.limit=2",
                 "data.tasks=[tvg, rar]", "--out", str(out), "--shard", f"{k}/2"]
        assert main(words) == 0
        parts.append(out.read_text())
    assert all(part.count("\n") > 1 for part in parts)
    joined = tmp_path / "joined.jsonl"
    joined.write_text("".join(parts))
    whole = read_groups(group_file, checkpoint, "")
    assert sorted(read_groups(joined, checkpoint, ""), key=str) == sorted(whole, key=str)

    joined.write_text(parts[1])
    with pytest.raises(LabError, match="the answers of shard 0/2 are not in it; draw them with --shard 0/2"):
        read_groups(joined, checkpoint, "")
    joined.write_text(parts[0] + parts[1].replace(checkpoint, "0123456789ab"))
    with pytest.raises(LabError, match="drawn from the checkpoint 0123456789ab"):
        read_groups(joined, checkpoint, "")


def test_a_group_file_of_another_checkpoint_or_of_other_questions_is_an_error(config, group_file, tmp_path):
    lines = group_file.read_text().splitlines()
    for content, message in (
            ([json.dumps({"checkpoint": "0123456789ab", "answers": 4}), *lines[1:]],
             "drawn from the checkpoint 0123456789ab, but parts.start is data/tiny-sft .*; make it again"),
            ([lines[0]], "no question in it teaches anything"), (["[]"], "line 1: expected an object"),
            (["{}"], "line 1: checkpoint: the field is missing"),
            (["", lines[1]], "line 2: checkpoint: the field is missing"),
            ([lines[0], '{"sample": "x"}'], "line 2: question: the field is missing"),
            ([lines[0], json.dumps({**json.loads(lines[1]), "rewards": ["x"]})],
             r"line 2: rewards\[0\]: expected a number"),
            ([lines[0], json.dumps({**json.loads(lines[1]), "rewards": []})], "line 2: rewards has 0 numbers for 4")):
        group_file.write_text("\n".join(content) + "\n")
        with pytest.raises(LabError, match=message):
            train(override(config, {"reward.file": str(group_file)}), tmp_path / "run", str)
        with pytest.raises(LabError, match=message):
            dry_run(override(config, {"reward.file": str(group_file)}))


def test_what_a_stage_of_rewards_starts_from_is_checked_before_a_world_is_made(config, group_file, tmp_path):
    other = json.dumps({"checkpoint": "0123456789ab", "answers": 4})
    group_file.write_text("\n".join([other, *group_file.read_text().splitlines()[1:]]) + "\n")
    world = tmp_path / "world"
    for changes, message in (({"reward.file": str(group_file)}, "drawn from the checkpoint 0123456789ab"),
                             ({"parts.start": "data/base/small"}, "never trained to ground")):
        for started in (dry_run, lambda config: train(config, tmp_path / "run", str)):
            with pytest.raises(LabError, match=message):
                started(override(config, {"data.world": str(world), **changes}))
    assert not world.exists()


def test_the_file_of_a_drawn_answer_with_nul_can_be_read(config, tmp_path, monkeypatch):
    def with_nul(model, drawn, truth):
        nul = model.tokenizer.convert_tokens_to_ids("\u0100")  # as tokenizers of bytes write the byte 0
        return read_drawn(model, replace(drawn, ids=(*drawn.ids, nul), finished=False), truth)

    monkeypatch.setattr("d2vlm_lab.learning.grpo.read_drawn", with_nul)
    out, checkpoint = tmp_path / "groups.jsonl", checkpoint_id(ROOT / "data" / "tiny-sft")
    assert main(["make-groups", "tiny", *QUICK, f"data.world={config.data.world}", "reward.form=grpo", "data.limit=1",
                 "--out", str(out)]) == 0
    assert all("\ufffd" in answer for group in read_groups(out, checkpoint, "") for answer in group.answers)


def test_make_groups_needs_settings_that_draw(capsys):
    assert main(["make-groups", "tiny", "--out", "groups.jsonl"]) == 2
    assert "set reward.form" in capsys.readouterr().err
