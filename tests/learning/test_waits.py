"""A training step hardly ever waits for the device: what can be known from a batch is counted when it is made."""

import pytest
import torch
from small import tiny_model
from waits import waits

from d2vlm_lab.config import RunConfig
from d2vlm_lab.data.groups import Collator, Groups, group_by_video
from d2vlm_lab.data.rejects import preference_data
from d2vlm_lab.data.splits import reader
from d2vlm_lab.data.world import WorldConfig, load
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.learning.fpo import Preferences, log_probabilities
from d2vlm_lab.learning.trainer import GroundedTrainer, arguments
from d2vlm_lab.settings import override


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return load(make_world(tmp_path_factory.mktemp("waits") / "world",
                           override(WorldConfig(), {"videos": 10, "seed": 3}), workers=1))


def a_step(world, tmp_path, form, reference=False):
    """A trainer and a batch for one of its steps."""
    config = override(RunConfig(), {"preference.form": form, "preference.reference": reference,
                                    "data.world": str(world.folder), "method.semantic_layer": 1})
    model = tiny_model()
    samples = [sample for sample in world.samples("train") if sample.answer]
    rejects = preference_data(config, samples).rejects
    groups = Groups(group_by_video(samples, 3, 0), reader(config, model.frames, world.videos), model.tokenizer,
                    model.prompt, model.method, rejects)
    collator = Collator(model.tokenizer, model.prompt)
    preferences = Preferences(config.preference, model) if form != "off" else None
    trainer = GroundedTrainer(model=model, args=arguments(config, tmp_path), train_dataset=groups, eval_dataset=groups,
                              config=config, data_collator=collator, stage=preferences)
    trainer.current_gradient_accumulation_steps = 1
    return trainer, lambda: collator([groups[k] for k in range(4)])


@pytest.mark.parametrize("form, reference", [("off", False), ("fpo", False), ("fpo", True), ("dpo", True)])
def test_a_training_step_waits_at_most_once(form, reference, world, tmp_path):
    trainer, batch = a_step(world, tmp_path, form, reference)
    trainer.training_step(trainer.model, batch())
    inputs = batch()
    with waits() as seen:
        trainer.training_step(trainer.model, inputs)
    assert len(seen) <= 1, seen


def test_the_reference_is_the_policy_as_it_was_and_stays_on_the_device(world, tmp_path):
    trainer, batch = a_step(world, tmp_path, "fpo", reference=True)
    model, preferences, batch = trainer.model.eval(), trainer.stage, batch()["batch"]
    with torch.no_grad():
        expected = log_probabilities(model(batch), batch, model.method).total()
        for value in model.parameters():
            value.add_(0.01)
    assert torch.equal(preferences.reference(model, batch), expected)
    kept = dict(preferences.before.weights)
    assert torch.equal(preferences.reference(model, batch), expected)
    assert all(value is kept[name] and value.device == model.device
               for name, value in preferences.before.weights.items())
