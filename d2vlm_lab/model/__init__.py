"""From batches to states and answers."""

from ..lazy import quick_import

quick_import("transformers.modeling_utils")  # this takes most of the time of any import of a model
quick_import("peft")
