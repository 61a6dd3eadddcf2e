"""From batches to states and answers."""

from ..lazy import quick_import

quick_import("transformers.modeling_utils")  # most of what any import of a model takes
quick_import("peft")
