"""Other outputs for time: symbols with a table and a head of their own, and a distribution over bins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import clip, language, model, tiny_model
from test_checkpoint import train_a_little
from test_d2vlm import assert_same, run
from test_families import small
from test_fast import around

from d2vlm_lab.config import Method, Preference, Reward, RunConfig
from d2vlm_lab.data import branches
from d2vlm_lab.data.batch import IGNORE, collate
from d2vlm_lab.data.groups import encode_question, encode_sample
from d2vlm_lab.data.plan import plan_of
from d2vlm_lab.data.sample import Sample, SampleError
from d2vlm_lab.data.spelled import FIRST
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import EVIDENCE, Event, Reference, render
from d2vlm_lab.ideas.symbols import END, SYMBOLS, spell
from d2vlm_lab.learning.fpo import Preferences
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.decoding import Decoding, chooser, generate, read_answer, steps
from d2vlm_lab.model.passes import HEAD_LAYER, causal, decode, position_ids_of
from d2vlm_lab.settings import override

TOKENS = {"style": "time_tokens"}
BINS = {"formulation": "bins", "consistency_weight": 0.0}
WAYS = [TOKENS, BINS, BINS | {"style": "coupled"}, BINS | {"semantics": "off"}]


def sample(question, events=(), answer=(), asked=()):
    return Sample("s", "v.mp4", 30.0, "tvg", "test", question, tuple(Event(*e) for e in events), answer, tuple(asked))


SAMPLES = [[sample("when?", [(1.0, 2.5)], ("It happens in ", 0, ".")),
            sample("what?", [(0.0, 2.0), (3.0, 5.5)], (0, ", it spins. ", 1, ", it blinks."))],
           [sample("does it blink?", (), ("never",))],
           [sample("what happens in <evi>?", [(1.0, 3.0)], (0, " it spins"), [(0.5, 1.5)])]]


def texts_of(net, clips, encode=encode_sample):
    return [[encode(s, c, net.tokenizer, net.prompt, net.method) for s in group] for c, group in zip(clips, SAMPLES)]


def batch_of(net, padding="right"):
    clips = [clip(12, 1), clip(7, 2), clip(9, 3)]
    return collate(clips, texts_of(net, clips), net.tokenizer, net.prompt, padding=padding)


def assert_same_results(a, b):
    """As `assert_same`, for models that keep no logits."""
    (out_a, grads_a), (out_b, grads_b) = a, b
    torch.testing.assert_close(out_a.log_p, out_b.log_p, atol=1e-4, rtol=1e-4)
    assert_same((replace(out_a, logits=out_a.log_p), grads_a), (replace(out_b, logits=out_b.log_p), grads_b))


# Training.

@pytest.mark.parametrize("way", WAYS)
def test_one_pass_two_passes_and_the_faster_form_give_the_same(way):
    net = model(**way)
    fast, padded = run(net, batch_of(net)), run(net, batch_of(net, "left"))
    net.fast = False
    plain = run(net, batch_of(net))
    net.two_pass = True
    two = run(net, batch_of(net))
    for other in (padded, plain, two):
        assert_same_results(fast, other)
    own = net.bins.decoder[1] if net.bins else net.time_symbols.head[0]
    assert own.weight.grad.abs().sum() > 0


def three_answers(net, one):
    """A right answer and two wrong ones to the same question."""
    asked = "what happens in <evi>, and when does it spin?"
    texts = [encode_sample(sample(asked, [span], ("In ", 0, "."), [(0.5, 1.5)]), one, net.tokenizer, net.prompt,
                           net.method) for span in ((1.0, 2.5), (3.0, 4.0), (0.0, 5.5))]
    return texts, replace(collate([one], [texts], net.tokenizer, net.prompt), preferred=torch.tensor([0, 0, 0]),
                          factors=["", "when", "when"])


@pytest.mark.parametrize("way", WAYS[:2])
def test_answers_that_share_their_question_equal_texts_by_themselves(way, monkeypatch):
    monkeypatch.setattr(branches, "MIN_SPARED", 0)
    net, one = model(**way), clip(12, 1)
    texts, batch = three_answers(net, one)
    assert plan_of(batch).branches is not None
    together = net(batch)
    net.fast = False
    torch.testing.assert_close(net(batch).log_p, together.log_p, atol=1e-4, rtol=1e-4)
    for row, text in enumerate(texts):
        alone = net(collate([one], [[text]], net.tokenizer, net.prompt))
        torch.testing.assert_close(alone.log_p, together.log_p[together.target_row == row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("way", [TOKENS, BINS, {"formulation": "boundary"}])
def test_answers_are_preferred_by_their_words_where_their_intervals_have_no_probability(way):
    net = model(**way)
    batch = three_answers(net, clip(12, 1))[1]
    out, notes = Preferences(Preference("dpo", reference=True), net)(net, batch, net(batch))
    out.loss.backward()
    assert float(notes["text_chosen"]) < 0 == float(notes["grounding_chosen"])
    assert float(out.parts["preference"].detach()) == pytest.approx(np.log(2), abs=1e-5), "it is its own reference"


def test_symbols_are_predicted_by_their_own_head_and_words_by_the_language_model():
    net = model(**TOKENS)
    batch = batch_of(net)
    out = net(batch)
    states = net.read_texts(batch, prefix := net.read(batch), net.embed(batch, prefix))
    plan = plan_of(batch)
    last = states.last[plan.target_row, plan.target_column]
    symbol = out.targets >= FIRST
    assert symbol.sum() == 14 * 4 and len(batch.row) == 0
    own = net.time_symbols.head(last[symbol]).log_softmax(-1).gather(1, out.targets[symbol][:, None] - FIRST)
    words = net.language.lm_head(last[~symbol]).log_softmax(-1).gather(1, out.targets[~symbol][:, None])
    torch.testing.assert_close(out.log_p[symbol], own[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.log_p[~symbol], words[:, 0], atol=1e-5, rtol=1e-5)
    first = (batch.ids >= FIRST).nonzero()[0]
    embedded = net.embed(batch, prefix)[tuple(first)]
    assert torch.equal(embedded, net.time_symbols.table.weight[batch.ids[tuple(first)] - FIRST])


def test_times_of_a_question_are_given_and_those_of_an_answer_are_predicted():
    net, one = model(**TOKENS), clip(9, 3)
    text = encode_sample(SAMPLES[2][0], one, net.tokenizer, net.prompt, net.method)
    evidence = net.tokenizer.convert_tokens_to_ids(EVIDENCE)
    asked, told = (k for k, token in enumerate(text.ids) if token == evidence)
    assert [token - FIRST for token in text.ids[asked + 1:asked + 15]] == spell((0.5, 1.5))
    assert set(text.labels[asked:asked + 15]) == {IGNORE}
    assert [token - FIRST for token in text.labels[told + 1:told + 15]] == spell((1.0, 3.0))
    assert text.columns == [] and text.ids[told + 15] < FIRST


def test_a_time_that_needs_more_symbols_is_an_error_that_names_the_interval():
    net, late = model(**TOKENS), sample("when?", [(12.0, 12000.0)], ("In ", 0))
    with pytest.raises(SampleError, match="12 - 12000 does not fit into time tokens, which reach from 0 to 9999.9"):
        encode_sample(late, clip(9), net.tokenizer, net.prompt, net.method)


def test_what_bins_carry_depends_on_the_times_alone_and_is_added_to_what_is_seen():
    with_frames, alone = model(**BINS), model(**BINS | {"semantics": "off"})
    alone.load_state_dict(with_frames.state_dict())
    batch = batch_of(alone)
    prefix = with_frames.read(batch)
    given = batch.interval, batch.video[batch.row], prefix, batch.role == 0
    times = alone.carried(*given) - alone.meaning(*given)
    torch.testing.assert_close(with_frames.carried(*given), with_frames.meaning(*given) + times)
    assert not alone.meaning(*given)[~given[3]].any()
    moved = alone.carried(batch.interval + 0.25, *given[1:])
    assert (moved != alone.carried(*given)).any(-1).all(), "also between two frames"


# Answers.

def told(net, spans):
    """Chooses words, and for each row an `<evi>` at its own step, followed by the symbols of its interval."""
    evidence = net.tokenizer.convert_tokens_to_ids(EVIDENCE)
    written = {row: [evidence, *(FIRST + n for n in spell(span))] for row, span in enumerate(spans)}

    def choose(logits, rows, step):
        tokens = logits[:, :256].argmax(-1)
        forced = [written[int(row)][step - int(row)] if 0 <= step - int(row) < 15 else -1 for row in rows]
        forced = torch.tensor(forced)
        stop = torch.full_like(tokens, net.tokenizer.convert_tokens_to_ids("<end>"))
        tokens = torch.where(torch.tensor([step == 17 + 2 * int(row) for row in rows]), stop, tokens)
        return torch.where(forced >= 0, forced, tokens)

    return choose


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_equals_single_runs_and_the_plain_form(way):
    net = model(**way).eval()
    clips = [clip(12, 1), clip(7, 2), clip(9, 3)]
    asked = texts_of(net, clips, encode_question)
    if net.time_symbols:  # so that each text is in time mode now and then
        net.language.get_output_embeddings().weight.data[net.tokenizer.convert_tokens_to_ids(EVIDENCE)] *= 3
    together = generate(net, clips, asked, Decoding(24))
    alone = [generate(net, [c], [[p]], Decoding(24))[0] for c, ps in zip(clips, asked) for p in ps]
    net.fast = False
    plain = generate(net, clips, asked, Decoding(24))
    assert [g.ids for g in together] == [g.ids for g in alone] == [g.ids for g in plain]
    for a, b in zip(together, alone):
        np.testing.assert_allclose([e.interval for e in a.evidence], [e.interval for e in b.evidence], atol=1e-4)
    if net.time_symbols:
        assert any(token >= FIRST for g in together for token in g.ids)


@pytest.mark.parametrize("family", [language, lambda: small("gpt2", {}),
                                    lambda: language(num_key_value_heads=2)])
def test_cached_decoding_in_time_mode_equals_running_the_whole_sequence_again(family):
    net, one = around(family(), **TOKENS).eval(), clip(9)
    asked = [[encode_question(sample("what?"), one, net.tokenizer, net.prompt, net.method)]]
    batch = collate([one], asked, net.tokenizer, net.prompt)
    prefix = net.read(batch)
    whole = torch.cat([prefix.embeddings, net.embed(batch, prefix)], 1)
    n_text, n_prefix = batch.before_ids.shape[1], prefix.mask.shape[1]
    n_words = net.language.get_output_embeddings().weight.shape[0]
    modes = []
    with torch.no_grad():
        for step in steps(net, batch, told(net, [(1.0, 2.5)]), 30):
            mask = torch.ones(whole.shape[:2], dtype=torch.bool)
            attend = causal(mask)
            attend[:, n_text:n_prefix, n_text:n_prefix] = True
            last = decode(net.language, whole, attend, position_ids_of(mask))[-1][:, -1]
            modes.append(bool(step.logits[0, 0] == -torch.inf))
            expected = net.time_symbols.head(last) if modes[-1] else net.language.get_output_embeddings()(last)
            found = step.logits[:, n_words:] if modes[-1] else step.logits[:, :n_words]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
            assert (step.logits == -torch.inf).sum() == (n_words if modes[-1] else len(SYMBOLS))
            whole = torch.cat([whole, step.embeddings[:, None]], 1)
    assert modes == [False] + [True] * 14 + [False] * 3


def test_cached_decoding_with_bins_equals_running_the_whole_sequence_again():
    net, one = model(**BINS).eval(), clip(9)
    asked = [[encode_question(sample("what?"), one, net.tokenizer, net.prompt, net.method)]]
    batch = collate([one], asked, net.tokenizer, net.prompt)
    prefix, evidence = net.read(batch), net.tokenizer.convert_tokens_to_ids(EVIDENCE)
    whole = torch.cat([prefix.embeddings, net.embed(batch, prefix)], 1)
    n_text, n_prefix = batch.before_ids.shape[1], prefix.mask.shape[1]

    def choose(logits, rows, step):
        return torch.where((rows + step) % 3 == 0, evidence, logits.argmax(-1))

    with torch.no_grad():
        for step in steps(net, batch, choose, 9):
            mask = torch.ones(whole.shape[:2], dtype=torch.bool)
            attend = causal(mask)
            attend[:, n_text:n_prefix, n_text:n_prefix] = True
            states = decode(net.language, whole, attend, position_ids_of(mask))[HEAD_LAYER][:, -1]
            logits = net.bins(states)
            ends = net.formulation.read(logits, prefix.frame_mask, net.salient)[1]
            torch.testing.assert_close(step.intervals, ends, atol=1e-4, rtol=1e-4)
            if int(step.tokens) == evidence:
                seen = net.meaning(ends, batch.video, prefix, torch.tensor([False]))
                expected = net.embed_words(step.tokens) + seen + net.bins.embed(ends, torch.tensor([9]))
                torch.testing.assert_close(step.embeddings, expected, atol=1e-4, rtol=1e-4)
            whole = torch.cat([whole, step.embeddings[:, None]], 1)


@pytest.mark.parametrize("way", [TOKENS, BINS])
def test_what_was_learned_by_heart_is_answered_word_for_word_and_to_a_tenth_of_a_second(way):
    net, one = model(**way), clip(12, 1)
    known = SAMPLES[0]
    texts = [encode_sample(s, one, net.tokenizer, net.prompt, net.method) for s in known]
    batch = collate([one], [texts], net.tokenizer, net.prompt)
    optimizer = torch.optim.Adam(net.parameters(), 4e-3)
    for _ in range(150):
        optimizer.zero_grad()
        net(batch).loss.backward()
        optimizer.step()
    net.eval()
    asked = [[encode_question(s, one, net.tokenizer, net.prompt, net.method) for s in known]]
    for answer, s in zip(generate(net, [one], asked, Decoding(96)), known):
        assert answer.finished
        spans = answer.answer.grounded or [ref.interval for ref in answer.answer.references]
        np.testing.assert_allclose(spans, [e.interval for e in s.events], atol=0.05 if way is TOKENS else 0.1)
        words = "".join(p for p in answer.answer.pieces if isinstance(p, str))
        assert words == "".join(p for p in s.answer if isinstance(p, str))
        assert len(answer.evidence) == (0 if way is TOKENS else 2 * len(s.events))
        if way is TOKENS:
            assert "<evi>0001.0,0002.5;" in answer.text or "<evi>0000.0,0002.0;" in answer.text


def test_times_that_cannot_be_read_have_no_interval_and_are_shown_as_they_were_written():
    net = model(**TOKENS)
    evidence, words = net.tokenizer.convert_tokens_to_ids(EVIDENCE), net.tokenizer.encode
    broken = [FIRST + SYMBOLS.index(symbol) for symbol in "12..,;"]
    right = [FIRST + number for number in spell((12.0, 20.5))]
    answer = read_answer(net, [*words("In "), evidence, *broken, *words(" or "), evidence, *right, *words(".")], [])
    assert answer.text == "In <evi>12..,; or <evi>0012.0,0020.5;."
    assert answer.answer.pieces == ("In ", Reference(None), " or ", Reference(None, (12.0, 20.5)), ".")
    assert render(answer.answer) == "In ? - ? or 12.0 - 20.5." and not answer.finished and answer.evidence == ()


def test_the_repetition_penalty_and_the_temperature_leave_time_mode_as_it_is():
    net, one = model(**TOKENS), clip(9)
    asked = [[encode_question(SAMPLES[2][0], one, net.tokenizer, net.prompt, net.method)]]
    batch = collate([one], asked, net.tokenizer, net.prompt)
    n_words = net.language.get_output_embeddings().weight.shape[0]
    logits = torch.full((1, n_words + len(SYMBOLS)), -torch.inf)
    logits[0, n_words], logits[0, n_words + 1] = 4.0, 3.0
    choose = chooser(net, batch, Decoding(repetition_penalty=50.0))
    assert [int(choose(logits, torch.tensor([0]), n)) - n_words for n in range(3)] == [0, 0, 0]
    choose = chooser(net, batch, Decoding(temperature=2.0, top_p=0.9, max_new_tokens=40))
    drawn = {int(choose(logits, torch.tensor([0]), n)) - n_words for n in range(40)}
    assert drawn == {0, 1}
    answers = generate(net, [one], asked, Decoding(40, temperature=1.5, top_p=0.95, repetition_penalty=1.3, seed=3))
    ids = answers[0].ids
    evidence = net.tokenizer.convert_tokens_to_ids(EVIDENCE)
    for before, token in zip(ids, ids[1:]):
        in_time = before == evidence or (before >= FIRST and before != FIRST + END)
        assert (token >= FIRST) == in_time


# Checkpoints and settings.

def with_method(**method):
    net = tiny_model()
    return type(net)(net.frames, net.language, net.tokenizer, Method(**{"semantic_layer": 1} | method), net.prompt)


def loss_of(net):
    features = net.frames.encode(torch.arange(9 * 64 * 64 * 3).reshape(9, 64, 64, 3).to(torch.uint8))
    shown = replace(clip(9), features=features)
    texts = [encode_sample(SAMPLES[2][0], shown, net.tokenizer, net.prompt, net.method)]
    with torch.no_grad():
        return net.eval()(collate([shown], [texts], net.tokenizer, net.prompt)).loss


@pytest.mark.parametrize("way", [TOKENS, BINS])
@pytest.mark.parametrize("adapter", [{"adapter.embeddings": "evidence"}, {"adapter.targets": "all"}])
def test_a_checkpoint_comes_back_whole_and_beside_a_base_of_another_method(tmp_path, way, adapter):
    base = save(tiny_model(), tmp_path / "base")
    net = train_a_little(load(base, Method(semantic_layer=1, **way)), **adapter)
    expected = loss_of(net)
    beside = load(save(net, tmp_path / "beside", base=str(base)))
    whole = load(save(net, tmp_path / "whole"))
    assert loss_of(beside) == loss_of(whole) == expected
    own = beside.bins or beside.time_symbols
    assert all(p.requires_grad and p.dtype == torch.float32 for p in own.parameters())
    again = load(save(beside, tmp_path / "again", base=str(base)))
    assert loss_of(again) == expected
    assert load(tmp_path / "beside", Method(semantic_layer=1)).bins is None, "another method leaves them out"


def test_bins_go_on_in_another_style_and_without_their_weights_a_checkpoint_is_refused(tmp_path):
    folder = save(with_method(**BINS), tmp_path / "bins")
    other = load(folder, Method(semantic_layer=1, **BINS | {"style": "coupled"}))
    assert torch.equal(other.bins.decoder[1].weight, load(folder).bins.decoder[1].weight)
    with pytest.raises(LabError, match=r"bins.decoder.5.bias is \[66\] where \[34\] is needed"):
        load(folder, Method(semantic_layer=1, **BINS | {"bins": 16}))


@pytest.mark.parametrize("way", [TOKENS, BINS])
def test_what_is_new_is_trained_in_float32_beside_a_frozen_bfloat16_model(tmp_path, way):
    base = save(tiny_model(), tmp_path / "base")
    net = load(base, Method(semantic_layer=1, **way), torch.bfloat16)
    config = override(RunConfig(method=net.method), {"adapter.rank": 4, "adapter.embeddings": "evidence"})
    prepare(net, config)
    own = net.bins or net.time_symbols
    assert all(p.requires_grad and p.dtype == torch.float32 for p in own.parameters())
    exact = load(base, Method(semantic_layer=1, **way))
    (exact.bins or exact.time_symbols).load_state_dict(own.state_dict())
    assert float(loss_of(net)) == pytest.approx(float(loss_of(exact)), rel=0.02)


@pytest.mark.parametrize("way, changes, message", [
    ({"formulation": "bins"}, {}, "consistency_weight compares .* set the weight to 0"),
    (BINS | {"style": "digits"}, {}, "method.formulation=bins reads times off `<evi>` tokens"),
    (BINS | {"style": "time_tokens"}, {}, "method.formulation=bins reads times off `<evi>` tokens"),
    (TOKENS, {"preference": Preference("fpo")}, "with method.style=time_tokens use preference.form=dpo"),
    (BINS, {"preference": Preference("fpo")}, "formulation is bins"),
    (TOKENS, {"reward": Reward("grpo")}, "rewards the intervals of evidence tokens"),
    (BINS, {"reward": Reward("iou_loss")}, "only method.formulation=sigmoid gives")])
def test_what_needs_a_curve_is_refused_before_anything_runs(way, changes, message):
    with pytest.raises(LabError, match=message):
        RunConfig(method=Method(**way), **changes)
    RunConfig(method=Method(**TOKENS), preference=Preference("dpo"))
    RunConfig(method=Method(**BINS), preference=Preference("dpo"))
