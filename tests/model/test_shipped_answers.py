"""The checkpoints that come along write the same tokens in every form and in every batch."""

import pytest

from d2vlm_lab.model.decoding import Decoding
from experiments.benchmarks.tiny_exam import before, now, prepared

LIMIT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shipped")


@pytest.mark.parametrize("checkpoint", ["data/tiny-sft", "data/tiny-coupled"])
def test_a_shipped_checkpoint_writes_the_same_in_both_forms_and_in_any_batch(checkpoint, folder):
    model, samples, read, _ = prepared(str(folder), checkpoint, videos=6)
    expected = before(model, samples, read, LIMIT, 32)
    assert len(expected) == len(samples) >= 12 and len(set(expected.values())) > 6
    for batch in (128, 5, 1):
        assert now(model, samples, read, Decoding(LIMIT), batch) == expected
    drawn = [now(model, samples, read, Decoding(LIMIT, temperature=1.0, seed=3), batch) for batch in (128, 5)]
    assert drawn[0] == drawn[1] != expected
