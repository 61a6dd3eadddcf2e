"""The plug-in for lmms-eval: our checkpoints as its model `d2vlm`, and our benchmarks as its tasks."""


def manifest():
    """What lmms-eval asks for under the entry point `lmms_eval.models`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest("d2vlm", simple_class_path="d2vlm_lab.lab.harness.model.D2VLMModel")
