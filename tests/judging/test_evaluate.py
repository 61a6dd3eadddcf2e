"""Answers stream to disk, a killed evaluation goes on, shards add up, and a score carries its protocol."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_files import CHARADES, CHOICE, MME, RECIPE, coco, save
from small import tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import Data
from d2vlm_lab.data import splits
from d2vlm_lab.data.batch import Clip
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.files import json_lines
from d2vlm_lab.judging import evaluate as e
from d2vlm_lab.judging import portions
from d2vlm_lab.judging.answers import all_answers, only_writer, read_answers
from d2vlm_lab.judging.benchmarks import BENCHMARKS, within
from d2vlm_lab.model import decoding
from d2vlm_lab.model.checkpoint import save as save_model
from d2vlm_lab.model.decoding import Decoding
from d2vlm_lab.settings import from_dict

QUICK = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    make_world(folder / "world", from_dict(WorldConfig, {"videos": 20, "seed": 1}), workers=1)
    save_model(tiny_model(), folder / "model")
    return SimpleNamespace(model=str(folder / "model"), world=folder / "world",
                           annotations=folder / "world" / "etbench.json", videos=folder / "world" / "videos")


def answer(place, out, decoding=QUICK, data=None, **more):
    return e.evaluate(place.model, place.annotations, place.videos, out, decoding, data or Data(fps=2.0), report=str,
                      **more)


def test_every_sample_is_answered_once_in_the_public_format(place, tmp_path):
    records = json.loads(place.annotations.read_text())
    answered = answer(place, tmp_path)
    assert [r["idx"] for r in answered] == [r["idx"] for r in records]
    assert all(r.items() <= a.items() and isinstance(a["a"], str) for r, a in zip(records, answered))


def test_a_cut_off_evaluation_goes_on_and_ends_like_a_whole_one(place, tmp_path):
    whole = answer(place, tmp_path / "whole")
    file = tmp_path / "whole" / "answers_0_of_1.jsonl"
    lines = file.read_text().splitlines(True)
    file.write_text("".join(lines[:5]) + lines[5][:40])  # killed in the middle of writing the sixth
    before = file.stat().st_size
    assert answer(place, tmp_path / "whole") == whole
    assert file.read_text().splitlines(True)[:5] == lines[:5] and file.stat().st_size > before
    seen = []
    e.evaluate(place.model, place.annotations, place.videos, tmp_path / "whole", QUICK, Data(fps=2.0),
               report=seen.append)
    assert seen == [f"{place.model} was never taught to ground: the times in its answers mean nothing",
                    f"{len(whole)} of {len(whole)} samples are answered"]


def test_shards_answer_everything_between_them(place, tmp_path):
    whole = {r["idx"]: r["a"] for r in answer(place, tmp_path / "whole")}
    for index in range(3):
        parts = answer(place, tmp_path / "parts", shard=(index, 3))
    assert {r["idx"]: r["a"] for r in parts} == whole


def test_answers_without_a_cache_of_features_are_the_same(place, tmp_path):
    kept, anew = ([{key: record[key] for key in ("idx", "a", "evidence")} for record in e.evaluate(
        place.model, place.annotations, place.videos, tmp_path / cache, QUICK, Data(fps=2.0, cache=cache), limit=6,
        report=str)] for cache in ("fp32", "off"))
    assert kept == anew


@pytest.mark.parametrize("room", [2**30, 1], ids=["all at once", "one video at a time"])
def test_without_a_cache_each_video_is_decoded_once(place, tmp_path, monkeypatch, room):
    """Whatever the order of the questions, the way tasks are decoded, and whether the video can be read."""
    decoded, read_frames = [], splits.read_frames
    monkeypatch.setattr(splits, "read_frames",
                        lambda path, *a, **k: decoded.append(path.name) or read_frames(path, *a, **k))
    monkeypatch.setattr(portions, "ROOM", room)
    videos = tmp_path / "videos"
    videos.mkdir()
    for file in place.videos.glob("test_*"):
        (videos / file.name).write_bytes(file.read_bytes() if file.name != "test_00001.mp4" else b"")
    records = json.loads(place.annotations.read_text())
    mixed = sorted(records, key=lambda record: record["task"])
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    answered = e.evaluate(place.model, tmp_path / "mixed.json", videos, tmp_path / "out", Decoding(2),
                          Data(fps=2.0, cache="off"), report=str, penalized=("tvg", "dvc"))
    assert sorted(decoded) == sorted({record["video"] for record in records}) and len(decoded) > 1
    assert [record["q"] for record in answered] == [record["q"] for record in mixed]
    assert {r["video"] for r in answered if "error" in r} == {"test_00001.mp4"}


def test_sampled_answers_do_not_depend_on_shards_limits_or_interruptions(place, tmp_path):
    def sampled(out, **more):
        return {r["idx"]: r["a"] for r in e.evaluate(
            place.model, place.annotations, place.videos, tmp_path / out, Decoding(6, temperature=1.0), Data(fps=2.0),
            report=str, **more)}

    sampled("whole", limit=5)  # as if the evaluation had been killed
    whole = sampled("whole")
    for index in range(3):
        parts = sampled("parts", shard=(index, 3))
    assert parts == whole and len(set(whole.values())) > len(whole) / 2


def test_a_shard_only_reads_the_files_of_the_others(place, tmp_path):
    """One of them may be held open, with half a line written; rewriting its file would lose what it writes next."""
    answer(place, tmp_path, shard=(0, 2))
    other = tmp_path / "answers_1_of_2.jsonl"
    line = (tmp_path / "answers_0_of_2.jsonl").read_text().splitlines(True)[0].replace('"sample": "', '"sample": "x')
    with open(other, "w") as stream:  # the other shard, which is still answering
        stream.write(line + line[:50])
        stream.flush()
        before = len(answer(place, tmp_path, shard=(0, 2)))
        stream.write(line[50:].replace('"sample": "x', '"sample": "y'))
    assert other.read_text() == line + line.replace('"sample": "x', '"sample": "y')
    assert len(all_answers(tmp_path)) == before + 1


def test_two_processes_never_write_to_one_file(place, tmp_path):
    answer(place, tmp_path, limit=2)
    with (only_writer(tmp_path / "answers_0_of_1.jsonl"),
          pytest.raises(LabError, match="another process writes to .*answers_0_of_1.jsonl; each needs a --shard")):
        answer(place, tmp_path, limit=2)


def test_questions_that_each_task_numbers_anew_keep_their_own_answers(place, tmp_path, capsys):
    records, numbers = json.loads(place.annotations.read_text()), {}
    for record in records:
        record["idx"] = numbers.setdefault((record["task"], record["source"]), 0)
        numbers[record["task"], record["source"]] += 1
    assert len(set(numbers.values())) < len(records) and len({r["idx"] for r in records}) < len(records)
    folder = tmp_path / "world"
    folder.mkdir()
    (folder / "etbench.json").write_text(json.dumps(records))
    (folder / "videos").symlink_to(place.videos)
    words = ["evaluate", place.model, "world", "--data", str(folder), "--out", str(tmp_path / "out"),
             "--max-new-tokens", "6"]
    assert main(words) == 0
    answered = all_answers(tmp_path / "out")
    assert {(r["task"], r["source"], r["idx"], r["q"], r["video"]) for r in answered} == {
        (r["task"], r["source"], r["idx"], r["q"], r["video"]) for r in records}
    page = json.loads((tmp_path / "out" / "score_clean.json").read_text())
    assert page["samples"] == len(records)
    assert page["own_questions"] == "world" and e.signature(page) in capsys.readouterr().out  # it has no world.json
    assert e.signature(page).startswith("own questions (world) etbench.json ")
    (folder / "etbench.json").write_text(json.dumps([*records, records[3]]))
    assert main(["data", "world", str(folder)]) == 0
    assert "1 more cannot be used; the first: " in (out := capsys.readouterr().out) and "several times" in out


def test_a_question_that_cannot_be_used_is_left_out_and_counted(place, tmp_path, capsys):
    records, folder = json.loads(place.annotations.read_text()), tmp_path / "own"
    late = {**next(record for record in records if record["task"] == "tvg"), "tgt": [9e3, 9.1e3], "idx": "late"}
    good = records[:3]
    folder.mkdir()
    (folder / "etbench.json").write_text(json.dumps([good[0], late, {"task": "tvg"}, *good[1:], good[0]]))
    (folder / "videos").symlink_to(place.videos)
    assert main(["evaluate", place.model, "world", "--data", str(folder), "--out", str(tmp_path / "out"),
                 "--max-new-tokens", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("3 questions cannot be used and are left out; the first: ") == 2
    assert 'sample late ("' in printed
    page = json.loads((tmp_path / "out" / "score_clean.json").read_text())
    assert (page["samples"], page["questions"], page["unfit_questions"]) == (3, 3, 3)
    assert [r["idx"] for r in read_answers(tmp_path / "out/predictions/answers.jsonl").values()] == [
        r["idx"] for r in good]


def test_answers_under_other_settings_are_never_mixed(place, tmp_path):
    answer(place, tmp_path, limit=2)
    for change, other in (("decoding", {"decoding": Decoding(7)}), ("features", {"data": Data(fps=2.0, cache="fp16")})):
        with pytest.raises(LabError, match=f"another {change};"):
            answer(place, tmp_path, **other)
    with_memory = {**json.loads((tmp_path / "run.json").read_text()), "memory": {"frames": 8}}
    (tmp_path / "run.json").write_text(json.dumps(with_memory))
    with pytest.raises(LabError, match="another memory;"):  # also if the new answers would have none
        answer(place, tmp_path)


def test_a_limited_score_says_so_and_no_answer_beyond_the_limit_is_scored(place, tmp_path, capsys):
    words = ["evaluate", place.model, "world", "--data", str(place.world), "--out", str(tmp_path),
             "--max-new-tokens", "6", "--limit"]
    assert main([*words, "4"]) == 0
    count = len(json.loads(place.annotations.read_text()))
    assert f", the first 4 of {count} questions, protocol clean, sentence model " in capsys.readouterr().out
    assert "sentence_model" in json.loads((tmp_path / "score_clean.json").read_text())["card"]
    assert main([*words, "2"]) == 2
    assert "holds 2 answers to questions beyond the first 2" in capsys.readouterr().err


def test_a_video_that_cannot_be_read_is_reported_and_fails(place, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for file in place.videos.glob("test_*"):
        (videos / file.name).write_bytes(file.read_bytes() if file.name != "test_00000.mp4" else b"")
    answered = e.evaluate(place.model, place.annotations, videos, tmp_path / "out", QUICK, Data(fps=2.0), report=str)
    bad = [r for r in answered if "error" in r]
    assert bad and all(r["video"] == "test_00000.mp4" and r["a"] == "" for r in bad) and len(bad) < len(answered)


def test_a_video_of_mvbench_that_cannot_be_read_is_wrong_also_as_published(place, tmp_path, capsys):
    """By the published rule an empty answer is right, and the answers to such a video are empty."""
    folder = small_benchmark("mvbench", tmp_path / "mvbench", place.videos)
    (folder / "video/star/Charades_v1_480/ZS9XR.mp4").write_bytes(b"")
    assert main(["evaluate", place.model, "mvbench", "--data", str(folder), "--out", str(tmp_path / "out"),
                 "--max-new-tokens", "6", "--protocol", "d2vlm"]) == 0
    assert "1 videos could not be read, which 2 questions are about" in capsys.readouterr().out
    page = json.loads((tmp_path / "out" / "score_d2vlm.json").read_text())
    assert page["unreadable_videos"] == 1 and page["scores"]["acc_dict"]["action_sequence"] == [0, 2]


def test_what_is_scored_does_not_depend_on_shards(place, tmp_path, monkeypatch):
    """Published scorers keep, for example, the last answer about each video, whichever that is in their file."""
    monkeypatch.setattr(e.scoring, "score", lambda args: ({}, []))  # which takes longer than these answers
    records = json.loads(place.annotations.read_text())[:6]
    for out, shards in (("whole", ["0/1"]), ("shards", ["1/2", "0/2"])):
        for shard in shards:
            assert main(["evaluate", place.model, "world", "--data", str(place.world), "--out", str(tmp_path / out),
                         "--limit", "6", "--max-new-tokens", "6", "--shard", shard, "--protocol", "d2vlm"]) == 0
    whole, shards = ([(r["idx"], r["a"]) for r in json_lines(tmp_path / out / "predictions" / "answers.jsonl")]
                     for out in ("whole", "shards"))
    assert whole == shards and [idx for idx, _ in whole] == [record["idx"] for record in records]


def test_a_video_that_was_missing_is_asked_about_again_and_no_other(place, tmp_path):
    videos, seen = tmp_path / "videos", []
    videos.mkdir()
    for file in place.videos.glob("test_*"):
        if file.name != "test_00000.mp4":
            (videos / file.name).symlink_to(file)

    def evaluated():
        return e.evaluate(place.model, place.annotations, videos, tmp_path / "out", QUICK, Data(fps=2.0), limit=9,
                          report=seen.append)

    missing = [record for record in evaluated() if "error" in record]
    (videos / "test_00000.mp4").symlink_to(place.videos / "test_00000.mp4")
    assert missing and evaluated() == answer(place, tmp_path / "whole", limit=9)
    assert f"{9 - len(missing)} of 9 samples are answered" in seen
    lines = (tmp_path / "out" / "answers_0_of_1.jsonl").read_text().splitlines()
    assert len(lines) == 9  # no question stands there twice, which a scorer would refuse


def test_a_checkpoint_sees_as_many_frames_as_it_was_trained_with_or_as_are_asked_for(place, tmp_path, capsys,
                                                                                      monkeypatch):
    monkeypatch.setattr(e, "score", lambda *_: ({}, []))  # which takes longer than these answers
    model = tmp_path / "model"
    shutil.copytree(place.model, model)
    (model / "recipe.json").write_text('{"config": {"data": {"fps": 1.0, "max_frames": 5}}}')

    def shown(out, *more):
        assert main(["evaluate", str(model), "world", "--data", str(place.world), "--out", str(tmp_path / out),
                     "--limit", "2", "--max-new-tokens", "2", *more]) == 0
        card = json.loads((tmp_path / out / "run.json").read_text())
        return card["fps"], card["max_frames"], "this checkpoint was trained with" in capsys.readouterr().out

    assert shown("trained") == (1.0, 5, False) and shown("same", "--max-frames", "5") == (1.0, 5, False)
    assert shown("others", "--fps", "2", "--max-frames", "9") == (2.0, 9, True)
    (model / "recipe.json").unlink()
    assert shown("unknown") == (2.0, 512, False)


def test_a_checkpoint_that_was_trained_on_some_frames_of_each_video_sees_as_many(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(e, "score", lambda *_: ({}, []))
    model, frames, real = tmp_path / "model", [], e.answer
    shutil.copytree(place.model, model)
    (model / "recipe.json").write_text('{"config": {"data": {"fps": 2.0, "keep_frames": 3}}}')

    def answer(model, portion, read, *more):
        frames.extend(len(read(sample).timestamps) for sample, _ in portion)
        return real(model, portion, read, *more)

    monkeypatch.setattr(e, "answer", answer)
    command = ["evaluate", str(model), "world", "--data", str(place.world), "--limit", "2", "--max-new-tokens", "2"]
    assert main([*command, "--out", str(tmp_path / "few")]) == 0 and frames == [3, 3]
    assert json.loads((tmp_path / "few" / "run.json").read_text())["keep_frames"] == 3
    assert main([*command, "--out", str(tmp_path / "off"), "--cache", "off"]) == 2
    assert "data.keep_frames: frames are chosen by their features" in capsys.readouterr().err
    (model / "recipe.json").write_text('{"config": {"data": {"fps": 2.0}}}')
    assert main([*command, "--out", str(tmp_path / "all")]) == 0 and frames[2:] == [32, 32]


def test_questions_with_more_frames_than_the_language_model_reads_are_counted(place, tmp_path, capsys):
    model = tiny_model()
    model.language.config.max_position_embeddings = 75
    save_model(model, tmp_path / "model")
    words = ["evaluate", str(tmp_path / "model"), "world", "--data", str(place.world), "--limit", "1",
             "--max-new-tokens", "2", "--out"]
    for out, more, count in (("long", (), 1), ("short", ("--max-frames", "2"), 0)):
        assert main([*words, str(tmp_path / out), *more]) == 0
        assert json.loads((tmp_path / out / "score_clean.json").read_text())["too_long"] == count
        assert ("too long, give a smaller --max-frames: 1; the first: " in capsys.readouterr().out) == bool(count)


def test_an_answer_with_nul_is_scored_like_any_other(place, tmp_path, monkeypatch):
    def with_nul(model, ids, evidence):
        nul = model.tokenizer.convert_tokens_to_ids("\u0100")  # as tokenizers of bytes write the byte 0
        return read_answer(model, [*ids[:1], nul], evidence)

    read_answer = decoding.read_answer
    monkeypatch.setattr(decoding, "read_answer", with_nul)
    assert main(["evaluate", place.model, "world", "--data", str(place.world), "--limit", "2", "--max-new-tokens", "2",
                 "--out", str(tmp_path)]) == 0
    assert all(record["a"].endswith("\ufffd") for record in all_answers(tmp_path))


def test_the_command_scores_and_leaves_the_protocol_beside_the_number(place, tmp_path, capsys):
    words = ["evaluate", place.model, "world", "--data", str(place.world), "--out", str(tmp_path / "out"),
             "--max-new-tokens", "6"]
    assert main(words) == 0
    page = json.loads((tmp_path / "out" / "score_clean.json").read_text())
    assert "own_questions" not in page
    assert {"checkpoint", "annotations_sha256", "prompt_sha256", "decoding", "library"} <= set(page["card"])
    assert page["protocol"] == "clean" and page["scores"]["collected"]
    out = capsys.readouterr().out
    assert "every video was read" in out and f", prompt {page['card']['prompt_sha256']}, greedy" in out


@pytest.mark.parametrize("words, message", [
    (["--data", "nowhere"], "is missing; a world folder holds etbench.json"),
    (["--data", "WORLD", "--shard", "4/4"], "write it as I/N"),
    (["--data", "WORLD", "--protocol", "loose"], "no protocol 'loose'")])
def test_a_wrong_call_is_one_line(place, words, message, capsys):
    words = [str(place.world) if word == "WORLD" else word for word in words]
    assert main(["evaluate", place.model, "world", *words]) == 2
    assert message in capsys.readouterr().err


def small_benchmark(name, folder, world):
    """A folder laid out as the public one, with a few questions about videos of the world."""
    files = [file.read_bytes() for file in sorted(world.glob("test_*"))]

    def video(path, number=0):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(files[number])

    if name == "charades":
        queries = [{**CHARADES, "id": i, "timestamp": [2.0, 5.0]} for i in (3, 8)]
        coco(folder / "test.caption_coco_format.json", *queries)
        video("videos/3MSZA.mp4")
    elif name == "youcook2":
        coco(folder / "val.caption_coco_format.json", {**RECIPE, "segments": [[1, 3], [5.5, 9]]})
        video("videos/xHr8X2Wpmno.mp4")  # not at its image_id
    elif name == "mvbench":
        about = [{**CHOICE, "start": start, "end": end} for start, end in ((2, 6), (9, 9.5), (0, 1.0))]
        save(folder / "json" / "action_sequence.json", about[:2])
        save(folder / "json" / "episodic_reasoning.json", [{**about[2], "video": "castle_s01e01"}])
        video("video/star/Charades_v1_480/ZS9XR.mp4")
        frames(folder / "video/tvqa/frames_fps3_hq/castle_s01e01", 7)
    else:
        save(folder / "test.json", [MME, {**MME, "question_id": "001-2", "answer": "A"}])
        video("data/fFjv93ACGo8.mp4")
    return folder


def frames(folder, n):
    from PIL import Image

    folder.mkdir(parents=True)
    for k in range(n):
        Image.fromarray(np.full((64, 96, 3), 30 * k, np.uint8)).save(folder / f"{k + 1:05}.jpg")


@pytest.mark.parametrize("name, count", [("charades", 2), ("youcook2", 1), ("mvbench", 3), ("videomme", 2)])
def test_every_benchmark_is_answered_and_scored_from_its_own_files(name, count, place, tmp_path, capsys):
    folder = small_benchmark(name, tmp_path / name, place.videos)
    words = ["evaluate", place.model, name, "--data", str(folder), "--out", str(tmp_path / "out"),
             "--max-new-tokens", "6"]
    assert main(words) == 0
    page = json.loads((tmp_path / "out" / "score_clean.json").read_text())
    assert page["samples"] == count and page["card"]["benchmark"] == name and "every video" in capsys.readouterr().out
    answered = all_answers(tmp_path / "out")
    assert len(answered) == count and all(isinstance(r[BENCHMARKS[name].answer], str) for r in answered)
    predictions = tmp_path / "out" / ("predictions" if name == "mvbench" else "")
    assert main(["score", name, str(predictions), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == page["scores"]
    assert main(words) == 0 and f"{count} of {count} samples are answered" in capsys.readouterr().out


def test_a_question_about_a_part_sees_that_part_and_with_whole_videos_all(place, tmp_path):
    folder = small_benchmark("mvbench", tmp_path / "mvbench", place.videos)
    shown = [[record["shown"] for record in e.evaluate(
        place.model, folder / "json", folder / "video", tmp_path / str(parts), QUICK, Data(fps=1.0), report=str,
        benchmark="mvbench", parts=parts)] for parts in (True, False)]
    assert shown == [[[2.0, 6.0], [9.0, 9.0], [0.0, 1.0]], [[0.0, 15.0], [0.0, 15.0], [0.0, 2.0]]]


def test_a_part_starts_with_the_frame_that_is_on_screen_then():
    clip = Clip(np.arange(10), np.arange(10) / 2)
    assert within(clip, (0.9, 2.0)).timestamps.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert within(clip, (99, 100)).timestamps.tolist() == [4.5]


def test_published_decoding_samples_and_penalizes_repetition_where_the_authors_do(place, tmp_path, monkeypatch):
    seen, real = {}, e.predict

    def watched(model, samples, read, decoding):
        seen.update({sample.task: decoding for sample in samples})
        return real(model, samples, read, decoding)

    monkeypatch.setattr(e, "predict", watched)
    main(["evaluate", place.model, "etbench", "--data", str(as_etbench(place, tmp_path)), "--out",
          str(tmp_path / "out"), "--decoding", "published", "--max-new-tokens", "3", "--protocol", "d2vlm"])
    assert {task for task, decoding in seen.items() if decoding.repetition_penalty == 1.2} == {"rar", "eca", "rvq"}
    assert all(decoding.temperature == 0.2 for decoding in seen.values()) and "tvg" in seen
    card = json.loads((tmp_path / "out" / "score_d2vlm.json").read_text())["card"]
    assert card["penalized"] == ["rar", "eca", "rvq"] and card["decoding"]["temperature"] == 0.2


def as_etbench(place, folder):
    (folder / "annotations").mkdir()
    (folder / "annotations" / "etbench_txt_v1.0.json").write_bytes(place.annotations.read_bytes())
    (folder / "videos").symlink_to(place.videos)
    return folder


def test_a_score_of_which_no_video_could_be_read_is_no_success(place, tmp_path, capsys):
    (tmp_path / "data" / "videos").mkdir(parents=True)
    (tmp_path / "data" / "etbench.json").write_bytes(place.annotations.read_bytes())
    words = ["evaluate", place.model, "world", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main([*words, "--limit", "2"]) == 1
    assert "videos could not be read, which 2 questions are about" in capsys.readouterr().out


def test_answers_that_are_cut_off_are_counted(place, tmp_path, capsys):
    folder = place.annotations.parent
    assert main(["evaluate", place.model, "world", "--data", str(folder), "--out", str(tmp_path), "--limit", "3",
                 "--max-new-tokens", "1"]) == 0
    assert "3 answers were cut off after 1 tokens; give a larger --max-new-tokens" in capsys.readouterr().out
    assert json.loads((tmp_path / "score_clean.json").read_text())["cut_off"] == 3


def test_all_questions_about_a_video_are_in_one_shard(place, tmp_path):
    parts = [{r["video"] for r in answer(place, tmp_path / str(k), shard=(k, 2))} for k in (0, 1)]
    assert all(parts) and not parts[0] & parts[1]


def test_another_number_of_shards_is_another_evaluation(place, tmp_path):
    answer(place, tmp_path, limit=2)
    with pytest.raises(LabError, match="another number of shards"):
        answer(place, tmp_path, limit=2, shard=(0, 2))


def test_a_question_that_is_too_long_for_position_ids_is_left_unanswered(place, tmp_path, monkeypatch):
    """Behind the last position id of some language models, nothing can be read or written; others go on."""
    monkeypatch.setattr("d2vlm_lab.model.backbone.FIXED", ())
    model = tiny_model()
    model.language.config.max_position_embeddings = 100
    save_model(model, tmp_path / "model")
    changed = SimpleNamespace(**{**vars(place), "model": str(tmp_path / "model")})
    long, = answer(changed, tmp_path / "long", limit=1)
    assert long["a"] == "" and "too long for this language model" in long["error"] and "reads 100" in long["too_long"]
    short, = answer(changed, tmp_path / "short", limit=1, data=Data(fps=2.0, max_frames=2))
    assert "error" not in short

    model.language.config.max_position_embeddings = 300
    save_model(model, tmp_path / "model")
    published, = answer(changed, tmp_path / "published", e.PUBLISHED, Data(fps=2.0, max_frames=2), limit=1)
    assert "error" not in published, "an answer may have 2,048 tokens; it ends where the positions do"
