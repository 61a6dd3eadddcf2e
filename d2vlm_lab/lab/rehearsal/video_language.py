"""The video-language models that presets name, as far as their layout goes, and the same at small size."""

from __future__ import annotations

from transformers import AutoConfig, PreTrainedConfig, PreTrainedTokenizerBase, Qwen3VLConfig, SmolVLMConfig

from .architectures import Chat

QWEN3_VL = Chat(
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}{% for part in message.content %}"
    "{% if 'text' in part %}{{ part.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
     "<|video_pad|>"), "<|im_end|>", 267)
SMOLVLM2 = Chat(
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize + ': ' }}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>",
     "<global-img>"), "<end_of_utterance>", 0)

QWEN3_VL_4B = Qwen3VLConfig(
    tie_word_embeddings=True,
    text_config={"vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
                 "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                 "max_position_embeddings": 262144, "rope_parameters": {
                     "rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20],
                     "mrope_interleaved": True}},
    vision_config={"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "patch_size": 16,
                   "out_hidden_size": 2560, "deepstack_visual_indexes": [5, 11, 17], "num_position_embeddings": 2304})
SMOLVLM2_500M = SmolVLMConfig(
    scale_factor=4,
    text_config={"model_type": "llama", "vocab_size": 49280, "hidden_size": 960, "intermediate_size": 2560,
                 "num_hidden_layers": 32, "num_attention_heads": 15, "num_key_value_heads": 5,
                 "max_position_embeddings": 8192},
    vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                   "image_size": 512, "patch_size": 16})

VIDEO_LANGUAGE: dict[str, tuple[PreTrainedConfig, Chat]] = {
    "Qwen/Qwen3-VL-4B-Instruct": (QWEN3_VL_4B, QWEN3_VL),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": (SMOLVLM2_500M, SMOLVLM2),
}
SMALL_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2,
              "head_dim": 16}
SMALL_TOWER = {"hidden_size": 32, "intermediate_size": 64, "patch_size": 8}
SMALL_TOWERS = {
    "qwen2_5_vl": {"num_heads": 2, "depth": 3, "out_hidden_size": 64, "window_size": 32,
                   "fullatt_block_indexes": [0, 2]},
    "qwen3_vl": {"num_heads": 2, "depth": 3, "out_hidden_size": 64, "deepstack_visual_indexes": [0, 1],
                 "num_position_embeddings": 64},
    "smolvlm": {"num_attention_heads": 2, "num_hidden_layers": 2, "image_size": 64}}
SMALL_MROPE = [4, 2, 2]  # how many of the 8 frequencies of a small head turn by time, by height and by width
SMALL_FRAME_TOKENS = 4
PREPROCESSOR = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}  # what is read of preprocessor_config.json


def resized_parts(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, layers: int | None,
                  rows: int) -> PreTrainedConfig:
    """The config of the same family for another tokenizer; with `layers`, with small widths and so many layers."""
    settings = config.to_dict()
    text, vision = settings["text_config"], settings["vision_config"]
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text |= ids
    text.pop("layer_types", None)
    if layers is not None:
        text |= SMALL_TEXT | {"vocab_size": rows, "num_hidden_layers": layers}
        vision |= SMALL_TOWER | SMALL_TOWERS[config.model_type]
        if "mrope_section" in (text.get("rope_parameters") or {}):
            text["rope_parameters"] = text["rope_parameters"] | {"mrope_section": SMALL_MROPE}
    for name, token in (("image_token_id", "<|image_pad|>"), ("video_token_id", "<|video_pad|>"),
                        ("vision_start_token_id", "<|vision_start|>"), ("vision_end_token_id", "<|vision_end|>")):
        if name in settings:
            settings[name] = tokenizer.convert_tokens_to_ids(token if token in tokenizer.get_vocab() else "<image>")
    return AutoConfig.for_model(**settings)
