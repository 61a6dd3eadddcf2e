"""The cost model of a training step: the formulas of the documents against what is counted and kept."""

import pytest
import torch

from d2vlm_lab.lab.bench import peak_memory
from experiments.benchmarks.cost import Step, backward, counted, counted_bytes, forward, kept_bytes, prepared


def test_work_on_the_cpu_is_measured_there_also_on_a_machine_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert peak_memory(lambda: torch.ones(2**20)) == pytest.approx(4, rel=0.1)


SMALL = {"layers": 4, "width": 64, "keys": 64, "hidden": 170, "tokens": 20, "events": 2}
SIZES = [Step(30, **SMALL), Step(90, texts=3, **SMALL), Step(60, **SMALL | {"layers": 6, "tokens": 40}),
         Step(40, texts=2, **SMALL | {"width": 128, "keys": 128, "hidden": 341})]


@pytest.mark.parametrize("step", SIZES, ids=str)
def test_the_operations_of_a_step_are_those_of_the_formula(step):
    model, batch = prepared(step)
    outputs = []
    assert counted(lambda: outputs.append(model(batch))) == sum(forward(step).values())
    assert counted(lambda: outputs[0].loss.backward()) == backward(step)


@pytest.mark.parametrize("step", SIZES, ids=str)
def test_what_is_kept_for_the_backward_pass_is_what_the_formula_says(step):
    model, batch = prepared(step)
    assert counted_bytes(model, lambda: model(batch)) == pytest.approx(kept_bytes(step), rel=0.05)
