"""Small folders of video-language models, laid out as on a hub: random weights, a tokenizer and a chat template."""

import json

import torch
from small import tokenizer as byte_tokenizer
from transformers import AutoConfig, AutoModelForImageTextToText

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
           "<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>"]
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.content is string %}"
    "{{ message.content }}{% else %}{% for part in message.content %}{% if 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: {% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}")
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "initializer_range": 0.2}
TOWER = {"hidden_size": 16, "intermediate_size": 32, "initializer_range": 0.2}
QWEN_TOWER = TOWER | {"num_heads": 2, "out_hidden_size": 32, "patch_size": 4, "depth": 4}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}

SIZES = {
    "qwen2_5_vl": {"text_config": TEXT | {"rope_parameters": MROPE}, "vision_config": QWEN_TOWER | {
        "tokens_per_second": 2, "window_size": 16, "fullatt_block_indexes": [1, 3]}},
    "qwen3_vl": {"text_config": TEXT | {"head_dim": 8, "rope_parameters": MROPE}, "vision_config": QWEN_TOWER | {
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2]}},
    "smolvlm": {"text_config": TEXT | {"model_type": "llama"}, "scale_factor": 2, "vision_config": TOWER | {
        "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 4}}}


def tokenizer(kind):
    words = byte_tokenizer()
    words.add_tokens(SPECIAL, special_tokens=True)
    words.chat_template = SMOL_TEMPLATE if kind == "smolvlm" else QWEN_TEMPLATE
    return words


def config(kind, text_config=(), tie_word_embeddings=False):
    words = tokenizer(kind)
    ids = {"image_token_id": words.convert_tokens_to_ids("<image>" if kind == "smolvlm" else "<|image_pad|>")}
    if kind != "smolvlm":
        ids |= {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{token}|>") for name, token in (
            ("video", "video_pad"), ("vision_start", "vision_start"), ("vision_end", "vision_end"))}
    sizes = {name: dict(value) if isinstance(value, dict) else value for name, value in SIZES[kind].items()}
    text = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "bos_token_id": None,
            "eos_token_id": words.eos_token_id}
    sizes["text_config"] |= text | dict(text_config)
    return AutoConfig.for_model(kind, **(sizes | ids), tie_word_embeddings=tie_word_embeddings)


def whole_model(kind, **changes):
    """The family's own model, tower included."""
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config(kind, **changes)).eval()
    for value in model.parameters():  # norms and biases begin as ones and zeros, which hide mistakes
        if value.ndim == 1:
            value.data += 0.1 * torch.randn(value.shape)
    return model


def folder(path, kind, dtype=None, **changes):
    model, words = whole_model(kind, **changes), tokenizer(kind)
    (model if dtype is None else model.to(dtype)).save_pretrained(path)
    words.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    return str(path)
