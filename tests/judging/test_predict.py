"""Which questions are answered together: as many as the memory allows, and each video is read once for all of them."""

from collections import Counter

import numpy as np
import pytest
import torch
from small import clip, eva_qformer, model, tiny_model

from d2vlm_lab.data.batch import Clip
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.judging import predict as module
from d2vlm_lab.judging.predict import predict
from d2vlm_lab.model.decoding import Decoding

LENGTHS = {"a": 12, "b": 7, "c": 9, "d": 3}
SAMPLES = [Sample(f"{video}{n}", video, 6.0, "tvg", "world", f"when does it spin {n} times?", (Event(1.0, 2.0),),
                  ("in ", 0)) for n in range(5) for video in LENGTHS if n < 3 or video == "b"]


def answers(net, read, monkeypatch, batch=128, **changes):
    """The ids of all answers; and for each batch the frames of its videos and the number of its texts."""
    batches, generate = [], module.generate

    def counted(net, clips, prompts, *rest):
        batches.append(([len(each.timestamps) for each in clips], sum(map(len, prompts)), clips))
        return generate(net, clips, prompts, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, "generate", counted)
        for name, value in changes.items():
            patch.setattr(module, name, value)
        found = {p.sample.id: p.generated.ids for p in predict(net, SAMPLES, read, Decoding(6), batch)}
    assert set(found) == {sample.id for sample in SAMPLES}
    return found, batches


def read_small(sample):
    return clip(LENGTHS[sample.video], len(sample.video))


def test_a_batch_holds_as_many_texts_as_the_budgets_allow(monkeypatch):
    net = model()
    expected, batches = answers(net, read_small, monkeypatch)
    assert [(frames, texts) for frames, texts, _ in batches] == [([12, 7, 9, 3], 14)]
    found, batches = answers(net, read_small, monkeypatch, FRAME_TOKENS=24)
    assert [(frames, texts) for frames, texts, _ in batches] == [([12, 7], 8), ([9, 3], 6)] and found == expected
    found, batches = answers(net, read_small, monkeypatch, batch=4)
    assert [texts for _, texts, _ in batches] == [3, 4, 4, 3] and found == expected
    found, batches = answers(net, read_small, monkeypatch, ANSWER_TOKENS=13)
    assert max(texts for _, texts, _ in batches) == 2 and found == expected


def test_where_each_text_has_a_copy_of_its_frames_all_copies_count(monkeypatch):
    net = model()
    net.fast = False
    expected, _ = answers(net, read_small, monkeypatch)
    found, batches = answers(net, read_small, monkeypatch, FRAME_TOKENS=30)
    assert all(max(frames) * texts <= 30 for frames, texts, _ in batches) and found == expected
    assert len(answers(net, read_small, monkeypatch, FRAME_TOKENS=1)[1]) == len(SAMPLES)


def test_each_video_is_read_once_and_in_its_place(monkeypatch):
    read = Counter()

    def counting(sample):
        read[sample.video] += 1
        return read_small(sample)

    answers(model(), counting, monkeypatch, batch=2)
    assert read == dict.fromkeys(LENGTHS, 1)


@pytest.mark.parametrize("training", [True, False])
def test_patches_of_several_videos_are_never_held_together(training, monkeypatch):
    net = tiny_model(eva_qformer(32)).train(training)
    net.frames.reads_question = False  # so that several questions share a video
    pictures = torch.randint(0, 256, (12, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    patches = net.frames.encode(pictures)

    def read(sample):
        n = LENGTHS[sample.video]
        return Clip(patches[:n], np.arange(n) / 2)

    expected, batches = answers(net, read, monkeypatch, LARGE=100)
    assert [each.features.shape[1:] for each in batches[0][2]] == [patches.shape[1:]] * 4
    found, batches = answers(net, read, monkeypatch, LARGE=1)
    assert [each.features.shape for each in batches[0][2]] == [(n, 32) for n in LENGTHS.values()]
    assert found == expected and net.training is training and net.frames.projector.training is training
