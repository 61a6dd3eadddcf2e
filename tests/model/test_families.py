"""Families of language models: each computes the logits of its own forward here, or is refused by name."""

import dataclasses

import pytest
import torch
from small import tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from d2vlm_lab.config import Method, read_config
from d2vlm_lab.errors import LabError
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.families import WINDOW, check, our_logits, small_window
from d2vlm_lab.model.start import start

# Small sizes by every name that families give them; each family takes those that it knows.
SMALL = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "head_dim": 8,
         "n_embd": 32, "n_layer": 4, "n_head": 4, "n_inner": 64, "rotary_dim": 4, "d_model": 32, "n_layers": 4,
         "n_heads": 4, "ffn_dim": 64, "num_layers": 4, "attention_heads": 4, "word_embed_proj_dim": 32,
         "num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
         "sliding_window": 8, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LATENT = {"head_dim": None, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
          "v_head_dim": 8, "num_key_value_heads": 4}

EQUAL = {
    "apertus": {}, "arcee": {}, "biogpt": {}, "bitnet": {}, "codegen": {}, "cohere": {}, "cohere2": {},
    "diffllama": {}, "ernie4_5": {}, "exaone4": {}, "falcon": {}, "gemma": {}, "gemma2": {}, "gemma3_text": {},
    "glm": {}, "glm4": {}, "gpt2": {}, "gpt_neox": {}, "gpt_oss": {}, "gptj": {}, "granite": {"logits_scaling": 4.0},
    "granitemoe": {}, "helium": {}, "hunyuan_v1_dense": {}, "llama": {}, "minicpm3": LATENT | {"logits_scaling": 3.0},
    "ministral": {}, "mistral": {}, "mixtral": {}, "nanochat": {}, "nemotron": {}, "olmo": {}, "olmo2": {},
    "olmo3": {}, "olmoe": {}, "opt": {}, "persimmon": {}, "phi": {}, "phi3": {}, "phimoe": {}, "qwen2": {},
    "qwen2_moe": {}, "qwen3": {}, "qwen3_moe": {}, "seed_oss": {}, "smollm3": {"sliding_window": None},
    "stablelm": {}, "starcoder2": {}, "vaultgemma": {}, "xglm": {}}
WINDOWED = {"cohere2", "exaone4", "gemma2", "gemma3_text", "gpt_oss", "ministral", "mistral", "mixtral", "olmo3",
            "phi3", "phimoe", "starcoder2", "vaultgemma"}
REFUSED = {"bloom": {}, "mpt": {}, "mamba": {}, "jamba": {}, "qwen3_next": {}, "recurrent_gemma": {}, "rwkv": {},
           "llama4_text": {}, "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]}}


def small(name, changes):
    kind = AutoConfig.for_model(name).__class__
    known = {field.name for field in dataclasses.fields(kind)} | set(getattr(kind, "attribute_map", {}))
    sizes = {key: value for key, value in (SMALL | changes).items() if key in known and value is not None}
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(kind(**sizes))


@pytest.mark.parametrize("name", EQUAL)
def test_a_family_computes_here_what_it_computes_alone(name):
    language = small(name, EQUAL[name])
    check(language)
    with small_window(language):
        assert (language.config.sliding_window == WINDOW if name in WINDOWED
                else not getattr(language.config, "sliding_window", None)), "the window was not part of the comparison"


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_cannot_be_masked_or_continued_is_refused_by_name(name):
    with pytest.raises(LabError, match=f"^{name} language models"):
        check(small(name, REFUSED[name]))


@pytest.mark.parametrize("part", ["window", "scale", "cap"])
def test_the_check_notices_what_is_not_honoured(part, monkeypatch):
    name = {"window": "mistral", "scale": "granite", "cap": "nanochat"}[part]
    language = small(name, EQUAL[name])
    if part == "window":
        monkeypatch.setattr("d2vlm_lab.model.backbone.window_size", lambda language: None)
    else:
        monkeypatch.setattr("d2vlm_lab.model.families.logits_of", lambda net, states: net.lm_head(states))
    with pytest.raises(LabError, match=f"{name} language models cannot be used here: their logits differ"):
        check(language)


def test_a_model_is_checked_when_it_is_made():
    with pytest.raises(LabError, match="^mpt language models"):
        D2VLM(torch.nn.Identity(), small("mpt", {}), tokenizer(), Method(semantic_layer=1))


def test_attention_that_takes_no_mask_is_refused():
    language = small("llama", {})
    language.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(LabError, match="attention 'flash_attention_2' cannot take the masks.*sdpa, eager"):
        check(language)


@pytest.mark.filterwarnings("ignore")  # of transformers and of the compiler
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral"])
def test_flex_attention_gets_the_masks_as_blocks(name, compiled):
    """On the CPU, where it cannot be trained. Compiling it takes half a minute, and without that it is the same."""
    language = small(name, EQUAL[name])
    with torch.no_grad(), small_window(language):
        expected = our_logits(language.eval())
    language.set_attn_implementation("flex_attention")
    with torch.compiler.set_stance("default" if compiled else "force_eager"), torch.no_grad():
        check(language)
        with small_window(language):
            actual = our_logits(language)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


def test_flex_attention_on_a_cpu_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = read_config("tiny", {"parts.attention": "flex_attention"})
    with pytest.raises(LabError, match="on a GPU only, and there is none; use sdpa"):
        start(config)
    eager = start(read_config("tiny", {"parts.attention": "eager"})).language
    assert eager.config._attn_implementation == "eager"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "phi3", "qwen3", "gemma2"])
def test_half_precision_is_compared_with_its_own_tolerance(name, dtype):
    check(small(name, EQUAL[name]).to(dtype))
