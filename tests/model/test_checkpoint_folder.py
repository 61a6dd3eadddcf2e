"""A checkpoint is a folder that PEFT and transformers load by themselves, with the same logits."""

import json

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors import safe_open
from small import tiny_model, tokenizer
from test_families import EQUAL, small
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from d2vlm_lab.config import ROOT, Method, RunConfig
from d2vlm_lab.model.adapter import prepare
from d2vlm_lab.model.checkpoint import load, merge, save
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.settings import override

# PEFT asks for an attribute under a name that transformers has replaced.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
ADAPTERS = [{}, {"adapter.embeddings": "evidence"}, {"adapter.targets": "linear", "adapter.embeddings": "frozen"},
            {"adapter.variant": "dora"}, {"adapter.variant": "rslora", "adapter.embeddings": "evidence"}]


def qwen():
    torch.manual_seed(0)
    settings = Qwen3Config(vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=4, head_dim=8,
                           num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    return D2VLM(tiny_model().frames, AutoModelForCausalLM.from_config(settings), tokenizer(), tiny_model().method)


def trained(model, **changes):
    """The model with the adapter of these settings, in which every trained weight has moved."""
    prepare(model, override(RunConfig(), {"adapter.rank": 4, "adapter.dropout": 0.0} | changes))
    generator = torch.Generator().manual_seed(2)
    for value in model.parameters():
        if value.requires_grad:
            value.data += 0.1 * torch.randn(value.shape, generator=generator)
    return model.eval()


def logits(language_model, tokens=250):
    ids = torch.randint(0, tokens, (2, 11), generator=torch.Generator().manual_seed(3))
    ids[0, 3] = 260  # an evidence token
    with torch.no_grad():
        return language_model.eval()(input_ids=ids).logits


def names(path):
    with safe_open(path, "pt") as file:
        return set(file.keys())


@pytest.mark.parametrize("make", [tiny_model, qwen])
@pytest.mark.parametrize("changes", ADAPTERS, ids=str)
def test_peft_itself_loads_an_adapter_onto_its_base(tmp_path, make, changes):
    base = save(make(), tmp_path / "base")
    model = trained(load(base), **changes)
    folder = save(model, tmp_path / "trained", base=str(base))
    expected = logits(model.language)
    assert not torch.allclose(expected, logits(AutoModelForCausalLM.from_pretrained(base)), atol=0.1)
    assert torch.equal(logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)), expected)
    assert torch.equal(logits(AutoPeftModelForCausalLM.from_pretrained(folder)), expected)
    assert torch.equal(logits(load(folder).language), expected)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(model.tokenizer)


def test_each_weight_lies_in_one_file_and_only_trained_embeddings_lie_beside_an_adapter(tmp_path):
    base = save(tiny_model(), tmp_path / "base")
    tables = {"base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"}
    for setting in ("all", "evidence", "frozen"):
        folder = save(trained(load(base), **{"adapter.embeddings": setting}), tmp_path / setting, base=str(base))
        adapter, rest = names(folder / "adapter_model.safetensors"), names(folder / "d2vlm.safetensors")
        assert adapter & tables == (tables if setting == "all" else set())
        assert sum("trainable_tokens" in name for name in adapter) == (2 if setting == "evidence" else 0)
        assert all(name.startswith(("frame_head.", "evidence_head.", "frames.")) for name in rest)
        assert not (folder / "model.safetensors").exists() and not (folder / "language").exists()


@pytest.mark.parametrize("make", [tiny_model, qwen])
def test_a_whole_model_is_a_folder_that_transformers_loads(tmp_path, make):
    model = make().eval()
    folder = save(model, tmp_path / "whole")
    again, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(logits(again), logits(model.language)) and again.dtype == torch.float32


@pytest.mark.parametrize("changes", ADAPTERS[::3], ids=str)
def test_a_model_with_an_adapter_and_no_base_brings_its_language_model_along(tmp_path, changes):
    model = trained(qwen(), **changes)
    folder = save(model, tmp_path / "whole")
    below, report = AutoModelForCausalLM.from_pretrained(folder / "language", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(logits(PeftModel.from_pretrained(below, folder)), logits(model.language))
    assert torch.equal(logits(load(folder).language), logits(model.language))
    further = save(trained(load(folder), **changes), tmp_path / "further", base=str(folder))
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "language"), further)
    assert torch.equal(logits(again), logits(load(further).language))


@pytest.mark.parametrize("changes", ADAPTERS[:2] + ADAPTERS[3:4], ids=str)
def test_merged_it_is_a_plain_language_model_with_the_same_logits(tmp_path, changes):
    model = trained(qwen(), **changes)
    expected = logits(model.language)
    folder = save(merge(model), tmp_path / "merged")
    assert not (folder / "adapter_config.json").exists()
    for again in (AutoModelForCausalLM.from_pretrained(folder), load(folder).language):
        torch.testing.assert_close(logits(again), expected, atol=1e-4, rtol=1e-4)


def test_what_a_first_stage_changed_lies_beside_the_adapter_of_the_second(tmp_path):
    """The second stage trains no embeddings, but starts from a checkpoint that did; PEFT knows only the plain base."""
    base = save(tiny_model(), tmp_path / "base")
    first = save(trained(load(base)), tmp_path / "first", base=str(base))
    model = trained(load(first), **{"adapter.embeddings": "frozen"})
    second = save(model, tmp_path / "second", base=str(first))
    assert json.loads((second / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert torch.equal(logits(AutoPeftModelForCausalLM.from_pretrained(second)), logits(model.language))
    heads = save(trained(load(first), **{"adapter.targets": "none", "adapter.embeddings": "frozen"}),
                 tmp_path / "heads", base=str(first))
    assert torch.equal(logits(AutoPeftModelForCausalLM.from_pretrained(heads)), logits(load(first).language))


def test_a_language_model_that_is_trained_as_a_whole_lies_plainly_beside_its_base(tmp_path):
    base = save(tiny_model(), tmp_path / "base")
    model = trained(load(base), **{"adapter.targets": "all", "adapter.frames": "frozen"})
    folder = save(model, tmp_path / "trained", base=str(base))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), logits(model.language))
    assert names(folder / "d2vlm.safetensors") == {name for name in model.state_dict() if "_head." in name
                                                   and not name.startswith("language.")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["codegen", "falcon", "gemma2", "gpt_neox", "gpt_oss", "mixtral", "opt", "phi3"])
def test_in_other_families_too(tmp_path, name):
    model = D2VLM(tiny_model().frames, small(name, EQUAL[name]), tokenizer(), Method(semantic_layer=1))
    base = save(model, tmp_path / "base")
    model = trained(load(base))
    folder, expected = save(model, tmp_path / "trained", base=str(base)), logits(model.language)
    assert torch.equal(logits(AutoPeftModelForCausalLM.from_pretrained(folder)), expected)
    merged = AutoModelForCausalLM.from_pretrained(save(merge(model), tmp_path / "merged"))
    torch.testing.assert_close(logits(merged), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["tiny-sft", "tiny-coupled"])
def test_a_checkpoint_of_before_loads_and_is_saved_as_one_of_today(tmp_path, name):
    old = ROOT / "data" / name
    assert not (old / "d2vlm.safetensors").exists()
    model = load(old)
    base = json.loads((old / "d2vlm.json").read_text())["base"]
    folder = save(model, tmp_path / "today", base=base)
    again = load(folder).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    plain = save(load(base), tmp_path / "base")
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(plain), folder)
    assert torch.equal(logits(peft), logits(model.language))


def test_two_checkpoints_of_the_same_weights_are_the_same_files(tmp_path):
    one, two = (save(trained(tiny_model()), tmp_path / name) for name in "ab")
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files) and len(files) > 6


def test_who_may_read_the_other_files_may_read_the_weights(tmp_path):
    save(tiny_model(), tmp_path / "saved")
    assert len({path.stat().st_mode for path in (tmp_path / "saved").iterdir()}) == 1
