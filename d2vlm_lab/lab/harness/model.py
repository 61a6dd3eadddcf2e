"""A checkpoint as a model of lmms-eval: `--model d2vlm --model_args checkpoint=FOLDER`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger

from ...config import RunConfig, resolve
from ...data.sample import UNKNOWN, Sample, from_record
from ...data.splits import reader
from ...judging.benchmarks import Question, clip_reader
from ...judging.evaluate import answer
from ...judging.metrics.reading import split_answer
from ...judging.portions import Once, by_video, portions
from ...model.checkpoint import load
from ...model.decoding import Decoding
from ...model.device import on_device
from ...model.rate import frames_as_trained
from ...model.seal import find_checkpoint

LONGEST = 160  # tokens of an answer, where a task does not say


class D2VLMModel(lmms):
    """It answers all requests of a task at once, so that each video is read once; `batch_size` has no effect.

    Tasks of others get the words after `</evi>`. A task of ours asks for all of the answer with `evidence: true`, and
    its documents hold the sample itself, whose question may point to intervals.
    """

    def __init__(self, checkpoint: str, fps: float | None = None, max_frames: int | None = None,
                 cache: str = "off", **of_lmms_eval):
        super().__init__()
        folder = find_checkpoint(resolve(checkpoint))
        self.model = on_device(load(str(folder)))
        # 0 frames a second: the checkpoint does not say, and each task does
        self.data = replace(frames_as_trained(folder, fps, max_frames, 0.0, logger.warning), cache=cache)

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        groups: dict[tuple, list[Question]] = defaultdict(list)
        whole = {}
        for number, request in enumerate(requests):
            context, settings, to_visual, doc_id, task, split = request.args
            doc = self.task_dict[task][split][doc_id]
            sample, videos = asked(doc, context, to_visual)
            decoding = Decoding(int(settings.get("max_new_tokens") or LONGEST),
                                float(settings.get("temperature") or 0) if settings.get("do_sample") else 0.0)
            whole[number] = bool(settings.get("evidence"))
            question = replace(sample, id=str(number), source=task), {"number": number}
            groups[videos, float(self.data.fps or doc.get("fps") or 1), decoding].append(question)
        texts = {}
        for (videos, fps, decoding), questions in groups.items():
            once = Once(reader(RunConfig(data=replace(self.data, fps=fps)), self.model.frames, videos), self.model)
            read = clip_reader(once, videos)
            for portion in portions(by_video(questions, videos), read, once):
                for record in answer(self.model, portion, read, decoding):
                    if problem := record.get("error") or record.get("too_long"):
                        logger.warning(problem)
                    texts[record["number"]] = record["a"]
        return [texts[number] if whole[number] else split_answer(texts[number])[1].strip() for number in sorted(texts)]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("d2vlm answers with text; tasks that compare likelihoods cannot be run")

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise NotImplementedError("d2vlm answers one question at a time; tasks with several rounds cannot be run")


def asked(doc: dict, context: str, to_visual) -> tuple[Sample, Path]:
    """What a document asks, and the folder of its video."""
    if "sample" in doc:
        return from_record(json.loads(doc["sample"])), Path(doc["videos"])
    visuals = to_visual(doc)
    if len(visuals) != 1 or not isinstance(visuals[0], str):
        raise NotImplementedError("d2vlm answers questions about one video, which the task gives as the path of a file")
    video = Path(visuals[0]).absolute()
    return Sample("", video.name, UNKNOWN, "tvg", "", context), video.parent
