"""Grounded decoding gives the same answer however it is run."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import clip, mixed, model, points_often, same_evidence

from d2vlm_lab.data.batch import collate, encode_prompt
from d2vlm_lab.ideas.evidence import EVIDENCE
from d2vlm_lab.model.decoding import Decoding, Evidence, chooser, draw, generate, read_answer, steps
from d2vlm_lab.model.passes import HEAD_LAYER, causal, decode, position_ids_of


def prompts(net, clips):
    asked = [["when does it spin?", "what?"], ["does it blink at all?"], ["what happens in <evi>?"]]
    spans = [[(), ()], [()], [[(0.5, 1.5)]]]
    return [[encode_prompt(q, s, c, net.tokenizer, net.prompt) for q, s in zip(qs, ss)]
            for c, qs, ss in zip(clips, asked, spans)]


def evidence_now_and_then(net):
    """A chooser that takes `<evi>` at some steps, so that random weights also exercise the injection."""
    token = net.tokenizer.convert_tokens_to_ids(EVIDENCE)

    def choose(logits, rows, step):
        best = logits.argmax(-1)
        return torch.where((rows + step) % 3 == 0, token, best)

    return choose


def test_an_answer_ends_where_the_language_model_can_count_no_further_alone_and_in_a_batch(monkeypatch):
    points_often(monkeypatch)
    monkeypatch.setattr("d2vlm_lab.model.backbone.FIXED", ())
    net, limit, most = model(), 60, Decoding(max_new_tokens=60)
    clips = mixed(net)[0]
    asked = prompts(net, clips)
    free = generate(net, clips, asked, most)
    net.language.config.max_position_embeddings = limit
    together = generate(net, clips, asked, most)
    alone = [generate(net, [c], [[p]], most)[0] for c, ps in zip(clips, asked) for p in ps]
    assert [g.ids for g in together] == [g.ids for g in alone]
    assert all(cut.ids == whole.ids[:len(cut.ids)] for cut, whole in zip(together, free))
    before = len(net.tokenizer.encode(net.prompt.before))
    read = [before + len(c.timestamps) + len(p.ids) for c, ps in zip(clips, asked) for p in ps]
    assert [len(g.ids) for g in together] == [limit - size + 1 for size in read], "the last token is written, not read"


def test_a_batch_equals_single_runs(monkeypatch):
    points_often(monkeypatch)
    net = model()
    clips = [replace(each, timestamps=each.timestamps + 3 * n) for n, each in enumerate(mixed(net)[0])]
    asked = prompts(net, clips)
    together = generate(net, clips, asked, Decoding(max_new_tokens=8))
    alone = [generate(net, [c], [[p]], Decoding(max_new_tokens=8))[0] for c, ps in zip(clips, asked) for p in ps]
    assert [g.ids for g in together] == [g.ids for g in alone]
    assert all(map(same_evidence, together, alone))
    assert len({e.interval for g in together for e in g.evidence}) > 2  # not the same for all


def test_cached_decoding_equals_running_the_whole_sequence_again():
    net = model()
    one = clip(9)
    batch = collate([one], [[encode_prompt("what?", [], one, net.tokenizer, net.prompt)]], net.tokenizer, net.prompt)
    prefix = net.read(batch)
    whole = torch.cat([prefix.embeddings, net.embed(batch, prefix)], 1)
    n_text, n_prefix = batch.before_ids.shape[1], prefix.mask.shape[1]
    with torch.no_grad():
        for step in steps(net, batch, evidence_now_and_then(net), 9):
            mask = torch.ones(whole.shape[:2], dtype=torch.bool)
            attend = causal(mask)
            attend[:, n_text:n_prefix, n_text:n_prefix] = True
            states = decode(net.language, whole, attend, position_ids_of(mask))
            torch.testing.assert_close(net.language.get_output_embeddings()(states[-1][:, -1]), step.logits,
                                       atol=1e-4, rtol=1e-4)
            evidence, frames = net.evidence_head(states[HEAD_LAYER][:, -1]), net.frame_head(prefix.frame_states)
            curve = net.compare(evidence, frames, batch.video).sigmoid()
            torch.testing.assert_close(curve, step.curves, atol=1e-5, rtol=1e-4)
            whole = torch.cat([whole, step.embeddings[:, None]], 1)


def test_evidence_enters_with_the_mean_state_of_its_frames():
    net = model()
    one = clip(9)
    batch = collate([one], [[encode_prompt("what?", [], one, net.tokenizer, net.prompt)]], net.tokenizer, net.prompt)
    prefix = net.read(batch)
    first = next(steps(net, batch, evidence_now_and_then(net), 4))
    start, end = first.intervals[0].tolist()
    expected = net.embed_words(first.tokens) + prefix.meaning[:, start:end + 1].mean(1)
    torch.testing.assert_close(first.embeddings, expected)


def test_a_text_that_stops_leaves_and_the_others_go_on_unchanged():
    net = model()
    clips = mixed(net)[0]
    batch = collate(clips, prompts(net, clips), net.tokenizer, net.prompt)
    stop = net.tokenizer.convert_tokens_to_ids(net.prompt.stop)

    def choose(logits, rows, step):
        return torch.where((rows == 1) & (step == 1), stop, logits[:, :256].argmax(-1))

    with_stop = [{int(r): t for r, t in zip(s.rows, s.tokens)} for s in steps(net, batch, choose, 5)]
    without = [{int(r): t for r, t in zip(s.rows, s.tokens)}
               for s in steps(net, batch, lambda logits, rows, step: logits[:, :256].argmax(-1), 5)]
    assert 1 in with_stop[1] and 1 not in with_stop[2]
    assert all(a[r] == b[r] for a, b in zip(with_stop, without) for r in a if r != 1)


def test_sampling_is_fixed_by_its_seed_and_differs_between_seeds():
    net = model()
    clips = mixed(net)[0]
    draw = [generate(net, clips, prompts(net, clips), Decoding(12, temperature=1.0, top_p=0.9, seed=s))
            for s in (0, 0, 1)]
    assert draw[0] == draw[1] or [g.ids for g in draw[0]] == [g.ids for g in draw[1]]
    assert [g.ids for g in draw[0]] != [g.ids for g in draw[2]]


def test_what_is_drawn_for_a_sample_depends_on_neither_its_batch_nor_its_place():
    net = model()
    clips, decoding = mixed(net)[0], Decoding(16, temperature=1.5, top_p=0.95, seed=7)
    asked, names = prompts(net, clips), ["a", "b", "c", "d"]
    together = [g.ids for g in generate(net, clips, asked, decoding, names=names)]
    singles = [(c, p) for c, ps in zip(clips, asked) for p in ps]
    alone = [generate(net, [c], [[p]], decoding, names=[n])[0].ids for (c, p), n in zip(singles, names)]
    assert together == alone and len(set(together)) == 4
    reordered = generate(net, clips[::-1], asked[::-1], decoding, names=["d", "c", "a", "b"])
    assert [g.ids for g in reordered] == [together[i] for i in (3, 2, 0, 1)]
    longer = generate(net, clips, asked, replace(decoding, max_new_tokens=20), names=names)
    assert [g.ids[:16] for g in longer] == together
    renamed = generate(net, clips, asked, decoding, names=["e", "f", "g", "h"])
    assert all(a.ids != b for a, b in zip(renamed, together))


def test_tokens_are_drawn_as_often_as_they_are_likely():
    scores = torch.tensor([[0.1, 0.6, 0.0, 0.3]]).log()
    chances = torch.linspace(0, 1, 1001)[:-1].double()
    drawn = draw(scores.expand(1000, -1), chances)
    assert drawn.bincount(minlength=4).tolist() == pytest.approx([100, 600, 0, 300], abs=1)
    assert int(draw(scores, torch.tensor([1 - 1e-16], dtype=torch.float64))) == 0  # the least likely, never the last


@contextmanager
def waiting():
    """A list that grows whenever the device is waited for: a number, a list, an array or indices made of a tensor."""
    waits, old = [], {}

    def counted(name):
        def call(tensor, *args, **kwargs):
            if not inside:
                waits.append(name)
            inside.append(name)
            try:
                return old[name](tensor, *args, **kwargs)
            finally:
                inside.pop()
        return call

    inside = []  # of a call that is counted already
    names = ("item", "tolist", "nonzero", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            old[name] = getattr(torch.Tensor, name)
            patch.setattr(torch.Tensor, name, counted(name))
        yield waits


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(temperature=1.0, top_p=0.9, repetition_penalty=1.2)])
def test_a_new_token_waits_for_the_device_once(decoding, monkeypatch):
    net = model()
    clips = mixed(net)[0]
    token = net.tokenizer.convert_tokens_to_ids(EVIDENCE)
    choose = chooser

    def some_evidence(net, batch, decoding):
        plain = choose(net, batch, decoding)

        def often(logits, rows, step):
            return torch.where((rows + step) % 3 == 0, token, plain(logits[:, :256], rows, step))

        return often

    monkeypatch.setattr("d2vlm_lab.model.decoding.chooser", some_evidence)
    counts, asked = [], prompts(net, clips)
    for n in (4, 10):
        with waiting() as waits:
            answers = generate(net, clips, asked, replace(decoding, max_new_tokens=n))
        counts.append(len(waits))
        assert all(len(g.ids) == n and g.evidence for g in answers)
    assert counts[1] - counts[0] == 10 - 4


@pytest.mark.parametrize("penalty", [1.0, 50.0])
def test_a_repetition_penalty_stops_repetition(penalty):
    net = model()
    clips = mixed(net)[0]
    batch = collate(clips[:1], prompts(net, clips)[:1], net.tokenizer, net.prompt)
    choose = chooser(net, batch, Decoding(repetition_penalty=penalty))
    logits = torch.zeros(1, net.language.get_output_embeddings().weight.shape[0])
    logits[0, 5], logits[0, 6] = 4.0, 3.0
    drawn = [int(choose(logits, torch.tensor([0]), i)) for i in range(2)]
    assert drawn == ([5, 5] if penalty == 1 else [5, 6])


def test_the_penalty_counts_the_prompt_and_neither_padding_nor_evidence_tokens():
    net = model()
    clips = mixed(net)[0]
    batch = collate(clips[:1], [prompts(net, clips)[0]], net.tokenizer, net.prompt)
    assert not batch.mask[1].all()
    choose = chooser(net, batch, Decoding(repetition_penalty=50.0))
    evidence, pad = (net.tokenizer.convert_tokens_to_ids(token) for token in (EVIDENCE, "<pad>"))
    rare = int(net.tokenizer.encode("Z")[0])
    for token in (int(batch.before_ids[0, 0]), int(batch.ids[1, 0])):  # a letter before the frames, one of the question
        logits = torch.zeros(1, net.language.get_output_embeddings().weight.shape[0])
        logits[0, token], logits[0, rare] = 4.0, 3.0
        assert choose(logits, torch.tensor([1]), 0) == rare
        rare += 1
    for token in (evidence, pad):
        logits = torch.zeros(1, net.language.get_output_embeddings().weight.shape[0])
        logits[0, token], logits[0, rare] = 4.0, 3.0
        assert choose(logits, torch.tensor([1]), 0) == token
    logits[0, evidence], logits[0, pad] = 4.0, 0.0
    assert choose(logits, torch.tensor([1]), 0) == evidence


def test_a_small_top_p_leaves_only_the_best_token():
    net = model()
    clips = mixed(net)[0]
    greedy, drawn = (generate(net, clips, prompts(net, clips), Decoding(8, temperature=t, top_p=p, seed=3))
                     for t, p in ((0.0, 1.0), (1.0, 1e-6)))
    assert [g.ids for g in greedy] == [g.ids for g in drawn]


def test_evidence_that_opens_the_answer_of_a_coupled_model_is_no_grounding_stage():
    ids = [*model().tokenizer.encode("<evi> it spins"), model().tokenizer.eos_token_id]
    evidence = [Evidence((1.0, 2.0), (2, 4), np.ones(8), 1.0)]
    assert read_answer(model(style="coupled"), ids, evidence).answer.grounded == ()
    assert read_answer(model(), ids, evidence).answer.grounded == ((1.0, 2.0),)


@pytest.mark.parametrize("style", ["interleaved", "time_tokens"])
def test_a_nul_that_a_model_writes_is_not_in_its_answer(style):
    net = model(style=style)
    answer = read_answer(net, net.tokenizer.encode("it\0 spins"), [])
    assert answer.text == "it\ufffd spins" and answer.answer.pieces == ("it\ufffd spins",)
