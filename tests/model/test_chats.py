"""Chat templates as language models have them: what stands before the frames, where an answer ends, when it stops."""

import pytest
import torch
from small import clip, language
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from d2vlm_lab.config import Method
from d2vlm_lab.data.batch import PromptFormat, collate, encode_answer, encode_prompt, encode_start
from d2vlm_lab.errors import LabError
from d2vlm_lab.ideas.evidence import Event, compose
from d2vlm_lab.model.checkpoint import load, save
from d2vlm_lab.model.d2vlm import D2VLM
from d2vlm_lab.model.decoding import Decoding, chooser, generate, stop_ids
from d2vlm_lab.model.towers.tiny import TinyFrames

PHI = ("{% for m in messages %}{% if m.role == 'system' %}{{ '<|system|>\n' + m.content + '<|end|>\n' }}"
       "{% elif m.role == 'user' %}{{ '<|user|>\n' + m.content + '<|end|>\n' }}"
       "{% else %}{{ '<|assistant|>\n' + m.content + '<|end|>\n' }}{% endif %}{% endfor %}"
       "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
LLAMA = ("{% for m in messages %}{% set c = '<|head|>' + m.role + '<|/head|>\n\n' + m.content | trim + '<|eot|>' %}"
         "{% if loop.index0 == 0 %}{% set c = bos_token + c %}{% endif %}{{ c }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}")
GEMMA = ("{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
         "{% endif %}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
         "{{ '<turn>' + role + '\n' + m.content | trim + '</turn>\n' }}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}")
MISTRAL = ("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
           "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}")
QWEN = ("{% if messages[0].role != 'system' %}{{ '<|start|>system\nYou help.<|end|>\n' }}{% endif %}"
        "{% for m in messages %}{{ '<|start|>' + m.role + '\n' + m.content + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}")

# template, special tokens, BOS that the tokenizer also adds by itself, EOS, the stop that ends an answer
CHATS = {
    "phi3": (PHI, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), None, "<|endoftext|>", "<|end|>"),
    "llama3": (LLAMA, ("<|head|>", "<|/head|>", "<|eot|>"), "<|begin|>", "<|endoftext|>", "<|eot|>"),
    "gemma": (GEMMA, ("<turn>", "</turn>"), "<bos>", "<eos>", "</turn>"),
    "mistral": (MISTRAL, ("[INST]", "[/INST]"), "<s>", "</s>", "</s>"),
    "qwen": (QWEN, ("<|start|>",), None, "<|end|>", "<|end|>")}


def chat_tokenizer(name):
    template, special, bos, eos, _ = CHATS[name]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(["<unk>", *alphabet])}, [], unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token) for token in (*special, *([bos] if bos else []), eos)])
    if bos:
        core.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))])
    words = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token=eos, unk_token="<unk>",
                                    pad_token=eos)  # as `load_language` does where there is none
    words.chat_template = template
    return words


def chat_model(name, **changes):
    torch.manual_seed(0)
    words = chat_tokenizer(name)
    return D2VLM(TinyFrames(["red"], width=32, features=5, channels=8), language(vocab_size=300, **changes), words,
                 Method(semantic_layer=2), PromptFormat.of(words, None)).eval()


@pytest.mark.parametrize("name", CHATS)
def test_an_answer_ends_with_one_known_token_and_the_prompt_begins_with_one_bos(name):
    words, (_, _, bos, _, stop) = chat_tokenizer(name), CHATS[name]
    form = PromptFormat.of(words, None if name == "gemma" else "Be kind.")
    assert form.stop == stop
    start = words.convert_ids_to_tokens(encode_start(words, form))
    assert start.count(bos) == (1 if bos else 0) and start[0] == (bos or start[0]) and "<unk>" not in start
    net = chat_model(name)
    prompt = encode_prompt("when?", (), clip(5), words := net.tokenizer, form)
    text = encode_answer(prompt, compose([Event(0, 1)], [0, " it spins"]), clip(5), words, form)
    assert words.convert_ids_to_tokens(text.ids)[-1] == stop and words.unk_token_id not in text.ids


def test_a_tokenizer_still_adds_the_bos_that_a_template_leaves_out():
    words = chat_tokenizer("llama3")
    assert encode_start(words, PromptFormat("watch"))[0] == words.bos_token_id
    assert encode_start(words, PromptFormat(""))[0] == words.bos_token_id


def test_a_template_that_refuses_a_system_message_says_what_to_do():
    with pytest.raises(LabError, match="System role not supported.*leave parts.system empty"):
        PromptFormat.of(chat_tokenizer("gemma"), "Be kind.")


def forced(net, token, steps=3):
    """An answer whose third token is `token`, whatever the model thinks."""
    one = clip(5)
    one = type(one)(torch.randn(5, 6), one.timestamps)
    prompt = encode_prompt("when?", (), one, net.tokenizer, net.prompt)
    rows = net.language.get_output_embeddings()
    calls = []

    def head(module, args, out):
        calls.append(1)
        out = torch.zeros_like(out)
        out[..., token if len(calls) == steps else 40] = 1.0
        return out

    with rows.register_forward_hook(head):
        return generate(net, [one], [[prompt]], Decoding(8))[0]


@pytest.mark.parametrize("name", CHATS)
def test_generation_stops_at_the_end_of_a_turn_at_the_eos_and_at_what_the_model_itself_names(name):
    net = chat_model(name, eos_token_id=[257, 258, 65])
    stops = stop_ids(net)
    words = net.tokenizer
    assert {words.convert_tokens_to_ids(CHATS[name][4]), words.eos_token_id, 257, 258} == stops  # 65 is a letter
    for token in stops:
        answer = forced(net, token)
        assert answer.finished and answer.ids[-1] == token and len(answer.ids) == 3
        assert answer.text == words.decode([40, 40])
    assert not forced(net, 41).finished


def test_a_checkpoint_stops_where_its_model_stopped(tmp_path):
    net = chat_model("llama3", eos_token_id=[257, 258])
    assert stop_ids(load(save(net, tmp_path / "model"))) == stop_ids(net)


def test_the_penalty_leaves_padding_alone_also_where_it_is_the_end_of_text():
    net = chat_model("phi3")
    words, short = net.tokenizer, clip(5)
    texts = [[encode_prompt(question, (), short, words, net.prompt)] for question in ("when?", "when does it spin?")]
    batch = collate([short, short], texts, words, net.prompt)
    assert words.pad_token_id == words.eos_token_id and not batch.mask.all()
    choose = chooser(net, batch, Decoding(repetition_penalty=50.0))
    logits = torch.zeros(2, 300)
    logits[:, words.eos_token_id], logits[:, 7] = 4.0, 3.0
    assert choose(logits.clone(), torch.tensor([0, 1]), 0).tolist() == [words.eos_token_id] * 2
    # Once it was written it counts, and a text whose prompt holds it is penalized for it from the start.
    assert choose(logits.clone(), torch.tensor([0, 1]), 1).tolist() == [7, 7]
    qwen = chat_model("qwen")
    batch = collate([short], [[encode_prompt("when?", (), short, qwen.tokenizer, qwen.prompt)]], qwen.tokenizer,
                    qwen.prompt)
    choose = chooser(qwen, batch, Decoding(repetition_penalty=50.0))
    logits = torch.zeros(1, 300)
    logits[:, qwen.tokenizer.eos_token_id], logits[:, 7] = 4.0, 3.0
    assert choose(logits, torch.tensor([0]), 0).tolist() == [7]
