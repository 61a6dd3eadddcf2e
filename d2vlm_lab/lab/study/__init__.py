"""The ablation workbench: from a YAML grid to runs of a notebook, once each, wherever there is room."""
