"""Video-language models: here they compute what their own forward computes, without a video and with one."""

import json
import re

import numpy as np
import pytest
import torch
from small import history, language, text
from small import model as model_of_parts
from transformers import AutoModelForImageTextToText
from vl_folders import folder, whole_model

from d2vlm_lab.config import Method, Parts, RunConfig, read_config
from d2vlm_lab.data.batch import FRAME, Clip, PromptFormat, collate, encode_prompt
from d2vlm_lab.data.branches import find_branches
from d2vlm_lab.data.live.sources import TimedFrame
from d2vlm_lab.data.world.config import WorldConfig
from d2vlm_lab.data.world.make import make_world
from d2vlm_lab.errors import LabError
from d2vlm_lab.lab.rehearsal.video_language import VIDEO_LANGUAGE
from d2vlm_lab.lab.run import train
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.backbone import logits_of
from d2vlm_lab.model.card import model_card
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.decoding import Decoding, generate
from d2vlm_lab.model.language import load_language
from d2vlm_lab.model.mrope import frame_position_ids
from d2vlm_lab.model.passes import decode, position_ids_of, shift_after
from d2vlm_lab.model.start import attend_with, start
from d2vlm_lab.model.streaming.stream import Stream
from d2vlm_lab.model.video_language import take_apart
from d2vlm_lab.settings import from_dict, override

KINDS = ("qwen2_5_vl", "qwen3_vl", "smolvlm")
PARTS = {"start": "", "frames": "own", "frame_tokens": 4}


def load_small(path, kind, parts=None, **method):
    path.mkdir(exist_ok=True)
    settings = PARTS | {"language": folder(path, kind)} | (parts or {})
    torch.manual_seed(2)
    return load_language(Parts(**settings), Method(**{"semantic_layer": 2} | method)).eval()


def pictures(n, side, seed=3):
    return torch.randint(0, 255, (n, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def clip(model, n, seed=3, gap=0.5):
    return Clip(model.frames.encode(pictures(n, model.frames.size, seed)), np.arange(n) * gap)


def batch_of(model, *lengths):
    clips = [clip(model, n, seed) for seed, n in enumerate(lengths)]
    texts = [[text(model, each, "when?", ((0.5, 1),)), text(model, each, "what then?", ((0, 0.5), (0.5, 1)))]
             for each in clips]
    return collate(clips, texts, model.tokenizer, model.prompt)


# Equal to the family's own forward.

@pytest.mark.parametrize("kind", KINDS)
def test_without_a_video_the_logits_are_those_of_the_family(tmp_path, kind):
    model, whole = load_small(tmp_path, kind), whole_model(kind)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected, found = whole(input_ids=ids).logits, model.language(input_ids=ids).logits
    torch.testing.assert_close(found[..., :expected.shape[-1]], expected)


def family_logits(whole, model, batch, frames):
    """What the family's own forward says to the first text of a batch with one video, from ids and pixels."""
    c, n = whole.config, model.frames.tokens_per_frame
    picture = getattr(c, "video_token_id", c.image_token_id)
    frame = torch.full((n,), picture)
    layout = batch.layout[0][0] if batch.layout is not None else torch.full((len(frames),), -1)
    between = torch.cat([frame if token < 0 else token[None] for token in layout])
    ids = torch.cat([batch.before_ids[0], between, batch.ids[0][batch.mask[0]]])[None]
    pixels = model.frames.preparation.pixels(frames)
    if c.model_type == "smolvlm":
        return whole(input_ids=ids, pixel_values=pixels[None]).logits[0]
    side = model.frames.size // c.vision_config.patch_size
    settings = {"second_per_grid_ts": torch.tensor([0.5])} if c.model_type == "qwen2_5_vl" else {}
    return whole(input_ids=ids, pixel_values_videos=family_patches(pixels, c.vision_config),
                 video_grid_thw=torch.tensor([[len(frames), side, side]]),
                 mm_token_type_ids=2 * (ids == picture), **settings).logits[0]


def family_patches(pixels, c):
    """A video of frames that are each shown twice, cut as the processor of Qwen2-VL cuts it."""
    video, patch, merge, pair = pixels.repeat_interleave(2, 0), c.patch_size, c.spatial_merge_size, 2
    time, channels, side = len(pixels), 3, pixels.shape[-1] // patch
    cells = video.view(time, pair, channels, side // merge, merge, patch, side // merge, merge, patch)
    return cells.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(time * side * side, -1)


def our_logits(model, batch, keep):
    prefix = model.read(batch, keep=keep)
    model.two_pass = not keep
    model.fast = False  # the faster form computes the last states only where an answer is predicted
    states = model.read_texts(batch, prefix, model.embed(batch, prefix))
    return logits_of(model.language, states.last[0][batch.mask[0]])


def both_logits(path, kind, keep, frame_times):
    """Ours and the family's, after the same three frames and the same words."""
    model = load_small(path, kind, {"frame_tokens": 9}, frame_times=frame_times, bidirectional_frames=False)
    whole = whole_model(kind)
    whole.resize_token_embeddings(len(model.tokenizer), mean_resizing=False)
    whole.get_output_embeddings().weight.data = model.language.get_output_embeddings().weight.data
    frames = pictures(3, model.frames.size)
    shown = Clip(model.frames.encode(frames), np.arange(3) * 0.5)
    batch = collate([shown], [[encode_prompt("what is seen?", (), shown, model.tokenizer, model.prompt)]],
                    model.tokenizer, model.prompt)
    assert (batch.layout is None) == (kind == "qwen2_5_vl")
    with torch.no_grad():
        found = our_logits(model, batch, keep)
        return found, family_logits(whole, model, batch, frames)[-len(found):]


@pytest.mark.parametrize("frame_times", ["off", "text"])
def test_a_video_is_read_while_it_runs_as_it_is_read_whole(tmp_path, frame_times):
    model = load_small(tmp_path, "smolvlm", frame_times=frame_times, frame_block=2)
    frames = pictures(5, model.frames.size)
    stream = Stream(model)
    for k, pixels in enumerate(frames.numpy()):
        stream.add(TimedFrame(k, k * 0.5, pixels))
    stream.end()
    shown = Clip(model.frames.encode(frames), np.arange(5) * 0.5)
    with torch.no_grad():
        prefix = model.read(collate([shown], [[text(model, shown)]], model.tokenizer, model.prompt))
    torch.testing.assert_close(stream.kept.states, prefix.frame_states[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(stream.kept.meaning, prefix.meaning[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_positions_of_three_parts_cannot_be_counted_while_a_video_runs(tmp_path, kind):
    with pytest.raises(LabError, match="count the time of a whole video at once"):
        Stream(load_small(tmp_path, kind, frame_block=2))


@pytest.mark.parametrize("change", ["method.standing_weight=1", "data.ask_early=0.5", "evaluation.keep_frames=4"])
def test_what_such_a_model_can_never_do_is_refused_when_it_is_made(tmp_path, change):
    parts = [f"parts.language={folder(tmp_path, 'qwen3_vl')}", "parts.frame_tokens=4", "method.semantic_layer=2"]
    with pytest.raises(LabError, match=f"^{change.split('=')[0]}: qwen3_vl_text models count the time of a whole"):
        start(read_config("qwen3vl", [*parts, "method.frame_block=2", change]))


@pytest.mark.parametrize("keep", [True, False], ids=["one_pass", "two_passes"])
@pytest.mark.parametrize("kind, frame_times", [("qwen2_5_vl", "off"), ("qwen3_vl", "off"), ("qwen3_vl", "text"),
                                               ("smolvlm", "off"), ("smolvlm", "text")])
def test_with_a_video_the_logits_are_those_of_the_family(tmp_path, kind, keep, frame_times):
    found, expected = both_logits(tmp_path, kind, keep, frame_times)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("part", ["position ids", "added layers"])
def test_the_comparison_notices_what_is_left_out(tmp_path, monkeypatch, part):
    if part == "position ids":
        monkeypatch.setattr("d2vlm_lab.model.d2vlm.frame_position_ids",
                            lambda net, is_frame, mask, *_: position_ids_of(mask))
    else:
        def without(*args, added=(), **settings):
            return decode(*args, **settings)

        monkeypatch.setattr("d2vlm_lab.model.passes.decode", without)
    found, expected = both_logits(tmp_path, "qwen3_vl", True, "text")
    assert (found - expected).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_faster_form_of_a_step_gives_the_same_after_a_video(tmp_path, kind):
    model = load_small(tmp_path, kind, frame_times="text")
    batch = batch_of(model, 5, 3)
    with torch.no_grad():
        faster = model(batch)
        model.fast = False
        plain = model(batch)
    torch.testing.assert_close(faster.logits, plain.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(faster.loss, plain.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of transformers and of the compiler
@pytest.mark.parametrize("kind, attention", [*((kind, "eager") for kind in KINDS), ("smolvlm", "flex_attention")])
def test_every_attention_gives_the_same_after_a_video(tmp_path, kind, attention, gpu):
    model = load_small(tmp_path, kind)
    batch = batch_of(model, 5, 3)
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        expected = model(batch).logits
        attend_with(model, attention)
        torch.testing.assert_close(model(batch).logits, expected, atol=1e-4, rtol=1e-4)
    assert model.language.get_decoder().config._attn_implementation == attention


def test_an_attention_that_a_family_does_not_have_is_refused_by_name(tmp_path, gpu):
    with pytest.raises(LabError, match="parts.attention is flex_attention, which qwen3_vl_text .* do not have"):
        attend_with(load_small(tmp_path, "qwen3_vl"), "flex_attention")


@pytest.fixture
def gpu(monkeypatch):
    """A machine that seems to have a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])
def test_position_ids_are_those_of_the_family(tmp_path, kind):
    model = load_small(tmp_path, kind, frame_times="text" if kind == "qwen3_vl" else "off")
    batch, whole = batch_of(model, 3, 2), whole_model(kind)
    prefix = model.read(batch)
    for video, n_frames in enumerate((3, 2)):
        exists = prefix.mask[video]
        kinds = torch.zeros(len(exists), dtype=torch.int)
        kinds[prefix.columns[video, :n_frames].flatten()] = 2
        kinds = kinds[exists]
        settings = {"second_per_grid_ts": [0.5]} if kind == "qwen2_5_vl" else {}
        expected, _ = whole.model.get_rope_index(
            torch.zeros(1, len(kinds), dtype=torch.long), mm_token_type_ids=kinds[None],
            video_grid_thw=torch.tensor([[n_frames, 4, 4]]), **settings)
        assert torch.equal(prefix.position_ids[:, video, exists], expected[:, 0])
        assert prefix.shift[video] == expected.max() + 1 - len(kinds)


def test_the_text_goes_on_after_the_largest_id_of_a_long_video(tmp_path):
    model = load_small(tmp_path, "qwen2_5_vl")
    shown = [torch.tensor([0.0, 3.0, 10.0]), torch.tensor([4.0])]
    is_frame = torch.tensor([[False] + [True] * 12, [False] + [True] * 4 + [False] * 8])
    mask = torch.arange(13) < torch.tensor([[13], [5]])
    time, row, column = frame_position_ids(model.language, is_frame, mask, 4, shown, False)
    assert time[0].tolist() == [0] + [1] * 4 + [7] * 4 + [21] * 4
    assert row[0].tolist() == [0] + [1, 1, 2, 2] * 3 and column[0].tolist() == [0] + [1, 2, 1, 2] * 3
    ids = torch.stack([time, row, column])
    assert (shift_after(ids, mask) + mask.sum(-1, keepdim=True)).tolist() == [[22], [3]]


@pytest.mark.parametrize("kind, frame_times, expected", [
    ("qwen3_vl", "text", "user\n<0.0 seconds><|vision_start|>FF<|vision_end|>"
                         "<9.5 seconds><|vision_start|>FF<|vision_end|>when?<|im_end|>"),
    ("qwen3_vl", "off", "user\n<|vision_start|>FF<|vision_end|><|vision_start|>FF<|vision_end|>when?<|im_end|>"),
    ("qwen2_5_vl", "off", "user\n<|vision_start|>FFFF<|vision_end|>when?<|im_end|>"),
    ("smolvlm", "text", "User: \nFrame from 00:00:<fake_token_around_image><global-img>FF<fake_token_around_image>"
                        "\nFrame from 00:09:<fake_token_around_image><global-img>FF<fake_token_around_image>"
                        "\n\nwhen?<end_of_utterance>")])
def test_the_words_around_the_frames_are_those_of_the_family(tmp_path, kind, frame_times, expected):
    model = load_small(tmp_path, kind, frame_times=frame_times)
    shown = clip(model, 2, gap=9.5)
    prompt = encode_prompt("when?", (), shown, model.tokenizer, model.prompt)
    batch = collate([shown], [[prompt]], model.tokenizer, model.prompt)
    layout = batch.layout[0][0].tolist() if batch.layout is not None else [FRAME, FRAME]
    words = [model.tokenizer.decode([*batch.before_ids[0]])]
    words += ["FF" if token == FRAME else model.tokenizer.decode([token]) for token in layout]
    assert expected in "".join(words) + model.tokenizer.decode(prompt.ids)


def test_any_language_model_can_be_told_the_times_in_words():
    plain = model_of_parts(prompt=PromptFormat("watch: ", "\n{question}", "<end>", time="<{seconds:.1f} seconds>"),
                           tokens_per_frame=3, frame_times="text")
    clips = [Clip(torch.randn(n, 6), np.arange(n) * 4.0) for n in (5, 3)]
    texts = [[text(plain, each, "when?", ((4, 8),))] for each in clips]
    batch = collate(clips, texts, plain.tokenizer, plain.prompt)
    with torch.no_grad():
        one = plain(batch)
        plain.two_pass = True
        two = plain(batch)
        prefix = plain.read(batch)
    torch.testing.assert_close(one.similarity, two.similarity, atol=1e-4, rtol=1e-4)
    first = plain.frames.project(clips[0].features)[6:9].mean(0)  # the third frame
    torch.testing.assert_close(prefix.projected[0, 2], first)
    assert prefix.frame_mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]


# As part of the method.

@pytest.mark.parametrize("frame_times", ["off", "text", "embedding"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_two_passes_and_a_video_alone_agree(tmp_path, kind, frame_times):
    model = load_small(tmp_path, kind, frame_times=frame_times)
    if frame_times == "embedding":
        torch.nn.init.normal_(model.time_embedding.linear.weight)
    batch = batch_of(model, 5, 3)
    with torch.no_grad():
        one = model(batch)
        model.two_pass = True
        two = model(batch)
        model.two_pass = False
        alone = model(batch_of(model, 5))
    for name in ("logits", "similarity", "evidence"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone.logits, one.logits[:len(alone.logits)], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(alone.similarity, one.similarity[:len(alone.similarity)], atol=1e-4, rtol=1e-4)


def test_rejected_answers_branch_off_with_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("d2vlm_lab.data.branches.MIN_SPARED", 1)
    model = load_small(tmp_path, "qwen3_vl", frame_times="text")
    shown = clip(model, 4)
    texts = [text(model, shown, events=((start, start + 0.5),)) for start in (0.0, 1.0)]
    batch = collate([shown], [texts], model.tokenizer, model.prompt)
    with torch.no_grad():
        together = model(batch)
        batch.preferred = torch.tensor([0, 0])
        assert find_branches(batch) is not None
        branching = model(batch)
    torch.testing.assert_close(branching.logits, together.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_reaches_the_merger_and_the_adapter(tmp_path, kind, dtype):
    (tmp_path / "folder").mkdir()
    torch.manual_seed(2)
    place, name = folder(tmp_path / "folder", kind, dtype), str(dtype).removeprefix("torch.")
    model = load_language(Parts(**PARTS, language=place, dtype=name), Method(semantic_layer=2, frame_times="text"))
    assert model.dtype == model.frames.tower.dtype == dtype
    prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.embeddings": "evidence",
                                          "adapter.targets": "linear"})).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        batch, losses = batch_of(model, 4, 3), []
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        for _ in range(4):
            loss = model(batch).loss
            loss.backward()
            losses.append(float(loss.detach()))
            optimizer.step()
            reached = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
            optimizer.zero_grad()
    assert losses[-1] < losses[0]
    projector = {name for name, _ in model.named_parameters() if name.startswith("frames.projector.")}
    assert projector <= reached and any("lora_B" in name for name in reached)
    assert not any(name.startswith("frames.tower.") for name in reached)


@pytest.mark.parametrize("frame_times", ["off", "text"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_generates_what_the_forward_pass_predicts(tmp_path, kind, frame_times):
    model = load_small(tmp_path, kind, frame_times=frame_times, semantics="off")
    shown = clip(model, 5)
    prompt = encode_prompt("when?", (), shown, model.tokenizer, model.prompt)
    answer = generate(model, [shown], [[prompt]], Decoding(max_new_tokens=6))[0]
    written = type(prompt)(prompt.ids + list(answer.ids), prompt.labels + list(answer.ids))
    with torch.no_grad():
        logits = model(collate([shown], [[written]], model.tokenizer, model.prompt)).logits
    assert logits.argmax(-1).tolist() == list(answer.ids)


def results(model):
    with torch.no_grad():
        out = model.eval()(batch_of(model, 4))
    return torch.cat([out.logits.flatten(), out.similarity.flatten()])


@pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])
@pytest.mark.parametrize("beside", [False, True], ids=["whole", "beside_its_folder"])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same_model(tmp_path, kind, beside, tied):
    (tmp_path / "folder").mkdir()
    place = folder(tmp_path / "folder", kind, tie_word_embeddings=tied)
    model = load_language(Parts(**PARTS, language=place), Method(semantic_layer=2, frame_times="text")).eval()
    input_table, output_table = model.language.get_input_embeddings(), model.language.get_output_embeddings()
    assert (input_table.weight is output_table.weight) == tied
    untrained = results(model)
    prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.embeddings": "evidence"}))
    generator = torch.Generator().manual_seed(2)
    for value in model.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn(value.shape, generator=generator)
    again = load(save(model, tmp_path / "saved", base=str(tmp_path / "folder") if beside else ""))
    assert torch.equal(results(again), results(model)) and not torch.equal(results(again), untrained)
    assert again.prompt == model.prompt and again.frames.id == model.frames.id
    tensors = sum(path.stat().st_size for path in (tmp_path / "saved").glob("*.safetensors"))
    later = load(save(again, tmp_path / "later", base=str(tmp_path / "saved")))  # as after a second stage
    assert torch.equal(results(later), results(model))
    assert not beside or tensors < 0.6 * (tmp_path / "folder" / "model.safetensors").stat().st_size


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # in PEFT
@pytest.mark.filterwarnings("ignore:Found missing adapter keys")  # of the tower, whose layers have the same names
@pytest.mark.parametrize("embeddings", ["all", "evidence"])
@pytest.mark.parametrize("kind", KINDS)
def test_peft_loads_the_adapter_onto_the_published_model_as_the_card_says(tmp_path, monkeypatch, kind, embeddings):
    (tmp_path / "published").mkdir()
    place = folder(tmp_path / "published", kind)
    model = load_language(Parts(**PARTS, language=place), Method(semantic_layer=2)).eval()
    prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.embeddings": embeddings}))
    generator = torch.Generator().manual_seed(2)
    for value in model.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn(value.shape, generator=generator)
    saved, ids = save(model.eval(), tmp_path / "saved", base=place), torch.arange(12)[None]
    card = model_card(saved, saved)
    assert str(tmp_path) not in card
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1], found := {})
    with torch.no_grad():
        assert torch.equal(found["model"].eval()(input_ids=ids).logits, model.language(input_ids=ids).logits)
    exported = load(saved).save_pretrained(tmp_path / "exported")
    assert "Only this library loads the folder" in (exported / "README.md").read_text()


@pytest.mark.parametrize("preset, pixels, width, added", [("qwen3vl", 128, 2560, 3), ("smolvlm2", 512, 960, 0)])
def test_at_the_published_sizes_the_parts_fit_each_other(preset, pixels, width, added):
    parts = read_config(preset).parts
    with torch.device("meta"):  # shapes only
        whole = AutoModelForImageTextToText.from_config(VIDEO_LANGUAGE[parts.language][0])
    frames, language = take_apart(whole, parts.frame_tokens, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert frames.preparation.size == (pixels, pixels) and frames.added_layers == added
    assert language.config.get_text_config().hidden_size == width
    if preset == "smolvlm2":
        features = torch.empty(2, (pixels // 16) ** 2, 768, device="meta")
    else:
        features = torch.empty(2, parts.frame_tokens, 1 + added, 4 * 1024, device="meta")
    assert frames.project(features).shape == (2 * parts.frame_tokens, width * (1 + added))
    assert features[0].numel() * 4 > 10**6 and read_config(preset).data.cache == "off"  # too many bytes to keep


# Refused by name.

def test_what_cannot_be_used_is_refused_by_name(tmp_path):
    language().save_pretrained(tmp_path / "llama")
    window = {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 2}
    for kind, changes, parts, message in (
            ("qwen3_vl", {}, {"frame_tokens": 5}, "frame_tokens is 5; use a square .*qwen3_vl .* of 8 x 8 pixels"),
            ("smolvlm", {}, {"frame_tokens": 25}, "frame_tokens is 25; this tower sees 32 pixels a .* at most 16"),
            ("qwen2_5_vl", window, {}, "qwen2_5_vl: .* sliding window"),
            (None, {}, {"language": str(tmp_path / "llama")}, "is a llama model; .* qwen2_5_vl, qwen3_vl, smolvlm are"),
            (None, {}, {"language": str(tmp_path / "nowhere")}, "parts.language: .*nowhere cannot be loaded")):
        place = tmp_path / f"{kind}{len(changes)}"
        if kind:
            place.mkdir()
            parts = parts | {"language": folder(place, kind, text_config=changes)}
        with pytest.raises(LabError, match=message):
            load_language(Parts(**PARTS | parts), Method(semantic_layer=2))


def test_a_chat_template_beside_the_processor_is_found(tmp_path):
    model = load_small(tmp_path, "smolvlm", {"system": "Look."})
    template = tmp_path / "chat_template.jinja"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    again = load_language(Parts(**PARTS, language=str(tmp_path), system="Look."), Method(semantic_layer=2))
    assert again.prompt == model.prompt
    assert again.prompt.before.startswith("<|im_start|>System: Look.") and again.prompt.stop == "<end_of_utterance>"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen3_vl", "smolvlm"])
def test_a_whole_run_trains_saves_and_loads_and_the_second_stage_goes_on(tmp_path, kind):
    """The preset of each family, at small size, on a few videos of the synthetic world."""
    make_world(tmp_path / "world", from_dict(WorldConfig, {"videos": 10}), workers=1)
    (tmp_path / "folder").mkdir()
    small = {"data.world": str(tmp_path / "world"), "data.limit": 2, "data.max_frames": 8, "method.semantic_layer": 2,
             "adapter.rank": 4, "adapter.alpha": 8, "training.steps": 2, "training.accumulate": 1,
             "training.texts": 2, "training.log_every": 1, "training.eval_every": 2, "training.save_every": 1,
             "evaluation.samples": 1, "evaluation.max_new_tokens": 4}
    preset = {"qwen3_vl": "qwen3vl", "smolvlm": "smolvlm2"}[kind]
    place = folder(tmp_path / "folder", kind, torch.bfloat16)
    config = override(read_config(preset), small | {"parts.language": place, "parts.frame_tokens": 4})
    metrics = train(config, tmp_path / "run", str)
    assert "validation" in metrics and [line for line in history(tmp_path / "run") if "loss_grounding" in line]
    parts = {"parts.start": str(tmp_path / "run" / "model"), "parts.language": "", "parts.frames": "",
             "preference.form": "fpo"}
    train(override(config, parts), tmp_path / "fpo", str)
    model = load(tmp_path / "fpo" / "model")
    assert model.frames.tokens_per_frame == 4 and model.prompt.around_frame and model.can_ground
