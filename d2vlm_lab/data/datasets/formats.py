"""The annotation formats and their adapters. To add a format, write its module and name it in `ADAPTERS`.

A training format is also named in `Format` of `config.py`, which lists the choices of `data.format`: the samples of
these formats have answers, and the data sets have files for training.

`read(path, half_frame, on_bad)` of an adapter returns the samples of a file, whose times may pass the ends of the video
by half a frame. It reports records that cannot be used to `on_bad`; without `on_bad`, the first of them is an error.
The adapter of a training format also has `write_file(path, samples)`, which writes the samples that the format can
hold: a rehearsal makes its files with it. The adapter of a benchmark has `predictions(path, samples)`: what its scorer
wants back for each sample, without the answer.
"""

from __future__ import annotations

from typing import get_args

from ...config import Format
from . import charades_sta, et_bench, et_instruct, mvbench, qvhighlights, samples, timelens, video_mme, youcook2

ADAPTERS = {"et_instruct": et_instruct, "samples": samples, "charades_sta": charades_sta, "youcook2": youcook2,
            "timelens": timelens, "qvhighlights": qvhighlights, "et_bench": et_bench, "mvbench": mvbench,
            "video_mme": video_mme}
TRAINING: tuple[str, ...] = get_args(Format)
