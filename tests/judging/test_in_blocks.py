"""Videos longer than memory: read block by block they are answered as if read at once, and memory stays bounded."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import WORDS, points_often, same_evidence, tiny_model

from d2vlm_lab.cli import main
from d2vlm_lab.config import from_flat
from d2vlm_lab.data.batch import Clip
from d2vlm_lab.data.groups import encode_question
from d2vlm_lab.data.live.sources import TimedFrame
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.data.video import write_frames
from d2vlm_lab.data.world import load as load_world
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.ideas.speaking import Rule
from d2vlm_lab.judging.exam import examine
from d2vlm_lab.judging.in_blocks import as_said, blocks, listen, predict_in_blocks
from d2vlm_lab.judging.live_exam import asked_during
from d2vlm_lab.judging.predict import predict
from d2vlm_lab.model.checkpoint import save as save_model
from d2vlm_lab.model.decoding import Decoding
from d2vlm_lab.model.frames import encode_all
from d2vlm_lab.model.streaming.memory import Memory
from d2vlm_lab.model.streaming.standing import StandingQuestion
from d2vlm_lab.model.streaming.stream import Stream
from d2vlm_lab.model.towers.tiny import TinyFrames

QUICK = Decoding(max_new_tokens=8)


def blocked(block=3):
    net = tiny_model(TinyFrames(WORDS, width=32, features=16, channels=8, size=16)).eval()
    net.method = replace(net.method, frame_block=block)
    return net


def frames(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def shown(net, n, seed=0):
    return Clip(encode_all(net.frames, torch.from_numpy(frames(n, seed))), np.arange(n) / 2)


def asked(video="a", n=4):
    return [Sample(f"{video}{k}", video, 10.0, "tvg", "s", f"when does it spin {'x' * k}?", (Event(1.0, 3.0),))
            for k in range(n)]


def test_answers_from_blocks_are_those_of_the_whole_video(monkeypatch):
    points_often(monkeypatch)
    net = blocked()
    clips = {"a": shown(net, 17), "b": shown(net, 8, 1)}
    samples = asked("a") + asked("b", 2)

    def read(sample):
        return clips[sample.video]

    whole = {p.sample.id: p.generated for p in predict(net, samples, read, QUICK)}
    for memory in (Memory(), Memory(frames=17)):
        for p in predict_in_blocks(net, samples, read, memory, QUICK, batch=3):
            assert p.generated.ids == whole[p.sample.id].ids
            assert same_evidence(p.generated, whole[p.sample.id])


def test_frames_that_are_not_encoded_yet_give_the_same():
    net = blocked()
    raw = Clip(torch.from_numpy(frames(11)), np.arange(11) / 2)
    for (a, _), (b, _) in zip(blocks(net, raw, Memory()), blocks(net, shown(net, 11), Memory()), strict=True):
        torch.testing.assert_close(a.states, b.states)


def test_no_more_frames_are_kept_than_allowed_however_long_the_video_is():
    net, sizes = blocked(), []
    for kept, _ in blocks(net, shown(net, 90), Memory(frames=9, sinks=2)):
        sizes.append((len(kept.index), kept.position_ids.shape[1]))
    assert max(n for n, _ in sizes) == 9 and max(tokens for _, tokens in sizes[5:]) == sizes[5][1]
    assert kept.index.tolist() == list(range(81, 90))


def heard(net, sample, rule=None):
    """What a stream of pictures says to a standing question, and its curve."""
    stream = Stream(net, Memory())
    nothing = Clip(stream.kept.projected, stream.kept.timestamps, projected=True)
    prompt = encode_question(sample, nothing, net.tokenizer, net.prompt, net.method)
    question, updates = StandingQuestion(net, sample.question, prompt, stream.kept, rule), []
    for k, pixels in enumerate(frames(23)):
        if (block := stream.add(TimedFrame(k, k / 2, pixels))) is not None:
            updates += question.extend(block, stream.newest.seconds)
    for block in stream.end():
        updates += question.extend(block, 11.0)
    return [as_said(update) for update in (*updates, *question.end(11.0))], list(question.curve)


def test_standing_questions_say_what_they_say_to_a_stream():
    """The features come from a file here, and from pictures there; the moments at which it is said are the same."""
    net, samples = blocked(2), asked(n=2)
    _, curve = heard(net, samples[0])
    rule = Rule(*np.quantile(curve, (0.7, 0.48)).tolist(), patience=1, least=2)
    said = listen(net, samples, shown(net, 23), Memory(), rule)
    assert said == [heard(net, sample, rule)[0] for sample in samples]
    assert {update.kind for updates in said for update in updates} >= {"opened", "extended", "closed"}


def test_a_question_in_the_middle_sees_half_of_the_event_and_this_half_is_the_truth():
    net, seen = blocked(), []
    clip = shown(net, 20)
    samples = [*asked(n=1), replace(asked(n=1)[0], id="options", options=("x", "y"))]

    def ask(early, read):
        seen.extend((sample, read(sample)) for sample in early)
        return predict(net, early, read, QUICK)

    scores = asked_during(samples, lambda sample: clip, ask)
    (sample, beginning), = seen
    assert sample.events[0].interval == (1.0, 2.0) and beginning.timestamps.tolist() == [0, 0.5, 1, 1.5, 2]
    assert torch.equal(beginning.features, clip.features[:5]) and 0 <= scores["during_F1@0.5"] <= 1
    assert asked_during(samples[1:], lambda sample: clip, ask) == {}
    picture = Clip(clip.features[:1], clip.timestamps[:1])
    assert asked_during(samples, lambda sample: picture, ask).keys() == {"during_F1@0.5"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    make_world(folder / "world", WorldConfig(videos=20, size=32, questions=6), workers=1)
    save_model(blocked(), folder / "model")
    save_model(tiny_model(TinyFrames(WORDS, width=32, features=16, channels=8, size=16)), folder / "whole")
    return SimpleNamespace(folder=folder, world=folder / "world", model=folder / "model", whole=folder / "whole")


def evaluate(place, out, *words, model=None):
    return main(["evaluate", str(model or place.model), "world", "--data", str(place.world), "--out", str(out),
                 "--max-new-tokens", "6", "--cache", "off", "--limit", "5", *words])


def answers(out):
    return [json.loads(line)["a"] for line in (out / "answers_0_of_1.jsonl").read_text().splitlines()]


def test_a_benchmark_is_evaluated_block_by_block(place, tmp_path, capsys):
    assert evaluate(place, tmp_path / "whole") == evaluate(place, tmp_path / "blocks", "--keep-frames", "32") == 0
    assert answers(tmp_path / "whole") == answers(tmp_path / "blocks")
    assert json.loads((tmp_path / "blocks" / "run.json").read_text())["memory"]["frames"] == 32
    assert evaluate(place, tmp_path / "blocks", "--keep-frames", "8") == 2
    assert "another memory" in capsys.readouterr().err
    assert evaluate(place, tmp_path / "merged", "--keep-frames", "8", "--forget", "merge") == 0


def test_a_checkpoint_whose_frames_see_all_others_is_one_clear_error(place, tmp_path, capsys):
    assert evaluate(place, tmp_path / "out", "--keep-frames", "8", model=place.whole) == 2
    message = capsys.readouterr().err
    assert "method.frame_block" in message and message.count("\n") == 1


def test_the_exam_of_a_live_model_has_its_own_scores_and_leaves_the_others_alone(place, monkeypatch):
    monkeypatch.chdir(place.folder)
    settings = {"parts.start": str(place.model), "data.world": str(place.world), "data.cache": "off",
                "method.frame_block": 3, "evaluation.max_new_tokens": 6, "evaluation.tasks": ["tvg", "dvc"]}
    net = blocked()
    plain = examine(net, from_flat(settings), 3).scores
    live = examine(net, from_flat(settings | {"evaluation.live": True}), 3).scores
    kept = examine(net, from_flat(settings | {"evaluation.live": True, "evaluation.keep_frames": 32}), 3).scores
    assert {name: live[name] for name in plain} == plain
    assert kept == {name: live[name] for name in kept} and live.keys() - kept.keys() <= {
        "spread", "read_at_0.5", *(name for name in plain if name.startswith(("held_out_", "prefers_")))}
    assert {"during_F1@0.5", "live_F1_at_end", "live_false"} <= live.keys() - plain.keys()
    assert load_world(place.world).samples("val")


def test_frames_that_see_all_others_cannot_be_kept_in_blocks():
    with pytest.raises(LabError, match="evaluation.keep_frames"):
        from_flat({"evaluation.keep_frames": 16})


@pytest.mark.slow
def test_ten_times_as_many_frames_take_no_more_memory(tmp_path):
    """Decoded, encoded, read and answered in a process of its own: six minutes of video, then an hour."""
    save_model(blocked(24), tmp_path / "model")

    def peak(n):
        folder = tmp_path / str(n)
        (folder / "videos").mkdir(parents=True)
        moving = frames(1)[0].repeat(4, 0).repeat(4, 1)

        class Film:
            def __getitem__(self, index):
                return moving

            def __iter__(self):
                return (np.roll(moving, k, 0) for k in range(n))

        write_frames(folder / "videos" / "long.mp4", Film(), 2)
        record = {"version": 1.0, "idx": 0, "task": "tvg", "source": "world", "video": "long.mp4", "duration": n / 2,
                  "tgt": [3.0, 5.0], "q": "when does it spin?"}
        (folder / "etbench.json").write_text(json.dumps([record]))
        words = ["evaluate", str(tmp_path / "model"), "world", "--data", str(folder), "--out", str(folder / "out"),
                 "--max-new-tokens", "6", "--max-frames", "100000", "--keep-frames", "64"]
        command = ("from d2vlm_lab.cli import main; from d2vlm_lab.files import peak_megabytes; "
                   f"assert main({words!r}) == 0; print(peak_megabytes())")
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, cwd=tmp_path)
        shown_to = json.loads((folder / "out" / "answers_0_of_1.jsonl").read_text())["shown"]
        assert shown_to == [0.0, (n - 1) / 2]
        return float(done.stdout.splitlines()[-1])

    short, long = peak(720), peak(7_200)
    assert long < short + 30, f"{short:.0f} MB for six minutes, {long:.0f} MB for an hour"
