"""The samples of a run: a world, or annotation files in any format that can be learned from."""

import json
from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest
from benchmark_files import CHARADES, RECIPE, TIMELENS, WINDOWS, coco, save
from small import tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import Data, RunConfig
from d2vlm_lab.data.datasets import et_instruct
from d2vlm_lab.data.datasets.formats import ADAPTERS, TRAINING
from d2vlm_lab.data.sample import Sample, SampleError, evenly_spaced, to_record
from d2vlm_lab.data.splits import reader, splits
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event, compose, render
from d2vlm_lab.lab.commands.features import videos_of
from d2vlm_lab.model.checkpoint import save as save_model
from d2vlm_lab.settings import from_dict, override

VIDEO = "train_00000.mp4"
SAMPLE = Sample("s", VIDEO, 16.0, "tvg", "x", "when does it spin?", (Event(2.0, 5.0),), ("It spins in ", 0, "."))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The videos of a small world, a random model, and an annotation file in each format."""
    folder = tmp_path_factory.mktemp("formats")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 2, "seed": 3}), workers=1)
    save_model(tiny_model(), folder / "base")
    et_instruct.write_file(folder / "et_instruct.json", [SAMPLE])
    save(folder / "samples.json", json.dumps(to_record(SAMPLE)) + "\n")
    coco(folder / "charades_sta.json", {**CHARADES, "image_id": VIDEO, "timestamp": [2.0, 5.0], "duration": 16.0})
    coco(folder / "youcook2.json", {**RECIPE, "image_id": VIDEO, "segments": [[1, 3], [5.5, 9]]})
    save(folder / "timelens.json", {VIDEO.removesuffix(".mp4"): {"duration": 16.0, "spans": [[2.0, 5.0]],
                                                                 "queries": TIMELENS["3MSZA"]["queries"][:1]}})
    save(folder / "qvhighlights.json", [{**WINDOWS, "vid": VIDEO.removesuffix(".mp4"), "duration": 16,
                                         "relevant_windows": [[2, 5]]}])
    return folder


def settings(place, name, **more):
    if name == "qvhighlights":
        more["evaluation.tasks"] = ["tal"]
    return {"data.train": str(place / f"{name}.json"), "data.val": str(place / f"{name}.json"),
            "data.videos": str(place / "world" / "videos"), "data.format": name, **more}


ANSWERS = {
    "et_instruct": "2.0 - 5.0 </evi> It spins in 2.0 - 5.0.",
    "samples": "2.0 - 5.0 </evi> It spins in 2.0 - 5.0.",
    "charades_sta": "2.0 - 5.0 </evi> The event happens in 2.0 - 5.0.",
    "timelens": "2.0 - 5.0 </evi> The event happens in 2.0 - 5.0 seconds.",
    "qvhighlights": "2.0 - 5.0 </evi> It happens in 2.0 - 5.0.",
    "youcook2": "1.0 - 3.0 5.5 - 9.0 </evi> 1.0 - 3.0, pick the ends off the beans. 5.5 - 9.0, combine egg and flour."}


@pytest.mark.parametrize("name", TRAINING)
def test_both_splits_are_read_in_every_training_format_with_answers_to_learn(name, place):
    train, val = splits(override(RunConfig(), settings(place, name)))
    sample, = train.samples
    assert val.samples == [sample] and (train.videos / sample.video).is_file()
    assert render(compose(sample.events, sample.answer)) == ANSWERS[name]


@pytest.mark.parametrize("name", TRAINING)
def test_a_dry_run_shows_a_sample_of_every_training_format(name, place, tmp_path, capsys):
    save(tmp_path / "plain.yaml", "seed: 0\n")
    changes = settings(place, name, **{"parts.start": place / "base", "method.semantic_layer": 1, "adapter.rank": 4})
    assert main(["train", str(tmp_path / "plain.yaml"), "--dry-run", *(f"{k}={v}" for k, v in changes.items())]) == 0
    out = capsys.readouterr().out
    task = {"youcook2": "dvc", "qvhighlights": "tal"}.get(name, "tvg")
    assert "1 samples in 1 groups" in out and f"\nvalidation questions: 1 {task}\n" in out
    assert f"supervised: {'<evi>' * (2 if name == 'youcook2' else 1)}</evi>" in out


@pytest.mark.parametrize("name", TRAINING)
def test_what_a_training_format_writes_is_read_as_the_same_samples(name, place, tmp_path):
    """As far as the format holds them: some number the samples of a file."""
    samples = ADAPTERS[name].read(place / f"{name}.json")
    ADAPTERS[name].write_file(tmp_path / f"{name}.json", samples)
    again = ADAPTERS[name].read(tmp_path / f"{name}.json")
    assert [replace(sample, id="") for sample in again] == [replace(sample, id="") for sample in samples]


@pytest.mark.parametrize("name", ["timelens", "qvhighlights"])
def test_a_question_with_several_moments_is_written_where_the_format_holds_it(name, tmp_path):
    events = Event(2.0, 5.0, "it spins"), Event(7.0, 9.0, "it spins")
    several = replace(SAMPLE, task="tal", events=events, answer=("In ", 0, " and ", 1, "."))
    mixed = replace(several, events=(events[0], Event(7.0, 9.0, "it moves")))
    ADAPTERS[name].write_file(tmp_path / "a.json", [several, mixed, replace(SAMPLE, events=events[:1])])
    first, second = ADAPTERS[name].read(tmp_path / "a.json")
    assert (first.video, first.task, first.events) == (VIDEO, "tal", events) and second.events == events[:1]


def test_the_choices_of_the_setting_are_the_training_formats():
    assert get_args(get_type_hints(Data)["format"]) == TRAINING and set(TRAINING) <= set(ADAPTERS)
    assert next(field for field in fields(Data) if field.name == "format").default == "et_instruct"


def test_validation_questions_of_other_tasks_than_those_that_are_asked_are_an_error(place):
    config = override(RunConfig(), settings(place, "qvhighlights") | {"evaluation.tasks": ["tvg", "gvq", "dvc"]})
    with pytest.raises(LabError, match=r"no validation question has the task tvg or gvq or dvc; those of .*json have "
                                       r"tal: set evaluation.tasks=\[tal\]"):
        splits(config)


def test_a_format_that_does_not_exist_is_an_error_that_lists_those_that_do(place):
    with pytest.raises(LabError, match=f"data.format: 'coco' is not one of {', '.join(TRAINING)}"):
        override(RunConfig(), settings(place, "coco"))


def test_a_format_without_a_file_does_not_silently_train_on_the_world():
    with pytest.raises(LabError, match="data.format is 'youcook2', but data.train names no annotation file"):
        splits(override(RunConfig(), {"data.format": "youcook2"}))


def test_a_world_is_not_taken_for_one_with_other_settings(tmp_path):
    make_world(tmp_path / "w", WorldConfig(videos=10), workers=1)
    place = {"data.world": str(tmp_path / "w")}
    assert len(splits(override(RunConfig(), place | {"data.world_settings": ["videos=10"]}))[0].samples)
    assert len(splits(override(RunConfig(), place))[0].samples), "of a world that is there, nothing has to be said"
    with pytest.raises(LabError, match=r"made with other settings \(videos is 10, not 20\)"):
        splits(override(RunConfig(), place | {"data.world_settings": ["videos=20"]}))


def test_training_refuses_a_file_that_gives_no_durations(place):
    lines = save(place / "lines.txt", "train_00000 2.0 5.0##a person sits.\n")
    with pytest.raises(SampleError, match=r"lines.txt, sample 0: its duration is not known"):
        splits(override(RunConfig(), settings(place, "charades_sta", **{"data.train": str(lines)})))


@pytest.mark.parametrize("cache", ["fp32", "off"])
def test_a_video_is_found_by_its_name_where_its_folders_are_missing(cache, place, tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.splits.CACHE", str(tmp_path / "cache"))
    record = json.loads((place / "samples.json").read_text())
    nested = save(tmp_path / "nested.json", json.dumps({**record, "video": f"cosmo/shard1/{VIDEO}"}) + "\n")
    config = override(RunConfig(), settings(place, "samples", **{"data.train": str(nested), "data.cache": cache}))
    train, _ = splits(config)
    assert len(reader(config, tiny_model().frames, train.videos)(train.samples[0]).timestamps) == 32
    assert place / "world" / "videos" / VIDEO in videos_of(config)


def with_bad_records(place, name, folder):
    """The annotation file of a format between records of that format that cannot be used."""
    good = (place / f"{name}.json").read_text()
    if name == "samples":
        record = json.loads(good)
        lines = [good.strip(), "3", '{"id": "torn', json.dumps({**record, "duration": -1}),
                 json.dumps({**record, "id": "t", "question": 7})]
        return save(folder / "bad.json", "\n".join(lines[1:] + lines[:1]) + "\n")
    if name == "et_instruct":
        record, = json.loads(good)
        return save(folder / "bad.json", [3, {**record, "conversations": None}, {**record, "tgt": ["x"]},
                                          {**record, "duration": None}, record])
    if name == "timelens":
        video, record = next(iter(json.loads(good).items()))
        return save(folder / "bad.json", {"a": None, "b": {**record, "duration": -1}, "c": {**record, "spans": 3},
                                          video: record, "d": {**record, "queries": [5]}})
    if name == "qvhighlights":
        record, = json.loads(good)
        return save(folder / "bad.json", [3, {**record, "duration": -1}, {**record, "vid": 5}, record, record])
    record, = json.loads(good)["annotations"]
    return coco(folder / "bad.json", None, {**record, "duration": -1}, {**record, "image_id": 5}, record, record)


@pytest.mark.parametrize("name", TRAINING)
def test_bad_annotations_are_left_out_and_named_and_counted(name, place, tmp_path):
    bad = with_bad_records(place, name, tmp_path)
    train, _ = splits(override(RunConfig(), settings(place, name, **{"data.train": str(bad), "data.val": ""})))
    sample, = train.samples
    assert sample.video == VIDEO and len(train.bad) == 4 and len({skip.sample for skip in train.bad}) == 4
    assert all("bad.json" in skip.message and "sample" in skip.message for skip in train.bad)
    assert any("duration is" in skip.message for skip in train.bad)


def test_a_file_that_is_cut_short_is_not_taken_for_a_file_with_one_bad_record(place, tmp_path):
    whole = (place / "samples.json").read_text()
    cut = save(tmp_path / "cut.json", whole + whole[:60])
    with pytest.raises(SampleError, match="cut.json, sample 1: not readable as JSON"):
        splits(override(RunConfig(), settings(place, "samples", **{"data.train": str(cut)})))


@pytest.mark.parametrize("n, spaced", [(0, []), (1, [0]), (3, [0, 4, 9]), (10, list(range(10))), (99, list(range(10)))])
def test_evenly_spaced_items_reach_from_the_first_to_the_last(n, spaced):
    assert evenly_spaced(range(10), n) == spaced and evenly_spaced([], n) == []
