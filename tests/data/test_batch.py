"""From samples to tensors: times become frames and back, prompts follow the tokenizer, evidence is found."""

import numpy as np
import pytest
import torch
from small import clip, mixed, model, text, tokenizer

from d2vlm_lab.data.batch import (
    GROUNDED,
    IGNORE,
    QUESTION,
    REFERENCED,
    Clip,
    PromptFormat,
    encode_prompt,
    tensor_to_seconds,
    to_frames,
    to_seconds,
)
from d2vlm_lab.data.sample import SampleError


def test_seconds_and_frames_convert_both_ways_also_where_frames_are_uneven():
    even, uneven = np.arange(10) / 2, np.array([0.0, 0.4, 1.5, 1.6, 4.0])
    assert to_frames((1.0, 2.25), even) == (2.0, 4.5)
    assert to_frames((0.2, 2.8), uneven) == (0.5, 3.5)
    assert to_frames((-1.0, 99.0), even) == (0.0, 9.0)
    for times in (even, uneven):
        for frames in ((0, 3), (1, 4), (2, 2)):
            assert to_frames(to_seconds(frames, times), times) == frames


def test_a_tensor_of_positions_becomes_the_same_seconds():
    times, positions = np.array([0.0, 0.4, 1.5, 1.6, 4.0], np.float32), [(0.5, 1.5), (-1.0, 9.0), (2.0, 3.25)]
    found = tensor_to_seconds(torch.tensor(positions), torch.tensor(times))
    assert torch.allclose(found, torch.tensor([to_seconds(span, times) for span in positions]))
    assert tensor_to_seconds(torch.tensor([0.0, 0.0]), torch.tensor([2.0])).tolist() == [2.0, 2.0]


def test_the_prompt_is_read_off_a_chat_template():
    words = tokenizer()
    words.chat_template = ("{% for m in messages %}[{{ m.role }}]{{ m.content }}[stop]{% endfor %}"
                           "{% if add_generation_prompt %}[assistant]{% endif %}")
    form = PromptFormat.of(words, "be kind")
    assert form.before == "[system]be kind[stop][user]"
    assert form.after.format(question="what? {x}") == "\nwhat? {x}[stop][assistant]"
    assert form.stop == "[stop]"


def test_roles_pairs_and_positions_of_a_mixed_batch():
    net = model()
    _, texts, batch = mixed(net)
    token = net.tokenizer.convert_tokens_to_ids("<evi>")
    assert (batch.ids[batch.row, batch.column] == token).all() and (batch.ids == token).sum() == len(batch.row)
    assert batch.role.bincount().tolist() == [3, 5, 5]  # asked, grounded, referenced
    first, second = batch.pairs.unbind(-1)
    assert (batch.role[first] == GROUNDED).all() and (batch.role[second] == REFERENCED).all()
    assert torch.equal(batch.interval[first], batch.interval[second])
    assert torch.equal(batch.row[first], batch.row[second]) and QUESTION == 0
    assert batch.video.tolist() == [0, 0, 1, 2, 2]


def test_only_the_answer_is_learned():
    net = model()
    one = text(net, clip(9))
    learned = [token for token, label in zip(one.ids, one.labels) if label != IGNORE]
    assert net.tokenizer.decode(learned) == "<evi></evi> It happens in <evi>, <end>"
    assert all(label in (IGNORE, token) for token, label in zip(one.ids, one.labels))


def test_left_and_right_padding_hold_the_same_tokens():
    net = model()
    left, right = mixed(net, "left")[2], mixed(net, "right")[2]
    for a, b in zip(left.ids[left.mask].tolist(), right.ids[right.mask].tolist()):
        assert a == b
    assert torch.equal(left.ids[left.row, left.column], right.ids[right.row, right.column])


def test_a_question_with_too_few_intervals_is_refused():
    net = model()
    with pytest.raises(SampleError, match="holds 1 <evi>, but 0 intervals"):
        encode_prompt("what is in <evi>?", (), clip(5), net.tokenizer, net.prompt)


def test_a_batch_moves_whole():
    batch = mixed(model())[2].to("meta")
    assert batch.ids.device.type == batch.features[0].device.type == "meta" and isinstance(batch.names, list)
    assert isinstance(clip(3), Clip)
