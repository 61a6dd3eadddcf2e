"""Preference files: written, read back, refused where they make no sense; and the stage that trains on them."""

import json
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from benchmark_files import WINDOWS
from benchmark_files import save as save_file
from small import clip, tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import ROOT, Preference, RunConfig
from d2vlm_lab.data.datasets import fpo_annotations
from d2vlm_lab.data.datasets.records import read_records
from d2vlm_lab.data.groups import Collator, Groups
from d2vlm_lab.data.pairs import PreferencePair, check, read_preferences, to_line, what_is_wrong, write_preferences
from d2vlm_lab.data.rejects import preference_data, read_file
from d2vlm_lab.data.sample import Sample, SampleError, to_record
from d2vlm_lab.data.splits import reader
from d2vlm_lab.data.video import VideoError
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event, GroundedAnswer, parse
from d2vlm_lab.ideas.rejected import Recipe, Rejected, rejected_answers
from d2vlm_lab.lab.plots import draw_preferences
from d2vlm_lab.lab.preferences.mcq import multiple_choice
from d2vlm_lab.lab.preferences.sampled import as_rejected, readable, sampled_preferences
from d2vlm_lab.lab.run import train
from d2vlm_lab.learning.fpo import Preferences, log_probabilities
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.decoding import Decoding
from d2vlm_lab.settings import from_dict, override

SAMPLE = Sample("s1", "a.mp4", 20.0, "dvc", "here", "what happens?",
                (Event(1, 3, "a dog runs"), Event(6, 9, "a cat sits")), (0, ", a dog runs. ", 1, ", a cat sits."))
PAIR = PreferencePair(SAMPLE, tuple(rejected_answers(SAMPLE.events, SAMPLE.answer, 20.0, Recipe(), None, "s1")))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preferences")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 10, "seed": 5}), workers=1)
    save(tiny_model(), folder / "base")
    return folder


@pytest.fixture
def config(place):
    return override(RunConfig(), {
        "method.semantic_layer": 1, "adapter.rank": 4, "adapter.dropout": 0.0, "training.steps": 4,
        "training.videos": 4, "training.learning_rate": 1e-3, "training.rest_learning_rate": 1e-3,
        "training.log_every": 1, "training.eval_every": 4, "training.save_every": 4, "evaluation.samples": 4,
        "evaluation.max_new_tokens": 8, "parts.start": str(place / "base"), "data.world": str(place / "world")})


def test_what_is_written_is_read_back(tmp_path):
    write_preferences(tmp_path / "p.jsonl", [PAIR, PAIR])
    assert list(read_preferences(tmp_path / "p.jsonl")) == [PAIR, PAIR]
    assert len(PAIR.rejected) == 4


def changed(**rejected):
    record = json.loads(to_line(PAIR))
    record["rejected"][0] |= rejected
    return record


@pytest.mark.parametrize("record, message", [
    (changed(video="b.mp4"), "another video"),
    (changed(events=json.loads(to_line(PAIR))["chosen"]["events"], answer=list(SAMPLE.answer)), "equals the chosen"),
    (changed(factor="whose"), "factor 'whose'"), (changed(event=5), "touches event 6"),
    (changed(events=[{"start": 1, "end": 90}], answer=[0]), "after the video's end"),
    (changed(strenght=2), "unknown field 'strenght'"), (changed(answer=[7]), "refers to event 8"),
    ({"chosen": {}}, "`chosen` and `rejected`"), (changed(events=None), "s1"), ("{", "line 2: not readable as JSON"),
    (json.loads(to_line(PAIR)) | {"rejected": []}, "no rejected answer")])
def test_a_bad_preference_is_an_error_that_names_file_and_line_or_is_left_out_and_told(record, message, tmp_path):
    path = tmp_path / "p.jsonl"
    line = record if isinstance(record, str) else json.dumps(record)
    path.write_text(to_line(PAIR) + "\n" + line + "\n" + to_line(PAIR) + "\n")
    with pytest.raises(SampleError, match="p.jsonl: line 2") as error:
        list(read_preferences(path))
    assert message in str(error.value)
    reported = []
    assert list(read_preferences(path, lambda *what: reported.append(what))) == [PAIR, PAIR]
    assert len(reported) == 1 and message in reported[0][1]


def test_a_chosen_answer_without_events_needs_intervals_or_options_to_be_about():
    bare = replace(SAMPLE, events=(), answer=("never",))
    wrong = (Rejected((), ("always",), "x", "what"),)
    with pytest.raises(SampleError, match="s1.*no events"):
        check(PreferencePair(bare, wrong))
    check(PreferencePair(replace(bare, question="what in <evi>?", question_intervals=((1, 2),)), wrong))


def test_the_command_writes_pairs_and_a_report_of_them(place, tmp_path, capsys):
    out = tmp_path / "p.jsonl"
    assert main(["make-preferences", str(place / "world"), "per_sample=3", "--out", str(out),
                 "--figure", str(tmp_path / "p.png")]) == 0
    pairs = list(read_preferences(out))
    grounded = [s for s in load_world(place / "world").samples("train") if s.events]
    assert [pair.chosen for pair in pairs] == grounded
    report = json.loads((tmp_path / "p.report.json").read_text())
    assert report["rejected"] == sum(len(pair.rejected) for pair in pairs) == sum(report["factors"].values())
    assert min(report["factors"].values()) > 0 and report["left_out"] > 0
    assert sum(map(sum, report["overlap"].values())) <= report["factors"]["when"]
    assert all(sum(tenths[5:]) == 0 for tenths in report["overlap"].values())  # all out of tolerance
    assert report["length_difference"]["when/words"]["mean"] == 0
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG" and len(draw_preferences(report).axes) == 3
    assert "when/shift" in capsys.readouterr().out
    again = tmp_path / "again.jsonl"
    assert main(["make-preferences", str(place / "world"), "--out", str(again), "per_sample=3"]) == 0
    assert again.read_bytes() == out.read_bytes()
    parts = [tmp_path / f"part-{k}.jsonl" for k in range(3)]
    for k, part in enumerate(parts):
        assert main(["make-preferences", str(place / "world"), "--out", str(part), "per_sample=3", "--shard",
                     f"{k}/3"]) == 0
    lines = [part.read_text().splitlines() for part in parts]
    assert all(lines) and sorted(sum(lines, [])) == sorted(out.read_text().splitlines())


@pytest.mark.parametrize("words, message", [
    (["per_samples=3"], "did you mean"), (["kinds=[colour]"], "no such kind 'colour'"), (["--limit", "0"], "--limit"),
    (["--shard", "2/2"], "write it as I/N"),
    (["--policy", "x"], "--videos"), (["--figure", "x.nope"], "--figure is x.nope; a figure is written as .png"),
    (["--out", "."], "--out is ., a folder"), (["--out", "s.jsonl"], "s.jsonl: this is a file that is read"),
    (["--words", "w.json", "--out", "w.json"], "w.json: this is a file that is read"),
    (["--figure", "p.png", "--out", "p.png"], "p.png: another output is written there, too"),
    (["factors=[what]", "kinds=[shift]"], "nothing can be used, so no file is written")])
def test_mistakes_are_one_line_and_change_no_file(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"s.jsonl": json.dumps(to_record(SAMPLE)), "w.json": "{}", "p.jsonl": "old"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert main(["make-preferences", "s.jsonl", "--out", "p.jsonl", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_bad_samples_of_a_bulk_file_are_counted_and_skipped(tmp_path, capsys):
    good = json.loads(to_line(PAIR))["chosen"]
    lines = [json.dumps(record) for record in (good, {"id": 2}, good | {"events": [], "answer": ["no"]})]
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    assert main(["make-preferences", str(tmp_path / "s.jsonl"), "--out", str(tmp_path / "p.jsonl")]) == 0
    report = json.loads((tmp_path / "p.report.json").read_text())
    assert (report["samples"], report["left_out"]) == (1, 2)
    assert "sample 1" in report["why"][0] and "no events" in report["why"][1]


def test_a_file_of_a_public_data_set_is_read_where_its_format_is_named(tmp_path, capsys):
    source = save_file(tmp_path / "q.jsonl", [WINDOWS, {**WINDOWS, "qid": "x"}])
    words = ["make-preferences", str(source), "factors=[when]", "--out", str(tmp_path / "p.jsonl")]
    assert main(words) == 2
    assert "unknown field 'qid'" in (error := capsys.readouterr().err) and "needs --source-format" in error
    assert main([*words, "--source-format", "qvhighlights"]) == 0
    pair, = read_preferences(tmp_path / "p.jsonl")
    assert pair.chosen.source == "qvhighlights" and {wrong.factor for wrong in pair.rejected} == {"when"}
    assert "1 left out" in capsys.readouterr().out


def test_a_policy_is_refused_where_it_would_not_be_asked(tmp_path, capsys):
    write_preferences(tmp_path / "p.jsonl", [PAIR])
    assert main(["make-preferences", str(tmp_path / "p.jsonl"), "--policy", "nowhere", "--out",
                 str(tmp_path / "q.jsonl")]) == 2
    assert "p.jsonl has rejected answers already, and --policy would draw others" in capsys.readouterr().err
    assert not (tmp_path / "q.jsonl").exists()


def test_a_policy_sees_as_many_frames_as_it_was_trained_with(place, tmp_path, monkeypatch, capsys):
    save(load(place / "base"), tmp_path / "policy")
    (tmp_path / "policy" / "recipe.json").write_text('{"config": {"data": {"fps": 1.0, "max_frames": 5}}}')
    seen = []
    monkeypatch.setattr("d2vlm_lab.lab.preferences.command.reader", lambda config, *_: seen.append(config.data))
    monkeypatch.setattr("d2vlm_lab.lab.preferences.command.sampled_preferences", lambda *_: iter(()))
    for more in ((), ("--fps", "2", "--max-frames", "7")):
        main(["make-preferences", str(place / "world"), "--policy", str(tmp_path / "policy"), "--out",
              str(tmp_path / "p.jsonl"), *more])
    assert [(data.fps, data.max_frames) for data in seen] == [(1.0, 5), (2.0, 7)]
    assert "max_frames is 7; this checkpoint was trained with 5" in capsys.readouterr().out


def test_a_word_list_brings_facts_of_its_own(tmp_path):
    (tmp_path / "s.jsonl").write_text(json.dumps(to_record(SAMPLE)))
    (tmp_path / "w.json").write_text('{"animal": ["dog", "cat", "hen"]}')
    assert main(["make-preferences", str(tmp_path / "s.jsonl"), "factors=[what]", "kinds=[animal]", "--words",
                 str(tmp_path / "w.json"), "--out", str(tmp_path / "p.jsonl")]) == 0
    pair, = read_preferences(tmp_path / "p.jsonl")
    assert {wrong.kind for wrong in pair.rejected} == {"animal"} and len(pair.rejected) > 1
    (tmp_path / "w.json").write_text('{"animal": [1]}')
    assert main(["make-preferences", str(tmp_path / "s.jsonl"), "--words", str(tmp_path / "w.json"),
                 "--out", str(tmp_path / "q.jsonl")]) == 2


def annotation(**answers):
    """An annotation in the authors' preference format."""
    keyed = {"chosen": ("<evi></evi>It is in <evi>.", [2.0, 5.0]), **answers}
    return {"task": "tvg", "source": "x", "video": "v.mp4", "duration": 20.0,
            "conversations": {key: [{"from": "human", "value": "<image>\nwhen?"}, {"from": "gpt", "value": text}]
                              for key, (text, _) in keyed.items()},
            "tgt": {key: tgt for key, (_, tgt) in keyed.items()}}


def test_the_authors_preference_annotations_are_read(tmp_path):
    record = annotation(reject_0_shift=("<evi></evi>It is in <evi>.", [9.0, 12.0]),
                        reject_1_f=("<evi></evi>It was in <evi>.", [2.0, 5.0]),
                        reject_2_more=("<evi><evi></evi>It is in <evi>, <evi>.", [2.0, 5.0, 9.0, 12.0]))
    (tmp_path / "fpo.json").write_text(json.dumps([record, annotation(bad=("x", [])), record]))
    reported = []
    first, second = fpo_annotations.read(tmp_path / "fpo.json", lambda *what: reported.append(what))
    assert [(wrong.kind, wrong.factor) for wrong in first.rejected] == [
        ("reject_0_shift", "when"), ("reject_1_f", "what"), ("reject_2_more", "which")]
    assert first.rejected[0].events == (Event(9, 12),) and first.chosen.events == (Event(2, 5),)
    assert len(reported) == 1
    assert main(["make-preferences", str(tmp_path / "fpo.json"), "--out", str(tmp_path / "p.jsonl")]) == 0
    assert [pair.rejected for pair in read_preferences(tmp_path / "p.jsonl")] == [first.rejected] * 2


@pytest.mark.parametrize("text, n", [("[]", 0), ('[{"a": "}{["}, {"a": 2}]', 2), ('{"a": 1}\n{"a": 2}\n', 2), ("", 0)])
def test_objects_are_read_one_at_a_time_wherever_chunks_end(text, n, tmp_path, monkeypatch):
    (tmp_path / "x").write_text(text)
    for chunk in (1, 3, 100):
        monkeypatch.setattr("d2vlm_lab.data.datasets.records.CHUNK", chunk)
        assert len(list(read_records(tmp_path / "x"))) == n


def test_a_broken_file_is_an_error_that_says_where(tmp_path):
    for text, message in (('[{"a": 1}, {"a"', "sample 1: not readable"), ("[1]", "expected an object")):
        (tmp_path / "x").write_text(text)
        with pytest.raises(SampleError, match=message):
            list(read_records(tmp_path / "x"))


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path):
    line = to_line(PAIR)
    (tmp_path / "p.json").write_text("[" + ",\n".join([json.dumps(json.loads(line)["chosen"])] * 30_000) + "]")
    size = (tmp_path / "p.json").stat().st_size
    tracemalloc.start()
    assert sum(1 for _ in read_records(tmp_path / "p.json")) == 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 8e6 and peak < 6e6


def test_multiple_choice_offers_every_answer_and_the_right_letter_is_chosen():
    choice = multiple_choice(PAIR)
    sample = choice.chosen
    assert len(sample.options) == 5 and sample.answer == (f"({'ABCDE'[sample.correct]})",)
    assert sample.options[sample.correct] == "1.0 - 3.0, a dog runs. 6.0 - 9.0, a cat sits."
    assert sorted(r.factor for r in choice.rejected) == sorted(r.factor for r in PAIR.rejected)
    assert sample.question.count("<evi>") == len(sample.question_intervals)
    assert check(choice) is choice and {r.answer for r in choice.rejected} & {sample.answer} == set()


def test_answers_that_read_alike_are_one_option_and_one_option_is_no_choice():
    silent = replace(SAMPLE, answer=("They run.",))
    late, other = (Rejected((Event(0.0, 1.0),), (words,), "shifted", "when") for words in ("They run.", "They sit."))
    choice = multiple_choice(PreferencePair(silent, (late, other, other)))
    assert sorted(choice.chosen.options) == ["They run.", "They sit."] and len(choice.rejected) == 1
    assert multiple_choice(PreferencePair(silent, (late,))).rejected == ()


@pytest.mark.parametrize("text, intervals, factors", [
    ("<evi><evi></evi> <evi>, a dog runs. <evi>, a cat sits.", [(1, 3), (6, 9)], ()),
    ("<evi><evi></evi> <evi>, a dog runs. <evi>, a cat sits.", [(1, 3), (9, 12)], ("when",)),
    ("<evi><evi></evi> <evi>, a dog runs. <evi>, a cat runs.", [(1, 3), (6, 9)], ("what",)),
    ("<evi></evi> <evi>, a dog runs.", [(1, 3)], ("which",)),
    ("<evi><evi></evi> <evi>, a dog runs. <evi>, a cat sits a cat sits.", [(1, 3), (6, 9)], ("how",)),
    ("<evi><evi></evi> <evi>, a dog runs. <evi>, a hen sits.", [(1, 3), (9, 12)], ("when", "what"))])
def test_a_generated_answer_is_labelled_with_what_is_wrong(text, intervals, factors):
    answer = parse(text, intervals * 2)
    wrong = as_rejected(SAMPLE, answer)
    if not factors:
        assert wrong is None
        return
    assert wrong.factor == factors[0] and wrong.kind == f"sampled {'+'.join(factors)}"
    assert what_is_wrong(SAMPLE, wrong.events, wrong.answer) == factors
    assert check(PreferencePair(SAMPLE, (wrong,)))


def test_an_answer_that_refers_to_what_it_never_grounded_is_not_a_rejected_one():
    assert as_rejected(SAMPLE, parse("<evi></evi> <evi>, <evi>.", [(1, 3)] * 3)) is None
    assert as_rejected(SAMPLE, GroundedAnswer((None,), ("x",), True)) is None


def test_sampled_answers_of_a_model_become_rejected_ones(place, config):
    model = load(ROOT / "data" / "tiny-sft")  # a model at random writes nothing that could be an answer
    world = load_world(place / "world")
    samples = [s for s in world.samples("train") if s.events][:8]
    real, reads = reader(config, model.frames, world.videos), []

    def read(sample):
        reads.append(sample.video)
        return real(sample)

    pairs = list(sampled_preferences(model, samples, read, Recipe(per_sample=2),
                                     Decoding(60, temperature=2.0, seed=1), tries=2))
    assert pairs and all(check(pair) and len(pair.rejected) <= 2 for pair in pairs)
    assert all(wrong.kind.startswith("sampled") for pair in pairs for wrong in pair.rejected)
    assert sorted(reads) == sorted({sample.video for sample in samples}), "a video is decoded once for all its answers"


def answers_of_a_model(monkeypatch):
    """Instead of a model: it says of each video that everything happens in its first second. Returns the seeds."""
    seeds = []

    def predict(model, samples, read, decoding):
        seeds.append(decoding.seed)
        text = parse("<evi></evi> <evi>.", [(0, 1), (0, 1)])
        return (SimpleNamespace(sample=sample, generated=SimpleNamespace(answer=text, finished=True))
                for sample in samples)

    monkeypatch.setattr("d2vlm_lab.lab.preferences.sampled.predict", predict)
    return seeds


def test_two_samples_with_the_same_id_share_no_sampled_answers_and_one_without_any_is_reported(monkeypatch):
    answers_of_a_model(monkeypatch)
    right = replace(SAMPLE, events=(Event(0, 1),), answer=(0, "."), video="b.mp4")
    bad = []
    pair, = sampled_preferences(None, [SAMPLE, right], lambda _: clip(2), Recipe(), Decoding(), 3,
                                lambda *what: bad.append(what))
    (named, why), = bad
    assert named == right.id and "none of its 3 sampled answers is finished and wrong in when or" in why
    assert pair.chosen is SAMPLE and len(pair.rejected) == 1  # that of the other video is right there, and wrong here


def test_two_seeds_share_no_try(monkeypatch):
    seeds = answers_of_a_model(monkeypatch)
    for seed in (0, 1):
        list(sampled_preferences(None, [SAMPLE], lambda _: clip(2), Recipe(), Decoding(seed=seed), tries=4))
    assert len(seeds) == len(set(seeds)) == 8


def test_samples_whose_video_cannot_be_read_are_left_out_and_named(monkeypatch):
    def read(sample):
        if sample.video == "gone.mp4":
            raise VideoError("gone.mp4: no such video file")

    gone, bad = replace(SAMPLE, id="s2", video="gone.mp4"), []
    assert list(readable([SAMPLE, gone, SAMPLE], read, lambda *what: bad.append(what))) == [SAMPLE, SAMPLE]
    assert bad == [("s2", "sample s2: gone.mp4: no such video file")]


def small_batch(config, model, rejects=2):
    stage = override(config, {"preference.form": "fpo", "preference.rejects": rejects})
    world = load_world(config.data.world)
    rejects = preference_data(stage, world.samples("train")).rejects
    groups = [[s for s in world.samples("train") if s.events][:2]]
    read = reader(config, model.frames, world.videos)
    group = Groups(groups, read, model.tokenizer, model.prompt, model.method, rejects)[0]
    return Collator(model.tokenizer, model.prompt)([group, group])["batch"]


def test_a_batch_knows_which_answers_are_rejected_and_why(config, place):
    batch = small_batch(config, load(place / "base"))
    assert batch.preferred.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]
    assert batch.supervised.tolist() == [True, False, False] * 4
    assert batch.factors[0] == "" and all(batch.factors[k] for k in (1, 2, 4, 5))
    assert batch.names[1].startswith(batch.names[0] + "/")


def test_the_reference_is_the_policy_as_it_was_not_the_base_with_the_adapter_off(config, place, tmp_path):
    model = prepare(load(place / "base"), config)
    for name, value in model.named_parameters():  # what SFT might have done
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.3, generator=torch.Generator().manual_seed(0))
    model.can_ground = True
    save(model, tmp_path / "sft", base=str(place / "base"))
    policy = prepare(load(tmp_path / "sft"), override(config, {"parts.start": str(tmp_path / "sft")})).eval()
    batch = small_batch(config, policy)
    preferences = Preferences(Preference(form="fpo", reference=True), policy)
    with torch.no_grad():
        before = log_probabilities(policy(batch), batch, policy.method).total()
        with policy.language.disable_adapter():
            base = log_probabilities(policy(batch), batch, policy.method).total()
    torch.testing.assert_close(preferences.reference(policy, batch), before)
    assert (preferences.reference(policy, batch) - base).abs().min() > 0.1
    out, notes = preferences(policy, batch, policy(batch))
    assert notes["margin_moved"] == pytest.approx(0, abs=1e-3)
    assert out.parts["preference"].item() == pytest.approx(0.6931, abs=1e-3)
    with torch.no_grad():  # the policy moves on, the reference stays
        for value in policy.parameters():
            if value.requires_grad:
                value.add_(0.05)
    torch.testing.assert_close(preferences.reference(policy, batch), before)
    with torch.no_grad():
        assert (log_probabilities(policy(batch), batch, policy.method).total() - before).abs().min() > 1e-3


def test_training_goes_on_on_the_adapter_of_a_checkpoint(config, place, tmp_path):
    train(config, tmp_path / "sft", log=lambda _: None)
    stage = override(config, {"parts.start": str(tmp_path / "sft" / "model"), "preference.form": "fpo",
                              "preference.reference": True, "preference.rejects": 2})
    train(stage, tmp_path / "fpo", log=lambda _: None)
    sft, fpo = load(tmp_path / "sft" / "model"), load(tmp_path / "fpo" / "model")
    names = [name for name, _ in fpo.named_parameters()]
    assert names == [name for name, _ in sft.named_parameters()]
    assert not any("base_model.model.base_model" in name for name in names)
    moved = {name for (name, a), (_, b) in zip(sft.named_parameters(), fpo.named_parameters()) if not torch.equal(a, b)}
    assert moved and any("lora_" in name for name in moved)
    history = [json.loads(line) for line in (tmp_path / "fpo" / "history.jsonl").read_text().splitlines()]
    logged = set().union(*history)
    assert {"margin", "accuracy", "loss_preference", "text_chosen", "text_rejected", "grounding_chosen",
            "grounding_rejected", "margin_moved", "eval_accuracy", "eval_margin"} <= logged
    assert {name.split("_")[-1] for name in logged if name.startswith("accuracy_")} == {"when", "which", "what", "how"}


@pytest.mark.parametrize("change, message", [({"adapter.rank": 8}, "adapter.rank is 8, but .* has 4"),
                                             ({"adapter.targets": "linear"}, "adapter.targets=linear")])
def test_an_adapter_of_another_shape_is_an_error_not_a_second_adapter(change, message, config, place, tmp_path):
    save(prepare(load(place / "base"), config), tmp_path / "sft", base=str(place / "base"))
    with pytest.raises(LabError, match=message):
        prepare(load(tmp_path / "sft"), override(config, change))


@pytest.mark.parametrize("good, kept", [(to_line(PAIR), PAIR.chosen.id), (json.dumps(annotation(
    reject_0_shift=("<evi></evi>It is in <evi>.", [9.0, 12.0]))), "1")])
def test_a_damaged_line_at_the_top_of_a_preference_file_is_told_and_left_out(good, kept, tmp_path):
    (tmp_path / "p.jsonl").write_text("{,\n" + good + "\n")
    reported = []
    pair, = read_file(str(tmp_path / "p.jsonl"), lambda *what: reported.append(what))
    assert pair.chosen.id == kept and len(reported) == 1


def test_a_damaged_line_of_its_source_is_told_and_left_out(tmp_path, capsys):
    """One bad line among many costs that line."""
    source, lines = tmp_path / "s.jsonl", (json.dumps(to_record(replace(SAMPLE, id=name))) for name in "ab")
    source.write_text("\n{,\n".join(lines) + "\n")
    assert main(["make-preferences", str(source), "--out", str(tmp_path / "p.jsonl")]) == 0
    out, err = capsys.readouterr()
    assert "2 chosen answers" in out and "1 left out" in out and "s.jsonl, sample 1" in err


def test_training_reads_a_preference_file_and_counts_what_it_cannot_use(config, place, tmp_path):
    out = tmp_path / "p.jsonl"
    assert main(["make-preferences", str(place / "world"), "per_sample=2", "--limit", "60", "--multiple-choice",
                 "--out", str(out)]) == 0
    out.write_text("{,\n" + out.read_text() + '{"chosen": 1}\n')
    stage = override(config, {"preference.form": "dpo", "preference.file": str(out), "preference.factors": ["when"],
                               "training.steps": 2, "data.bad_share": 0.5})
    metrics = train(stage, tmp_path / "run", log=lambda _: None)
    assert metrics["skipped"] == {"preference": 2}
    with pytest.raises(LabError, match="bad_share"):
        train(override(stage, {"data.bad_share": 0.0}), tmp_path / "strict", log=lambda _: None)
