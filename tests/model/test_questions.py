"""A frame encoder that reads the question sees each video with the question that is asked about it."""

import numpy as np
import pytest
import torch
from small import eva_qformer, tiny_model

from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.batch import Clip
from d2vlm_lab.data.groups import Collator, Groups, group_by_video
from d2vlm_lab.data.sample import Sample
from d2vlm_lab.ideas.evidence import Event
from d2vlm_lab.judging.predict import predict
from d2vlm_lab.lab.run import summary
from d2vlm_lab.model.decoding import Decoding


@pytest.fixture
def model():
    """Its Q-Former is made to look at the question much more than at the frame."""
    model = tiny_model(eva_qformer(32)).eval()
    with torch.no_grad():
        model.frames.projector.expand.weight.mul_(100)
        model.frames.projector.out[1].weight.mul_(30)
    return model


@pytest.fixture
def read(model):
    pictures = torch.randint(0, 256, (9, 28, 28, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = model.frames.encode(pictures)
    return lambda sample: Clip(features, np.arange(9) / 2)


def sample(name, question):
    return Sample(name, "a.mp4", 4.5, "tvg", "world", question, (Event(1.0, 2.0),), ("It happens in ", 0))


SAMPLES = [sample("spin", "when does the red disc spin?"), sample("leave", "who leaves the house, and how?"),
           sample("again", "when does the red disc spin?")]


@torch.no_grad()
def losses(model, groups, read):
    """-log p of each sample's answer, all groups in one batch."""
    data = Groups(groups, read, model.tokenizer, model.prompt, model.method)
    batch = Collator(model.tokenizer, model.prompt)([data[i] for i in range(len(groups))])["batch"]
    output = model(batch)
    return {name: -float(output.log_p[output.target_row == row].sum()) for row, name in enumerate(batch.names)}


def test_two_questions_about_one_video_are_learned_as_each_alone(model, read):
    alone = {name: loss for each in SAMPLES for name, loss in losses(model, [[each]], read).items()}
    groups = group_by_video(SAMPLES, 4, seed=0, by_question=model.frames.reads_question)
    assert sorted(len(group) for group in groups) == [1, 2]
    assert losses(model, groups, read) == pytest.approx(alone, rel=1e-4)
    shared = losses(model, group_by_video(SAMPLES, 4, seed=0), read)  # what an encoder without questions may do
    assert shared != pytest.approx(alone, rel=1e-4)


def test_two_questions_about_one_video_are_answered_as_each_alone(model, read):
    def answers(samples):
        return {p.sample.id: p.generated.ids for p in predict(model, samples, read, Decoding(12))}

    alone = {name: ids for each in SAMPLES for name, ids in answers([each]).items()}
    assert answers(SAMPLES) == alone
    model.frames.reads_question = False
    assert answers(SAMPLES) != alone


def test_the_summary_of_a_run_says_that_the_question_is_read(model):
    assert "the frame encoder reads the question" in summary(model, RunConfig(), [SAMPLES], SAMPLES)
    assert "reads the question" not in summary(tiny_model(), RunConfig(), [SAMPLES], [])
