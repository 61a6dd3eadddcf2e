"""Which frames are the evidence? Five rules that read an interval off a curve of similarities.

A curve has ties: a similarity is a float32 number between 0 and 1, so that logits of 18 and 19 both become 1. Where the
logits are given beside the curve, they decide between runs whose means tie. Without them, as in the authors' code, the
interval spans from the first tied run to the last, with everything between them.

Shapes: E evidence tokens, F frames, R runs. Intervals are frame positions, both ends included. Where videos of
different length share a tensor, `mask` (E, F) is True on the frames that exist.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .grounding import frame_overlap

Criterion = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]  # (E, F) curve, its mask, its logits -> (E, 2)


def peak_share(curve: Tensor, mask: Tensor | None = None, logits: Tensor | None = None, share: float = 0.6) -> Tensor:
    """The paper's rule: of the runs of frames with at least `share` of the maximum, the one with the best mean.

    Where no frame qualifies, the interval is the whole video.
    """
    peak = _existing(curve, mask).amax(-1)
    return best_run(curve, curve >= (peak * share)[:, None], mask, logits)


def top_frames(curve: Tensor, mask: Tensor | None = None, logits: Tensor | None = None, k: int = 6) -> Tensor:
    """The best run among the `k` most similar frames."""
    existing = _existing(curve if logits is None else logits, mask)
    kth = existing.topk(min(k, curve.shape[-1]), -1).values[:, -1:]
    return best_run(curve, existing >= kth, mask, logits)


def best_segment(curve: Tensor, mask: Tensor | None = None, logits: Tensor | None = None,
                 cost: float = 0.72) -> Tensor:
    """The segment with the largest sum of `curve / max - cost`: a long run of good frames wins over a single peak.

    It has no runs that could tie, so the logits are not looked at.
    """
    existing = _existing(curve, mask)
    gain = existing / existing.amax(-1, keepdim=True).clamp_min(1e-12) - cost
    gain = gain if mask is None else gain.masked_fill(~mask, -cost - 1)
    total = F.pad(gain.cumsum(-1), (1, 0))  # total[j] - total[i] is the sum of frames i .. j-1
    low, first = total[:, :-1].cummin(-1)
    last = (total[:, 1:] - low).argmax(-1, keepdim=True)
    return torch.cat([first.gather(-1, last), last], -1)


def over_threshold(curve: Tensor, mask: Tensor | None = None, logits: Tensor | None = None,
                   threshold: float = 0.5) -> Tensor:
    """The best run at or above a fixed `threshold` (see `fit_threshold`); the peak alone where nothing reaches it."""
    existing = _existing(curve, mask)
    peak = existing.amax(-1, keepdim=True)
    return best_run(curve, existing >= torch.minimum(peak, torch.full_like(peak, threshold)), mask, logits)


def smoothed(curve: Tensor, mask: Tensor | None = None, logits: Tensor | None = None, window: int = 7) -> Tensor:
    """The paper's rule on a curve without jitter, as in E.M.Ground: `peak_share` after a Savitzky-Golay filter.

    The logits are not looked at, because they belong to the curve before smoothing.
    """
    _existing(curve, mask)
    length = torch.full(curve.shape[:1], curve.shape[-1]) if mask is None else mask.sum(-1)
    smooth = torch.zeros_like(curve)
    for n in set(length.tolist()):
        rows = length.to(curve.device) == n
        smooth[rows, :n] = curve[rows, :n] @ savitzky_golay(n, window).to(curve).T
    return peak_share(smooth, mask)


def savitzky_golay(n_frames: int, window: int = 7) -> Tensor:
    """(F, F) the filter as a matrix: each frame becomes the value of a parabola fitted to the `window` around it.

    Near both ends, where the window would leave the video, the parabola of the first or last whole window is used.
    A video that is shorter than the window is fitted as a whole.
    """
    window = min(window, n_frames)
    first = (torch.arange(n_frames) - window // 2).clamp(0, n_frames - window)  # of the window around each frame
    powers = torch.arange(min(3, window))
    fit = torch.linalg.pinv(torch.arange(window).double()[:, None] ** powers)  # values -> coefficients
    at = (torch.arange(n_frames) - first).double()[:, None] ** powers
    return torch.zeros(n_frames, n_frames, dtype=torch.float64).scatter(
        1, first[:, None] + torch.arange(window), at @ fit)


CRITERIA = {"peak_share": peak_share, "top_frames": top_frames, "best_segment": best_segment,
            "over_threshold": over_threshold, "smoothed": smoothed}
PARAMETER = {"peak_share": "share", "top_frames": "k", "best_segment": "cost", "over_threshold": "threshold",
             "smoothed": "window"}
WHOLE = ("top_frames", "smoothed")  # criteria whose parameter is a number of frames


def criterion(name: str, value: float | None = None, ties: Literal["logits", "span"] = "logits") -> Criterion:
    """A criterion by name, with its one parameter set to `value` if that is given, and with a rule for ties."""
    if name not in CRITERIA:
        raise ValueError(f"unknown salience criterion {name!r}: use one of {', '.join(CRITERIA)}")
    rule = CRITERIA[name]
    if value is not None:
        setting: dict[str, Any] = {PARAMETER[name]: int(value) if name in WHOLE else value}
        rule = partial(rule, **setting)

    def spanning_ties(curve: Tensor, mask: Tensor | None = None, logits: Tensor | None = None) -> Tensor:
        return rule(curve, mask)

    return rule if ties == "logits" else spanning_ties


def best_run(curve: Tensor, keep: Tensor, mask: Tensor | None = None, logits: Tensor | None = None) -> Tensor:
    """(E, F) values, (E, F) frames to keep -> (E, 2): the run of kept frames with the highest mean value.

    Of runs that tie, the one with the highest mean logit, and then the first; without logits, from first to last.
    """
    _existing(curve, mask)
    n_frames = curve.shape[-1]
    keep = keep if mask is None else keep & mask
    frame = torch.arange(n_frames, device=curve.device).expand_as(keep)
    starts = keep & ~F.pad(keep, (1, 0))[:, :-1]
    run = (starts.cumsum(-1) - 1).clamp_min(0)  # (E, F) number of the run that a kept frame belongs to
    mean = _run_means(curve, keep, run) if logits is not None else _authors_means(curve, keep, run)  # (E, R)
    best = keep & (mean.gather(-1, run) == mean.amax(-1, keepdim=True))
    if logits is not None:
        height = _run_means(logits, best, run)
        best &= run == height.argmax(-1, keepdim=True)
    length = torch.full(keep.shape[:1], n_frames, device=keep.device) if mask is None else mask.sum(-1)
    first = torch.where(best, frame, n_frames).amin(-1)
    last = torch.where(best, frame, -1).amax(-1)
    none = ~best.any(-1)
    return torch.stack([first.masked_fill(none, 0), torch.where(none, length - 1, last)], -1)


def fit_threshold(curves: Tensor, intervals: Tensor, mask: Tensor | None = None) -> float:
    """The threshold of 0.02 .. 0.98 whose runs overlap the true `intervals` (E, 2) best on average."""
    grid = torch.linspace(0.02, 0.98, 49).tolist()
    return max(grid, key=lambda t: float(frame_overlap(over_threshold(curves, mask, threshold=t), intervals).mean()))


def _existing(curve: Tensor, mask: Tensor | None) -> Tensor:
    """The curve with -inf on frames that do not exist."""
    if curve.shape[-1] == 0:
        raise ValueError("a similarity curve without frames has no salient interval")
    return curve if mask is None else curve.masked_fill(~mask, -torch.inf)


def _run_means(curve: Tensor, keep: Tensor, run: Tensor) -> Tensor:
    """(E, R) mean of each run of kept frames, -inf where there is no such run."""
    zeros = torch.zeros_like(curve, dtype=torch.float64)
    total = zeros.scatter_add(-1, run, curve.double().masked_fill(~keep, 0))
    count = zeros.scatter_add(-1, run, keep.double())
    return (total / count).to(curve.dtype).masked_fill(count == 0, -torch.inf)


def _authors_means(curve: Tensor, keep: Tensor, run: Tensor) -> Tensor:
    """The means as the authors' code computes them: rounded after each addition, which decides what ties exactly.

    Only means that are nearly the same can tie, and only these are computed again, run by run.
    """
    mean = _run_means(curve, keep, run)
    if mean.shape[-1] > 1:
        top = mean.topk(2, -1).values
        for row in (top[:, 0] - top[:, 1] <= 1e-5 * top[:, 0].abs()).nonzero().flatten().tolist():
            for k in range(int(run[row].max()) + 1):
                mean[row, k] = curve[row][keep[row] & (run[row] == k)].mean()
    return mean
