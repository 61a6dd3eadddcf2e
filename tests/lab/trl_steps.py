"""Two steps of TRL's own DPO training on a preference file: `python trl_steps.py FILE FOLDER`; prints what it saw."""

import json
import sys

from datasets import load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer
from trl.data_utils import is_conversational

TEMPLATE = ("{% for message in messages %}{{ message.role }} : {{ message.content }}<end>{% endfor %}"
            "{% if add_generation_prompt %}assistant : {% endif %}")

file, folder = sys.argv[1:]
data = load_dataset("json", data_files=file, split="train", cache_dir=f"{folder}/cache")
tokenizer = AutoTokenizer.from_pretrained("data/base/small")
tokenizer.chat_template = TEMPLATE
tokenizer.save_pretrained(f"{folder}/model")
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                     num_attention_heads=2, num_key_value_heads=2, pad_token_id=tokenizer.pad_token_id)
LlamaForCausalLM(config).save_pretrained(f"{folder}/model")
settings = DPOConfig(output_dir=f"{folder}/run", max_steps=2, per_device_train_batch_size=2, logging_steps=1,
                     learning_rate=1e-2, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
                     save_strategy="no")
trainer = DPOTrainer(f"{folder}/model", args=settings, train_dataset=data, processing_class=tokenizer)
row = trainer.train_dataset[0]
trainer.train()
print(json.dumps({"conversational": is_conversational(data[0]), "columns": data.column_names, "rows": len(data),
                  "prompt": tokenizer.decode(row["prompt_ids"]), "chosen": tokenizer.decode(row["chosen_ids"]),
                  "rejected": tokenizer.decode(row["rejected_ids"]),
                  "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]}))
