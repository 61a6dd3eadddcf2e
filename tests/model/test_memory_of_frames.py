"""A long video needs little more memory than a short one, also with the many patches of the authors' encoder."""

import pytest
import torch
from small import eva_qformer
from torch.profiler import ProfilerActivity, profile


def peak(run):
    """The most bytes of tensors that were alive at a time while it ran, beyond those from before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive, most = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    return most


def patches(frames, seed=0):
    return torch.randn(frames, 64, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False])
def test_patches_are_projected_in_parts(training):
    encoder = eva_qformer().train(training)
    encoder.open("all")
    question = "when does the person open the door?"

    def project(*lengths):
        with torch.set_grad_enabled(training):
            tokens = encoder.project_batch([patches(n, n) for n in lengths], [question] * len(lengths))
            if training:
                torch.cat(tokens).sum().backward()
            encoder.zero_grad()

    project(8)
    one, long, many = peak(lambda: project(64)), peak(lambda: project(350)), peak(lambda: project(350, 340, 330))
    given = {frames: patches(frames).nbytes for frames in (64, 350, 1020)}
    assert long - given[350] < 1.5 * (one - given[64])
    assert many - given[1020] < 1.5 * (one - given[64])


@pytest.mark.parametrize("opened", ["frozen", "attention", "all"])
def test_parts_give_the_tokens_and_the_gradients_of_the_whole(monkeypatch, opened):
    encoder = eva_qformer().eval()
    encoder.open(opened)

    def project():
        encoder.zero_grad()
        tokens = encoder.project(patches(10), "open the door")
        if opened != "frozen":
            tokens.square().sum().backward()
        return tokens, {name: value.grad.clone() for name, value in encoder.named_parameters() if value.requires_grad}

    tokens, gradients = project()
    monkeypatch.setattr("d2vlm_lab.model.frames.AT_ONCE", 4)
    in_parts, gradients_in_parts = project()
    torch.testing.assert_close(in_parts, tokens)
    assert bool(gradients) == (opened != "frozen")
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_in_parts[name], gradient, atol=1e-4, rtol=1e-4)
