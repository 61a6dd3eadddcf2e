"""The ablation workbench: a YAML grid to papermill runs, once each, wherever there is room."""
